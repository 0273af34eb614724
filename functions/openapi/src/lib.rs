//! `GET /v1/openapi.json`: the OpenAPI document of the whole API; `GET /v1/errors`: an explanation of each error code. Public.

use http::Response;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use lambda_http::{Body, Request};
use serde_json::{Map, Value};
use vega_http::{Answer, Problem, RequestProblem, route};
use vega_openapi::Route;

/// The checked-in document. tests/document.rs compares it with the functions' own descriptions.
pub const DOCUMENT: &str = include_str!("../../../docs/openapi.json");
/// The entries of docs/errors.md, which tests/document.rs writes. A problem's `type` links to them.
pub const ERRORS: &str = include_str!("../errors.html");

/// The routes, as docs/openapi.json describes them.
pub fn routes() -> Vec<Route> {
    vec![
        Route::public("GET /v1/openapi.json", "getOpenApi", "This document").json::<Map<String, Value>>(
            200,
            "OpenAPI 3.1.",
            Value::Null,
        ),
        Route::public("GET /v1/errors", "getErrors", "Explain the error codes")
            .description("Each code's meaning, why it occurs and what to do. A problem's `type` links to it.")
            .text(200, "The page.", HTML),
    ]
}

const HTML: &str = "text/html; charset=utf-8";

/// Returns the document or the page.
pub fn handle(request: &Request) -> Answer {
    match route(request).as_str() {
        "GET /v1/openapi.json" => file("application/json", DOCUMENT),
        "GET /v1/errors" => file(HTML, ERRORS),
        _ => Err(RequestProblem::NoSuchRoute.into()),
    }
}

fn file(media_type: &str, content: &'static str) -> Answer {
    Response::builder()
        .header(CONTENT_TYPE, media_type)
        .header(CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'")
        .body(Body::from(content))
        .map_err(|error| Problem::fault("unwritable_answer", &error))
}
