//! What API Gateway sends to a REQUEST authorizer of a REST API: just the fields that matter, read leniently, since
//! the headers are the client's and one odd value must not fail the event.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;
use vega_auth::Rejection;

/// The event. Everything is optional: what is missing is decided about, not failed on.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// `REQUEST`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The ARN of what is called; see [`crate::policy::MethodArn`].
    pub method_arn: Option<String>,
    headers: Option<HashMap<String, Value>>,
    multi_value_headers: Option<HashMap<String, Value>>,
    query_string_parameters: Option<HashMap<String, Value>>,
    multi_value_query_string_parameters: Option<HashMap<String, Value>>,
    /// Where it came from.
    #[serde(default)]
    pub request_context: Option<RequestContext>,
}

/// The part of the request context that goes into the log and the last use.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestContext {
    /// API Gateway's id of the request.
    pub request_id: Option<String>,
    /// The template of the path, `/v1/api-keys/{id}`.
    pub resource_path: Option<String>,
    /// The method.
    pub http_method: Option<String>,
    /// The caller's connection.
    pub identity: Option<Identity>,
}

/// The caller's connection, as API Gateway saw it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// The caller's address.
    pub source_ip: Option<String>,
    /// The caller's `User-Agent`.
    pub user_agent: Option<String>,
}

impl Event {
    /// The one `Authorization` header's value.
    ///
    /// `headers` has one value a name, `multiValueHeaders` all of them; a client can send the name in several cases.
    ///
    /// # Errors
    /// When there is more than one, the two maps disagree, or there is none.
    pub fn authorization(&self) -> Result<&str, Rejection> {
        let all = values(self.multi_value_headers.as_ref(), is_authorization)?;
        let single = values(self.headers.as_ref(), is_authorization)?;
        match (all.as_slice(), single.as_slice()) {
            ([], []) => Err(Rejection::NoCredential),
            ([value], []) | ([], [value]) => Ok(value),
            ([value], [same]) if value == same => Ok(value),
            _ => Err(Rejection::ManyCredentials),
        }
    }

    /// # Errors
    /// When the query string carries a credential (RFC 6750 section 2.3), which logs and histories would keep.
    pub fn refuse_credential_in_query(&self) -> Result<(), Rejection> {
        let is_credential = |name: &str| {
            ["access_token", "authorization", "token", "api_key", "apikey"]
                .contains(&name.to_ascii_lowercase().as_str())
        };
        for map in [&self.query_string_parameters, &self.multi_value_query_string_parameters] {
            let named = map.iter().flatten().any(|(name, _)| is_credential(name));
            let key = map.iter().flatten().any(|(_, value)| texts(value).iter().any(|text| text.starts_with("vk_")));
            if named || key {
                return Err(Rejection::CredentialInQuery);
            }
        }
        Ok(())
    }
}

fn is_authorization(name: &str) -> bool {
    name.eq_ignore_ascii_case("authorization")
}

/// All values of the headers that `wanted` picks.
fn values(headers: Option<&HashMap<String, Value>>, wanted: impl Fn(&str) -> bool) -> Result<Vec<&str>, Rejection> {
    let mut found = Vec::new();
    for (_, value) in headers.into_iter().flatten().filter(|(name, _)| wanted(name)) {
        match value {
            Value::Null => {}
            Value::String(_) | Value::Array(_) => found.extend(texts(value)),
            _ => return Err(Rejection::NotBearer),
        }
    }
    Ok(found)
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(event: Value, expected: Result<&str, Rejection>) {
        let event: Event = serde_json::from_value(event).unwrap();
        assert_eq!(event.authorization(), expected);
    }

    #[test]
    fn the_header_is_found_in_any_case_in_either_map() {
        for name in ["Authorization", "authorization", "AUTHORIZATION"] {
            check(json!({ "headers": { name: "Bearer x" } }), Ok("Bearer x"));
            check(json!({ "multiValueHeaders": { name: ["Bearer x"] }, "headers": null }), Ok("Bearer x"));
            check(
                json!({ "multiValueHeaders": { name: ["Bearer x"] }, "headers": { name: "Bearer x" } }),
                Ok("Bearer x"),
            );
        }
    }

    #[test]
    fn two_headers_or_two_that_disagree_are_refused() {
        for event in [
            json!({ "multiValueHeaders": { "Authorization": ["Bearer x", "Bearer y"] }, "headers": { "Authorization": "Bearer y" } }),
            json!({ "multiValueHeaders": { "Authorization": ["Bearer x", "Bearer x"] } }),
            json!({ "headers": { "Authorization": "Bearer x", "authorization": "Bearer y" } }),
            json!({ "headers": { "Authorization": "Bearer x" }, "multiValueHeaders": { "Authorization": ["Bearer y"] } }),
        ] {
            check(event, Err(Rejection::ManyCredentials));
        }
    }

    #[test]
    fn no_header_is_no_credential_and_odd_headers_do_no_harm() {
        check(json!({}), Err(Rejection::NoCredential));
        check(json!({ "headers": null, "multiValueHeaders": null }), Err(Rejection::NoCredential));
        check(json!({ "headers": { "X-Odd": 7, "X-\u{1}": null, "Authorization": "Bearer x" } }), Ok("Bearer x"));
        check(json!({ "headers": { "Authorization": 7 } }), Err(Rejection::NotBearer));
    }

    #[test]
    fn a_credential_in_the_query_string_is_refused() {
        let refused = |query: Value| {
            let event: Event = serde_json::from_value(json!({ "queryStringParameters": query })).unwrap();
            event.refuse_credential_in_query().is_err()
        };
        assert!(refused(json!({ "access_token": "x" })) && refused(json!({ "Authorization": "x" })));
        assert!(refused(json!({ "anything": "vk_000000000000_" })));
        assert!(!refused(json!({ "q": "first", "limit": "10" })) && !refused(Value::Null));
    }
}
