//! What API Gateway sends to an authorizer: just the fields that matter, read leniently, since the headers are the
//! client's and one odd value must not fail the event.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;
use vega_auth::{ApiKey, Rejection};

/// An event as it is written. Everything is optional: what is missing is decided about, not failed on.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    version: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    method_arn: Option<String>,
    route_arn: Option<String>,
    authorization_token: Option<String>,
    headers: Option<HashMap<String, Value>>,
    multi_value_headers: Option<HashMap<String, Value>>,
    query_string_parameters: Option<HashMap<String, Value>>,
    multi_value_query_string_parameters: Option<HashMap<String, Value>>,
    request_context: Option<RequestContext>,
}

/// The forms there are ([REST](https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-input.html),
/// [HTTP](https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-lambda-authorizer.html),
/// [WebSocket](https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-lambda-auth.html)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// REST API, REQUEST authorizer.
    Rest,
    /// REST API, TOKEN authorizer: the header's value, and nothing else of the request.
    RestToken,
    /// HTTP API, payload format 2.0.
    Http,
    /// WebSocket API, `$connect`.
    WebSocket,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext {
    request_id: Option<String>,
    resource_path: Option<String>,
    route_key: Option<String>,
    event_type: Option<String>,
    identity: Option<Caller>,
    http: Option<Caller>,
}

/// The caller's connection, as API Gateway saw it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Caller {
    source_ip: Option<String>,
    user_agent: Option<String>,
}

impl Event {
    /// Which form this is, and the ARN of what is called. Told by the fields that one form has and no other.
    pub fn form(&self) -> Option<(Form, &str)> {
        let event_type = self.request_context.as_ref().and_then(|context| context.event_type.as_deref());
        let is_bare = self.headers.is_none() && self.multi_value_headers.is_none() && self.request_context.is_none();
        match (self.version.as_deref(), self.kind.as_deref(), self.method_arn.as_deref(), self.route_arn.as_deref()) {
            (Some("2.0"), Some("REQUEST"), None, Some(arn))
                if event_type.is_none() && self.authorization_token.is_none() =>
            {
                Some((Form::Http, arn))
            }
            (None, Some("TOKEN"), Some(arn), None) if is_bare => Some((Form::RestToken, arn)),
            (None, Some("REQUEST"), Some(arn), None) if self.authorization_token.is_none() => match event_type {
                None => Some((Form::Rest, arn)),
                Some("CONNECT") => Some((Form::WebSocket, arn)),
                Some(_) => None,
            },
            _ => None,
        }
    }

    /// API Gateway's id of the request, where it tells one.
    pub fn request_id(&self) -> Option<&str> {
        self.request_context.as_ref()?.request_id.as_deref()
    }

    /// The template of the path, where API Gateway tells one: `/v1/api-keys/{id}`.
    pub fn route(&self) -> Option<&str> {
        let context = self.request_context.as_ref()?;
        context.resource_path.as_deref().or(context.route_key.as_deref())
    }

    /// The caller's address, as API Gateway saw it.
    pub fn source_address(&self) -> Option<&str> {
        self.caller()?.source_ip.as_deref()
    }

    /// The caller's `User-Agent`.
    pub fn user_agent(&self) -> Option<&str> {
        self.caller()?.user_agent.as_deref()
    }

    fn caller(&self) -> Option<&Caller> {
        let context = self.request_context.as_ref()?;
        context.identity.as_ref().or(context.http.as_ref())
    }
}

impl Event {
    /// The one `Authorization` header's value. HTTP APIs join two of them by a comma, which no token has in it.
    ///
    /// `headers` has one value a name, `multiValueHeaders` all of them; a client can send the name in several cases.
    ///
    /// # Errors
    /// When there is more than one, the two maps disagree, or there is none.
    pub fn authorization(&self) -> Result<&str, Rejection> {
        if let Some(token) = &self.authorization_token {
            return Ok(token);
        }
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
            // An HTTP API joins the values of a name by commas.
            let is_key = |text: &str| text.split(',').any(|part| part.trim().starts_with(ApiKey::PREFIX));
            let key = map.iter().flatten().any(|(_, value)| texts(value).into_iter().any(is_key));
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

    fn form(event: Value) -> Option<Form> {
        let event: Event = serde_json::from_value(event).unwrap();
        event.form().map(|(form, _)| form)
    }

    #[test]
    fn each_form_is_told_by_its_own_fields() {
        let context = json!({ "requestId": "r" });
        let rest = json!({ "type": "REQUEST", "methodArn": "a", "headers": {}, "requestContext": context });
        let token = json!({ "type": "TOKEN", "methodArn": "a", "authorizationToken": "Bearer x" });
        let http =
            json!({ "version": "2.0", "type": "REQUEST", "routeArn": "a", "headers": {}, "requestContext": context });
        let mut socket = rest.clone();
        socket["requestContext"]["eventType"] = json!("CONNECT");
        for (event, expected) in
            [(&rest, Form::Rest), (&token, Form::RestToken), (&http, Form::Http), (&socket, Form::WebSocket)]
        {
            assert_eq!(form(event.clone()), Some(expected));
        }
    }

    #[test]
    fn an_event_that_is_none_of_them_or_two_at_once_has_no_form() {
        let message = json!({ "eventType": "MESSAGE" });
        for event in [
            json!({}),
            json!({ "type": "REQUEST" }),
            json!({ "type": "TOKEN", "methodArn": "a", "headers": { "Authorization": "Bearer y" } }),
            json!({ "type": "TOKEN", "methodArn": "a", "authorizationToken": "x", "requestContext": {} }),
            json!({ "type": "REQUEST", "methodArn": "a", "authorizationToken": "x", "headers": {} }),
            json!({ "type": "REQUEST", "methodArn": "a", "routeArn": "a", "version": "2.0" }),
            json!({ "version": "1.0", "type": "REQUEST", "methodArn": "a", "headers": {} }),
            json!({ "version": "2.0", "routeArn": "a" }),
            json!({ "version": "2.0", "type": "REQUEST", "routeArn": "a", "authorizationToken": "x" }),
            json!({ "type": "REQUEST", "methodArn": "a", "requestContext": message }),
            json!({ "version": "2.0", "type": "REQUEST", "routeArn": "a", "requestContext": { "eventType": "CONNECT" } }),
        ] {
            assert_eq!(form(event.clone()), None, "{event}");
        }
    }

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
        assert!(
            refused(json!({ "anything": "vk_000000000000_" })) && refused(json!({ "joined": "a,vk_000000000000_" }))
        );
        assert!(!refused(json!({ "q": "first", "limit": "10" })) && !refused(Value::Null));
    }
}
