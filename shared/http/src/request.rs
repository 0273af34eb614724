use std::collections::HashMap;

use http::header::CONTENT_TYPE;
use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, RequestExt as _};
use serde::de::{DeserializeOwned, Error as _};
use serde_json::{Error as DeError, Map, Value};
use vega_auth::CurrentUser;

use crate::{Problem, RequestProblem};

/// The largest body we read. The largest legitimate one, a key with a full description, is under 2 KB.
pub const MAX_BODY_BYTES: usize = 16 * 1024;

/// The caller, as the authorizer identified them; 401 if the request did not pass the authorizer.
pub fn current_user(request: &Request) -> Result<CurrentUser, Problem> {
    let authorizer = context(request).authorizer;
    CurrentUser::from_context(|name| authorizer.get(name)?.as_str()).map_err(|_| RequestProblem::Unauthenticated.into())
}

/// API Gateway's request id, for logs and audit events.
pub fn request_id(request: &Request) -> String {
    context(request).request_id.unwrap_or_default()
}

/// The caller's address, as API Gateway saw it; never from a header, which a caller could forge.
pub fn source_address(request: &Request) -> String {
    context(request).source_address.unwrap_or_default()
}

/// The route that API Gateway matched, such as `GET /v1/api-keys/{id}`: the same under a stage prefix and a custom domain.
pub fn route(request: &Request) -> String {
    format!("{} {}", request.method(), context(request).resource.unwrap_or_default())
}

/// The members of API Gateway's request context that we use, the same for both payload formats.
#[derive(Default)]
struct Context {
    authorizer: HashMap<String, Value>,
    request_id: Option<String>,
    source_address: Option<String>,
    resource: Option<String>,
}

fn context(request: &Request) -> Context {
    match request.request_context() {
        RequestContext::ApiGatewayV1(context) => Context {
            authorizer: context.authorizer.fields,
            request_id: context.request_id,
            source_address: context.identity.source_ip,
            resource: context.resource_path,
        },
        RequestContext::ApiGatewayV2(context) => Context {
            authorizer: context.authorizer.map(|authorizer| authorizer.fields).unwrap_or_default(),
            request_id: context.request_id,
            source_address: context.http.source_ip,
            resource: context.route_key.and_then(|key| Some(key.split_once(' ')?.1.to_owned())),
        },
        #[allow(unreachable_patterns, reason = "a feature that another crate turns on adds variants")]
        _ => Context::default(),
    }
}

/// A path parameter.
pub fn path_parameter(request: &Request, name: &str) -> Option<String> {
    request.path_parameters().first(name).map(str::to_owned)
}

/// The raw body; empty if there is none.
pub fn body_bytes(request: &Request) -> &[u8] {
    match request.body() {
        Body::Text(text) => text.as_bytes(),
        Body::Binary(bytes) => bytes,
        _ => &[],
    }
}

/// Reads a JSON body of at most [`MAX_BODY_BYTES`]. Unknown members are rejected if `T` denies them.
/// 413, 415, or 400 `invalid_body` with the mistake and its place. Values are not repeated.
pub fn read_json<T: DeserializeOwned>(request: &Request) -> Result<T, RequestProblem> {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !["application/json", "application/merge-patch+json"].contains(&media_type.as_str()) {
        return Err(RequestProblem::NotJsonType);
    }
    let bytes = body_bytes(request);
    if bytes.len() > MAX_BODY_BYTES {
        return Err(RequestProblem::TooLarge { max: MAX_BODY_BYTES });
    }
    // serde would accept an array for a struct, with members by position: none of them rejected as unknown
    if bytes.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(RequestProblem::InvalidBody(BodyError::NotAnObject));
    }
    serde_json::from_slice(bytes).map_err(|error| RequestProblem::InvalidBody(BodyError::new::<T>(bytes, &error)))
}

/// A mistake in a JSON body, and its place.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum BodyError {
    #[error("The body is empty.")]
    Empty,
    #[error("The body is not a JSON object.")]
    NotAnObject,
    #[error("The body is not JSON: see line {line}, column {column}.")]
    Syntax { line: usize, column: usize },
    #[error("{}", .0.join("; "))]
    Members(Vec<String>),
}

impl BodyError {
    /// All faults of the members, in our own words: serde stops at the first, and repeats its input, which could be a password or
    /// a key, as a value or as a name. We keep only the end of its messages, from the last `, expected` on, which is our own text,
    /// and the names of members that we know.
    fn new<T: DeserializeOwned>(bytes: &[u8], error: &serde_json::Error) -> Self {
        if bytes.trim_ascii().is_empty() {
            return Self::Empty;
        }
        let mut members: Map<String, Value> = match serde_json::from_slice(bytes) {
            Ok(members) => members,
            Err(error) => return Self::Syntax { line: error.line(), column: error.column() },
        };
        let (mut faults, mut unknown) = (Vec::new(), None);
        members.retain(|name, value| {
            // One at a time. Another member that is missing is no fault of this one.
            let alone = Map::from_iter([(name.clone(), value.clone())]);
            let Err(fault) = T::deserialize(Value::Object(alone)) else { return true };
            let fault = fault.to_string();
            let expected = fault.rsplit_once(", expected ").map(|(_, expected)| in_json_terms(expected));
            if fault.starts_with("missing field `") {
                return true;
            } else if fault.starts_with("unknown field `") {
                unknown = expected;
            } else {
                faults.push(format!("{name}: expected {}", expected.as_deref().unwrap_or("another value")));
            }
            false
        });
        let whole = T::deserialize(Value::Object(members)).err().unwrap_or_else(|| DeError::custom(error)).to_string();
        for (prefix, fault) in [("missing field `", "required"), ("duplicate field `", "given twice")] {
            let name = whole.strip_prefix(prefix).and_then(|rest| Some(rest.split_once('`')?.0));
            // A faulty member was removed, but isn't missing.
            if let Some(name) = name.filter(|name| !faults.iter().any(|known| known.starts_with(&format!("{name}: "))))
            {
                faults.push(format!("{name}: {fault}"));
            }
        }
        if let Some(known) = unknown {
            faults.push(format!("unknown member: expected {known}"));
        }
        Self::Members(faults)
    }
}

