//! `GET /v1/openapi.json`: the OpenAPI document of the whole API. Public.

use http::Response;
use http::header::CONTENT_TYPE;
use lambda_http::{Body, Request};
use serde_json::{Map, Value};
use vega_http::{Answer, Problem, RequestProblem, route};
use vega_openapi::Route;

/// The checked-in document. tests/document.rs compares it with the functions' own descriptions.
pub const DOCUMENT: &str = include_str!("../../../docs/openapi.json");

/// The routes, as docs/openapi.json describes them.
pub fn routes() -> Vec<Route> {
    vec![Route::public("GET /v1/openapi.json", "getOpenApi", "This document").json::<Map<String, Value>>(
        200,
        "OpenAPI 3.1.",
        Value::Null,
    )]
}

/// Returns the document.
pub fn handle(request: &Request) -> Answer {
    match route(request).as_str() {
        "GET /v1/openapi.json" => Response::builder()
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(DOCUMENT))
            .map_err(|error| Problem::fault("unwritable_answer", &error)),
        _ => Err(RequestProblem::NoSuchRoute.into()),
    }
}
