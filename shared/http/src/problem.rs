use std::fmt::Display;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use lambda_http::Body;
use serde_json::json;
use vega_auth::Fault;

/// What a handler gives: a response, or why there is none.
pub type Answer = Result<Response<Body>, Problem>;

/// Why a request failed, as RFC 9457 `application/problem+json`, with a stable code for programs in `error`.
#[derive(Debug)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The stable code: lower case, joined by underscores.
    pub error: &'static str,
    /// What happened and what to do next, for a person.
    pub detail: String,
    /// For the log alone: the causes of a fault.
    pub cause: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// We could not find out: the code and the causes go to the log.
impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self::fault(fault.code(), &fault.chain())
    }
}

impl Problem {
    /// A problem of the caller's making.
    pub fn new(status: u16, error: &'static str, detail: impl Into<String>) -> Self {
        Self { status, error, detail: detail.into(), cause: None, headers: Vec::new() }
    }

    /// A fault of ours: 503, and the client learns no more than when to try again. `cause` goes to the log.
    pub fn fault(code: &'static str, cause: &dyn Display) -> Self {
        let mut problem = Self::new(
            503,
            "temporarily_unavailable",
            "Something we depend on did not answer. Try again in a few seconds.",
        )
        .with_header(RETRY_AFTER, HeaderValue::from_static("5"));
        problem.cause = Some(format!("{code}: {cause}"));
        problem
    }

    /// 401 with the challenge of RFC 6750 section 3.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(401, "invalid_token", detail)
            .with_header(WWW_AUTHENTICATE, HeaderValue::from_static(r#"Bearer realm="vega", error="invalid_token""#))
    }

    /// Adds a header to the response.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The response that the client sees.
    pub fn into_response(self) -> Response<Body> {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or("Error"),
            "status": status.as_u16(),
            "error": self.error,
            "detail": self.detail,
        });
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.extend(self.headers);
        response
    }
}
