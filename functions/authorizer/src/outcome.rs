use vega_auth::{AuthError, CurrentUser, DeniedAs, Fault, KeyId, Rejection};

use crate::event::EventError;
use crate::policy::SharedPolicy;
use crate::response::{AuthorizerResponse, Refusal};

/// The decision about one event. The log line and the response are derived from it.
#[derive(Debug)]
pub enum Outcome {
    /// The caller can call the route.
    Allow(Caller),
    /// The caller is authenticated, but can't call the route.
    Deny(Caller, DeniedAs),
    /// The credential is not valid. With the id of the key, if its secret was right.
    Reject(Rejection, Option<KeyId>),
    /// We could not find out.
    Fault(Fault),
    /// The event can't be decided.
    BadEvent(EventError),
}

/// An authenticated caller.
#[derive(Debug)]
pub struct Caller {
    /// The caller's identity.
    pub user: CurrentUser,
    /// The routes that they can call; `None` for an HTTP API that expects the simple response.
    pub policy: Option<SharedPolicy>,
    /// The failure to record the last use of their key, which decides nothing.
    pub last_use_not_recorded: Option<Fault>,
}

impl From<AuthError> for Outcome {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Rejected(reason, key_id) => Self::Reject(reason, key_id),
            AuthError::Unavailable(fault) => Self::Fault(fault),
        }
    }
}

impl Outcome {
    /// The response to API Gateway. `is_shared` if a cache may apply it to other routes. Fails when nobody was authenticated.
    pub fn into_response(self, is_shared: bool) -> Result<AuthorizerResponse, Refusal> {
        let (caller, denied) = match self {
            Self::Allow(caller) => (caller, None),
            Self::Deny(caller, reason) => (caller, Some(reason)),
            Self::Reject(..) | Self::BadEvent(EventError::Malformed) => return Err(Refusal::Unauthorized),
            Self::Fault(_) | Self::BadEvent(EventError::Unreadable | EventError::Unknown) => {
                return Err(Refusal::Unavailable);
            }
        };
        Ok(match caller.policy {
            None => AuthorizerResponse::simple(&caller.user, denied.is_none()),
            Some(policy) => {
                // `forbidden` is true of any route that a shared response denies.
                let denied_as = denied.filter(|_| !is_shared).unwrap_or(DeniedAs::Forbidden);
                AuthorizerResponse::policy(&caller.user, policy, denied_as)
            }
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};
    use vega_auth::{Authentication, Groups};

    use super::*;
    use crate::method_arn::MethodArn;
    use crate::policy::Policies;

    pub(crate) fn caller() -> Caller {
        let user = CurrentUser {
            id: "user-1".into(),
            username: "ada".into(),
            groups: Groups::NONE,
            authentication: Authentication::Jwt,
            oauth_scopes: Vec::new(),
            issued_at: None,
            expires_at: None,
        };
        Caller { user, policy: None, last_use_not_recorded: None }
    }

    fn with_policy() -> Caller {
        let policies = Policies::new(r#"{"rules":[{"route":"GET /","groups":"any"}]}"#.parse().unwrap());
        let arn = MethodArn::parse("arn:aws:execute-api:us-west-1:1:a/live/GET/").unwrap();
        Caller { policy: Some(policies.policy(&caller().user, arn, vega_auth::Access::Allowed)), ..caller() }
    }

    fn response(outcome: Outcome, is_shared: bool) -> Value {
        serde_json::to_value(outcome.into_response(is_shared).unwrap()).unwrap()
    }

    #[test]
    fn nobody_who_is_not_authenticated_gets_a_response() {
        for (outcome, refusal) in [
            (Outcome::Reject(Rejection::Issuer, None), Refusal::Unauthorized),
            (Outcome::Reject(Rejection::KeyRevoked, Some("000000000000".parse().unwrap())), Refusal::Unauthorized),
            (Outcome::BadEvent(EventError::Malformed), Refusal::Unauthorized),
            (Outcome::Fault(Fault::Store("down".into())), Refusal::Unavailable),
            (Outcome::BadEvent(EventError::Unreadable), Refusal::Unavailable),
            (Outcome::BadEvent(EventError::Unknown), Refusal::Unavailable),
        ] {
            assert_eq!(outcome.into_response(false).unwrap_err(), refusal);
        }
    }

    #[test]
    fn the_reason_for_a_denial_is_precise_unless_shared() {
        use DeniedAs::{Forbidden, InsufficientScope};
        for (outcome, is_shared, denied_as) in [
            (Outcome::Allow(with_policy()), false, "forbidden"),
            (Outcome::Deny(with_policy(), Forbidden), false, "forbidden"),
            (Outcome::Deny(with_policy(), InsufficientScope), false, "insufficient_scope"),
            (Outcome::Deny(with_policy(), InsufficientScope), true, "forbidden"),
        ] {
            assert_eq!(response(outcome, is_shared)["context"]["denied_as"], denied_as);
        }
    }

    #[test]
    fn a_simple_response_authorizes_only_an_allowed_caller() {
        assert_eq!(response(Outcome::Allow(caller()), false)["isAuthorized"], json!(true));
        assert_eq!(response(Outcome::Deny(caller(), DeniedAs::Forbidden), false)["isAuthorized"], json!(false));
    }
}
