//! The HTTP functions' shared edge: the caller, the request, the response, problems, and `main`.
//!
//! A function behind the authorizer never parses a token. It reads [`current_user`] from the request context. A request
//! without one is unauthenticated, whatever let it through.

mod code;
mod event;
mod problem;
mod request;
mod serve;

pub use code::Code;
pub use problem::{Answer, Problem, ProblemType, RequestProblem, problem_json};
pub use request::{
    BodyError, MAX_BODY_BYTES, body_bytes, current_user, path_parameter, read_json, request_id, route, source_address,
};
pub use serve::{Handler, Settings, answer, configure, main, serve, within};

use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use lambda_http::Body;
use serde::Serialize;

/// A response with a JSON body.
pub fn json<T: Serialize>(status: u16, body: &T) -> Answer {
    let text = serde_json::to_string(body).map_err(|error| Problem::fault("unwritable_answer", &error))?;
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/json")
        .body(Body::from(text))
        .map_err(|error| Problem::fault("unwritable_answer", &error))
}

/// A response without a body.
pub fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}
