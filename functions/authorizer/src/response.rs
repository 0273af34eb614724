use std::collections::BTreeMap;

use serde::Serialize;
use vega_auth::{CurrentUser, DeniedAs};

use crate::policy::SharedPolicy;

/// The authorizer's response
/// ([REST and WebSocket](https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-output.html),
/// [HTTP](https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-lambda-authorizer.html)).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase", untagged)]
pub enum AuthorizerResponse {
    /// For every kind of API, and every route.
    #[serde(rename_all = "camelCase")]
    Policy {
        /// The caller's stable id.
        principal_id: String,
        /// The routes that the caller can call.
        policy_document: SharedPolicy,
        /// The `CurrentUser` and [`DENIED_AS`].
        context: BTreeMap<&'static str, String>,
    },
    /// For an HTTP API that is configured to expect it, and one route.
    #[serde(rename_all = "camelCase")]
    Simple {
        /// Whether the caller can call this route.
        is_authorized: bool,
        /// The `CurrentUser`.
        context: BTreeMap<&'static str, String>,
    },
}

/// The context member with the reason for a denial, for the body of the 403 in template.yaml.
const DENIED_AS: &str = "denied_as";

impl AuthorizerResponse {
    /// `denied_as` is the reason that the client sees if the policy denies a route.
    pub fn policy(user: &CurrentUser, policy: SharedPolicy, denied_as: DeniedAs) -> Self {
        let mut context = user.to_context();
        context.insert(DENIED_AS, denied_as.code().to_owned());
        Self::Policy { principal_id: user.id.clone(), policy_document: policy, context }
    }

    /// `is_authorized` decides only the route that was called.
    pub fn simple(user: &CurrentUser, is_authorized: bool) -> Self {
        Self::Simple { is_authorized, context: user.to_context() }
    }
}

/// The error instead of a response. Its text is all that API Gateway, and so the client, can learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 401. API Gateway requires exactly this word.
    #[error("Unauthorized")]
    Unauthorized,
    /// 503, for any other text.
    #[error("temporarily unavailable")]
    Unavailable,
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vega_auth::{Authentication, Groups};

    use super::*;
    use crate::method_arn::MethodArn;
    use crate::policy::Policies;

    fn user() -> CurrentUser {
        CurrentUser {
            id: "user-1".into(),
            username: "ada".into(),
            groups: Groups::named(["user"]),
            authentication: Authentication::ApiKey {
                key_id: "000000000000".parse().unwrap(),
                scopes: vec!["deploy".parse().unwrap(), "read".parse().unwrap()],
                networks: vec!["203.0.113.0/24".parse().unwrap()],
            },
            oauth_scopes: Vec::new(),
            issued_at: None,
            expires_at: None,
        }
    }

    #[test]
    fn a_policy_response_has_the_documented_members() {
        let rules = r#"{"rules":[{"route":"GET /v1/projects","groups":["user"]}]}"#;
        let policies = Policies::new(rules.parse().unwrap());
        let arn = MethodArn::parse("arn:aws:execute-api:us-west-1:1:a/live/GET/v1/projects").unwrap();
        let policy = policies.policy(&user(), arn, vega_auth::Access::Allowed);
        for (reason, denied_as) in
            [(DeniedAs::Forbidden, "forbidden"), (DeniedAs::InsufficientScope, "insufficient_scope")]
        {
            let response = serde_json::to_value(AuthorizerResponse::policy(&user(), policy.clone(), reason)).unwrap();
            assert_eq!(
                response,
                json!({
                    "principalId": "user-1",
                    "policyDocument": serde_json::to_value(&policy).unwrap(),
                    "context": {
                        "id": "user-1", "username": "ada", "groups": "user", "authenticated_by": "api_key",
                        "key_id": "000000000000", "scopes": "deploy,read", "denied_as": denied_as,
                    }
                })
            );
        }
    }

    #[test]
    fn a_simple_response_has_the_documented_members() {
        let user = CurrentUser { authentication: Authentication::Jwt, ..user() };
        assert_eq!(
            serde_json::to_value(AuthorizerResponse::simple(&user, true)).unwrap(),
            json!({
                "isAuthorized": true,
                "context": { "id": "user-1", "username": "ada", "groups": "user", "authenticated_by": "jwt" }
            })
        );
    }

    #[test]
    fn api_gateway_needs_exactly_the_word_unauthorized() {
        assert_eq!(Refusal::Unauthorized.to_string(), "Unauthorized");
        assert!(!Refusal::Unavailable.to_string().contains("Unauthorized"));
    }
}