/// The names of Rust's types and serde's quotes, as a client knows them.
fn in_json_terms(expected: &str) -> String {
    match expected {
        "a sequence" => "an array".to_owned(),
        "i64" | "u32" => "a whole number".to_owned(),
        "string or map" => "a string".to_owned(),
        other => other.replace('`', ""),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use vega_auth::{Groups, Timestamp};

    use super::*;
    use crate::{Code, ProblemType as _};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sent {
        #[serde(rename = "text")]
        _text: String,
        #[serde(default, rename = "status")]
        _status: Option<Status>,
        #[serde(default, rename = "groups")]
        _groups: Groups,
        #[serde(default, rename = "at")]
        _at: Option<Timestamp>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Status {
        Active,
    }

    fn read_body(media_type: &str, body: impl Into<Body>) -> Result<Sent, Code> {
        let request = http::Request::post("/").header(CONTENT_TYPE, media_type).body(body.into()).unwrap();
        read_json(&request).map_err(|problem| problem.code())
    }

    #[test]
    fn only_a_json_object_of_a_json_media_type_is_read() {
        const SENT: &str = r#"{"text":"a"}"#;
        for media_type in ["application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json"] {
            assert!(read_body(media_type, SENT).is_ok(), "{media_type}");
        }
        assert!(read_body("application/json", SENT.as_bytes().to_vec()).is_ok());
        for media_type in ["", "text/plain", "application/json5"] {
            assert_eq!(read_body(media_type, SENT).unwrap_err(), Code::UnsupportedMediaType, "{media_type}");
        }
        for body in ["", "null", r#"["a"]"#, r#" ["a"]"#, r#"{"text":"a"}{}"#, r#"{"text":"a","owner":"bob"}"#] {
            assert_eq!(read_body("application/json", body).unwrap_err(), Code::InvalidBody, "{body}");
        }
    }

    #[test]
    fn a_body_has_at_most_16_kb() {
        let body = |length: usize| format!(r#"{{"text":"{}"}}"#, "x".repeat(length - r#"{"text":""}"#.len()));
        assert!(read_body("application/json", body(MAX_BODY_BYTES)).is_ok());
        assert_eq!(read_body("application/json", body(MAX_BODY_BYTES + 1)).unwrap_err(), Code::BodyTooLarge);
    }

    fn detail(body: &str) -> String {
        let request = http::Request::post("/").header(CONTENT_TYPE, "application/json").body(body.into()).unwrap();
        read_json::<Sent>(&request).unwrap_err().to_string()
    }

    #[test]
    fn a_body_error_names_the_place_and_never_the_input() {
        const MEMBERS: &str = "unknown member: expected one of text, status, groups, at";
        for (body, expected) in [
            ("", "The body is empty."),
            (r#"{"text":SECRET}"#, "The body is not JSON: see line 1, column 9."),
            (r#"{"text":7,SECRET"#, "The body is not JSON: see line 1, column 11."),
            ("{}", "text: required"),
            (r#"{"text":"a","text":"SECRET"}"#, "text: given twice"),
            (r#"{"text":"a","SECRET":1}"#, MEMBERS),
            (r#"{"text":"a","SECRET, expected SECRET at line 1":1}"#, MEMBERS),
            (r#"{"text":{"SECRET":1}}"#, "text: expected a string"),
            (r#"{"text":"","status":"SECRET"}"#, "status: expected active"),
            (r#"{"text":"","status":["SECRET"]}"#, "status: expected a string"),
            (r#"{"text":"","status":"SECRET, expected SECRET"}"#, "status: expected active"),
            (r#"{"text":"","groups":["user","SECRET "]}"#, "groups: expected names of groups"),
            (r#"{"text":"","at":"SECRET"}"#, "at: expected an RFC 3339 date-time such as 2026-11-24T05:00:00Z"),
            (r#"{"text":"","at":["SECRET"]}"#, "at: expected a string"),
        ] {
            let detail = detail(body);
            assert_eq!(detail, expected, "{body}");
            assert!(!detail.contains("SECRET"), "{body}: {detail}");
        }
    }

    #[test]
    fn all_faults_of_a_body_are_reported_at_once() {
        assert_eq!(
            detail(r#"{"status":7,"groups":"user","owner":"bob"}"#),
            "groups: expected an array; status: expected a string; text: required; \
             unknown member: expected one of text, status, groups, at"
        );
    }
}
