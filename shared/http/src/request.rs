use http::header::CONTENT_TYPE;
use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, RequestExt as _};
use serde::de::DeserializeOwned;
use vega_auth::CurrentUser;

use crate::Problem;

/// The largest body we read. The largest honest one, a key with a full description, has under 2 KB.
pub const MAX_BODY_BYTES: usize = 16 * 1024;

/// The caller, as the authorizer found them.
///
/// # Errors
/// 401 when the request context holds no current user: the request did not come through the authorizer.
pub fn current_user(request: &Request) -> Result<CurrentUser, Problem> {
    let context = request.request_context();
    let member = |name: &str| match &context {
        RequestContext::ApiGatewayV1(context) => context.authorizer.fields.get(name)?.as_str(),
        RequestContext::ApiGatewayV2(context) => context.authorizer.as_ref()?.fields.get(name)?.as_str(),
        #[allow(unreachable_patterns, reason = "a feature that another crate turns on adds variants")]
        _ => None,
    };
    CurrentUser::from_context(member).map_err(|_| Problem::unauthorized("This needs a signed-in caller."))
}

/// The request's id, for logs and audit events. API Gateway's own.
pub fn request_id(request: &Request) -> String {
    match request.request_context() {
        RequestContext::ApiGatewayV1(context) => context.request_id,
        RequestContext::ApiGatewayV2(context) => context.request_id,
        #[allow(unreachable_patterns, reason = "a feature that another crate turns on adds variants")]
        _ => None,
    }
    .unwrap_or_default()
}

/// The caller's address, as API Gateway saw it. Never from a header, which a caller can write.
pub fn source_address(request: &Request) -> String {
    match request.request_context() {
        RequestContext::ApiGatewayV1(context) => context.identity.source_ip,
        RequestContext::ApiGatewayV2(context) => context.http.source_ip,
        #[allow(unreachable_patterns, reason = "a feature that another crate turns on adds variants")]
        _ => None,
    }
    .unwrap_or_default()
}

/// The route that API Gateway chose, `GET /v1/api-keys/{id}`: the same under a stage prefix and under a custom domain.
pub fn route(request: &Request) -> String {
    let resource = match request.request_context() {
        RequestContext::ApiGatewayV1(context) => context.resource_path,
        RequestContext::ApiGatewayV2(context) => {
            context.route_key.and_then(|key| key.split_once(' ').map(|(_, path)| path.to_owned()))
        }
        #[allow(unreachable_patterns, reason = "a feature that another crate turns on adds variants")]
        _ => None,
    };
    format!("{} {}", request.method(), resource.unwrap_or_default())
}

/// A part of the path that the route leaves open.
pub fn path_parameter(request: &Request, name: &str) -> Option<String> {
    request.path_parameters().first(name).map(str::to_owned)
}

/// The body as it was sent; empty, where there is none.
pub fn body_bytes(request: &Request) -> &[u8] {
    match request.body() {
        Body::Text(text) => text.as_bytes(),
        Body::Binary(bytes) => bytes,
        _ => &[],
    }
}

/// The body, of at most [`MAX_BODY_BYTES`]. Members that `T` doesn't know are refused by name if `T` denies them.
///
/// # Errors
/// 413, 415, or 400 `invalid_body` with what is wrong where. The values sent are not repeated.
pub fn read_json<T: DeserializeOwned>(request: &Request) -> Result<T, Problem> {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !["application/json", "application/merge-patch+json"].contains(&media_type.as_str()) {
        return Err(Problem::new(415, "unsupported_media_type", "Send JSON, with content-type: application/json."));
    }
    let bytes = body_bytes(request);
    if bytes.len() > MAX_BODY_BYTES {
        return Err(Problem::new(413, "body_too_large", format!("The body has more than {MAX_BODY_BYTES} bytes.")));
    }
    // serde would take an array for a struct, its members by position: one of them unnamed, none of them refused by name
    if bytes.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(Problem::new(400, "invalid_body", "The body is not a JSON object."));
    }
    serde_json::from_slice(bytes).map_err(|error| Problem::new(400, "invalid_body", describe(&error)))
}

/// Where and why, without the values: serde quotes an unexpected string, and that could be a password.
fn describe(error: &serde_json::Error) -> String {
    let place = format!("line {}, column {}", error.line(), error.column());
    if !error.is_data() {
        return format!("The body is not JSON: see {place}.");
    }
    let message = error.to_string();
    let reason = message.split(" at line ").next().unwrap_or_default();
    match reason.strip_prefix("invalid type: ").or_else(|| reason.strip_prefix("invalid value: ")) {
        Some(mismatch) => {
            let expected = mismatch.rsplit_once(", expected ").map_or("another type", |(_, expected)| expected);
            format!("A member has the wrong type at {place}: expected {expected}.")
        }
        None => format!("{reason} ({place})"),
    }
}
