use std::collections::HashMap;

use http::header::CONTENT_TYPE;
use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, RequestExt as _};
use serde::de::DeserializeOwned;

use serde_json::Value;
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
    serde_json::from_slice(bytes).map_err(|error| RequestProblem::InvalidBody(BodyError::from(&error)))
}

/// A mistake in a JSON body, and its place.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum BodyError {
    #[error("The body is not a JSON object.")]
    NotAnObject,
    #[error("The body is not JSON: see line {line}, column {column}.")]
    Syntax { line: usize, column: usize },
    #[error("{0}")]
    Member(String),
}

/// In our own words: serde repeats its input, which could be a password or a key, as a value or as a name. We keep only the
/// end of its messages, from the last `, expected` on, which is our own text, and the names of missing and duplicate members.
impl From<&serde_json::Error> for BodyError {
    fn from(error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        if !error.is_data() {
            return Self::Syntax { line, column };
        }
        let place = format!("line {line}, column {column}");
        let message = error.to_string();
        let reason = message.rsplit_once(" at line ").map_or(message.as_str(), |(reason, _)| reason);
        if reason.starts_with("missing field `") || reason.starts_with("duplicate field `") {
            return Self::Member(format!("{reason} ({place})"));
        }
        let kind = if reason.starts_with("unknown field `") { "unknown member" } else { "member with a wrong value" };
        Self::Member(match reason.rsplit_once(", expected ") {
            Some((_, expected)) => format!("{kind} at {place}: expected {expected}"),
            None => format!("{kind} at {place}"),
        })
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

    #[test]
    fn a_body_error_names_the_place_and_never_the_input() {
        for (body, expected) in [
            (r#"{"text":SECRET}"#, "The body is not JSON: see line 1, column 9."),
            ("{}", "missing field `text` (line 1, column 2)"),
            (r#"{"text":"a","text":"SECRET"}"#, "duplicate field `text` (line 1, column 18)"),
            (r#"{"SECRET":1}"#, "unknown member at line 1, column 9: expected one of `text`, `status`, `groups`, `at`"),
            (
                r#"{"SECRET, expected SECRET at line 1":1}"#,
                "unknown member at line 1, column 36: expected one of `text`, `status`, `groups`, `at`",
            ),
            (r#"{"text":{"SECRET":1}}"#, "member with a wrong value at line 1, column 8: expected a string"),
            (r#"{"text":"","status":"SECRET"}"#, "member with a wrong value at line 1, column 28: expected `active`"),
            (r#"{"text":"","status":"SECRET, expected SECRET"}"#, "expected `active`"),
            (r#"{"text":"","groups":["user","SECRET "]}"#, "expected names of groups"),
            (r#"{"text":"","at":"SECRET"}"#, "expected an RFC 3339 date-time such as 2026-11-24T05:00:00Z"),
            (r#"{"text":"","at":["SECRET"]}"#, "expected a string"),
        ] {
            let detail = BodyError::from(&serde_json::from_str::<Sent>(body).unwrap_err()).to_string();
            assert!(detail.contains(expected), "{body}: {detail}");
            assert!(!detail.contains("SECRET"), "{body}: {detail}");
        }
    }
}
