use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use vega_auth::{Authentication, KeyId};
use vega_aws::EmbeddedMetrics;

use crate::event::{Event, EventError};
use crate::method_arn::MethodArn;
use crate::outcome::Outcome;

/// The log line of one decision: the route, as API Gateway names it, and the authenticated caller. It contains nothing of a
/// credential, and of a caller whose credential isn't valid at most the id of a key whose secret they have.
#[derive(Debug, Serialize)]
pub struct LogLine<'a> {
    /// `allow`, `deny`, `reject` or `fault`.
    pub outcome: &'static str,
    /// The reason: `ok`, `forbidden`, `insufficient_scope`, or the code of the rejection or fault.
    pub code: Cow<'static, str>,
    /// API Gateway's request id, if the event has one.
    pub request_id: Option<String>,
    /// The template of the path, if the event has one.
    pub route: Option<String>,
    /// The method called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// `jwt` or `api_key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<&'static str>,
    /// The caller's stable id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The public id of the caller's key; also of a rejected key, if its secret was right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// A fault and its causes, outermost first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The failure to record the key's last use, which decided nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_use_not_recorded: Option<String>,
    /// Duration of the decision in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Duration of the read of the key's record in milliseconds, with all attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_read_ms: Option<u64>,
    /// The attempts of that read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_read_attempts: Option<u32>,
    /// The age of the oldest key set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_set_age_seconds: Option<i64>,
    /// Fetches of key sets since the last line, those of init included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_set_fetches: Option<u32>,
    /// 1 in the first line of a process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold_start: Option<u8>,
    /// Which of these members are metrics.
    #[serde(rename = "_aws", skip_serializing_if = "Option::is_none")]
    pub metrics: Option<EmbeddedMetrics<'a>>,
}

impl LogLine<'_> {
    pub(crate) fn new(event: Option<&Event<'_>>, arn: Option<&MethodArn<'_>>, decided: &Outcome) -> Self {
        let (outcome, code) = match decided {
            Outcome::Allow(_) => ("allow", "ok".into()),
            Outcome::Deny(_, reason) => ("deny", reason.code().into()),
            Outcome::Reject(reason, _) => ("reject", reason.code().into()),
            Outcome::Fault(fault) => ("fault", fault.code().into()),
            Outcome::BadEvent(error @ EventError::Malformed) => ("reject", error.code().into()),
            Outcome::BadEvent(error @ (EventError::Unreadable | EventError::Unknown)) => ("fault", error.code().into()),
        };
        let mut line = Self {
            outcome,
            code,
            request_id: event.and_then(Event::request_id).map(str::to_owned),
            route: event.and_then(Event::route).map(str::to_owned),
            method: arn.map(|arn| arn.method.to_owned()),
            via: None,
            user_id: None,
            key_id: None,
            cause: None,
            last_use_not_recorded: None,
            duration_ms: None,
            key_read_ms: None,
            key_read_attempts: None,
            key_set_age_seconds: None,
            key_set_fetches: None,
            cold_start: None,
            metrics: None,
        };
        match decided {
            Outcome::Allow(caller) | Outcome::Deny(caller, _) => {
                line.user_id = Some(caller.user.id.clone());
                line.via = Some(caller.user.authentication.name());
                if let Authentication::ApiKey { key_id, .. } = caller.user.authentication {
                    line.key_id = Some(key_id);
                }
                line.last_use_not_recorded = caller.last_use_not_recorded.as_ref().map(vega_auth::Fault::chain);
            }
            Outcome::Fault(fault) => line.cause = Some(fault.chain()),
            Outcome::Reject(_, key_id) => line.key_id = *key_id,
            Outcome::BadEvent(_) => {}
        }
        line
    }
}

/// One line of JSON.
impl fmt::Display for LogLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use vega_auth::{DeniedAs, Fault, Rejection};

    use super::*;
    use crate::outcome::Caller;
    use crate::outcome::tests::caller;

    #[track_caller]
    fn check(outcome: &Outcome, rest: &str) {
        let event = r#"{"requestContext":{"requestId":"r-1","resourcePath":"/v1/projects"}}"#;
        let event: Event<'_> = serde_json::from_str(event).unwrap();
        let arn = MethodArn::parse("arn:aws:execute-api:us-west-1:1:a/live/GET/v1/projects").unwrap();
        let line = LogLine::new(Some(&event), Some(&arn), outcome).to_string();
        let request = r#""request_id":"r-1","route":"/v1/projects","method":"GET""#;
        assert_eq!(line, rest.replace('~', request));
    }

    #[test]
    fn a_line_names_the_decision_and_an_authenticated_caller() {
        check(&Outcome::Allow(caller()), r#"{"outcome":"allow","code":"ok",~,"via":"jwt","user_id":"user-1"}"#);
        let mut with_key = caller();
        let key_id = "000000000000".parse().unwrap();
        with_key.user.authentication = Authentication::ApiKey { key_id, scopes: vec![], networks: vec![] };
        with_key.last_use_not_recorded = Some(Fault::Store("timeout".into()));
        check(
            &Outcome::Deny(Caller { policy: None, ..with_key }, DeniedAs::InsufficientScope),
            r#"{"outcome":"deny","code":"insufficient_scope",~,"via":"api_key","user_id":"user-1","key_id":"000000000000","last_use_not_recorded":"key store unavailable: timeout"}"#,
        );
        check(&Outcome::Reject(Rejection::Issuer, None), r#"{"outcome":"reject","code":"issuer",~}"#);
        check(
            &Outcome::Reject(Rejection::KeyRevoked, Some(key_id)),
            r#"{"outcome":"reject","code":"key_revoked",~,"key_id":"000000000000"}"#,
        );
        check(
            &Outcome::Fault(Fault::KeySet("refused".into())),
            r#"{"outcome":"fault","code":"key_set_unavailable",~,"cause":"key set unavailable: refused"}"#,
        );
    }

    #[test]
    fn a_line_without_an_event_has_no_request() {
        for (error, outcome) in
            [(EventError::Malformed, "reject"), (EventError::Unreadable, "fault"), (EventError::Unknown, "fault")]
        {
            let line = LogLine::new(None, None, &Outcome::BadEvent(error)).to_string();
            let code = error.code();
            let expected = format!(r#"{{"outcome":"{outcome}","code":"{code}","request_id":null,"route":null}}"#);
            assert_eq!(line, expected);
        }
    }
}
