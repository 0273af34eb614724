use std::fmt::Display;

use http::Response;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use lambda_http::Body;
use serde_json::json;
use vega_auth::Fault;

use crate::Code;
use crate::request::BodyError;

/// A handler's result.
pub type Answer = Result<Response<Body>, Problem>;

/// A problem type (RFC 9457): a reason for a request to fail. Each function has an enum of its own. `Display` is the
/// detail for people: what happened, and what to do next. Handlers answer with it, and the OpenAPI document shows it.
pub trait ProblemType: Display {
    /// The code for programs.
    fn code(&self) -> Code;

    /// The faults of the body's members, each as `member: …` or `member[index]: …`; empty for any other problem.
    fn faults(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A failed request, as `application/problem+json` (RFC 9457).
#[derive(Debug)]
pub struct Problem {
    /// The code for programs, which implies the status.
    pub code: Code,
    /// What happened and what to do next, for people.
    pub detail: String,
    /// The causes of a fault, for the log only.
    pub cause: Option<String>,
    /// The faults of the body's members: see [`ProblemType::faults`].
    pub faults: Vec<String>,
    /// Headers of the response, besides the code's own.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl<T: ProblemType> From<T> for Problem {
    fn from(problem: T) -> Self {
        let (code, detail, faults) = (problem.code(), problem.to_string(), problem.faults());
        Self { code, detail, cause: None, faults, headers: Vec::new() }
    }
}

/// The fault's code and causes go to the log.
impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self::fault(fault.code(), &fault.chain())
    }
}

impl Problem {
    /// A fault of ours: 503. `code` and `cause` go to the log; the client learns only when to try again.
    pub fn fault(code: &'static str, cause: &dyn Display) -> Self {
        Self { cause: Some(format!("{code}: {cause}")), ..RequestProblem::Unavailable.into() }
    }

    /// Adds a header to the response.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The response that the client sees.
    pub fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(problem_json(self.code, &self.detail, &self.faults).to_string()));
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.extend(self.code.header());
        headers.extend(self.headers);
        response
    }
}

/// The body of a problem. Each fault has the place of its member (RFC 9457 section 3), a JSON pointer as a fragment.
pub fn problem_json(code: Code, detail: &str, faults: &[String]) -> serde_json::Value {
    let status = code.status();
    let mut problem = json!({
        "type": format!("/v1/errors#{}", code.name()),
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "error": code,
        "detail": detail,
    });
    if !faults.is_empty() {
        let error = |fault: &String| {
            let member = fault.split([':', ',']).next().unwrap_or_default();
            let pointer = format!("#/{}", member.replace('[', "/").replace(']', ""));
            // The name of an unknown member could be a secret.
            json!({ "pointer": if member == "unknown member" { "#" } else { &pointer }, "detail": fault })
        };
        problem["errors"] = faults.iter().map(error).collect();
    }
    problem
}

/// The problem types that functions share.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum RequestProblem {
    #[error("A header, the path or the query contains a character that HTTP doesn't allow.")]
    Malformed,
    #[error("This route requires a signed-in caller.")]
    Unauthenticated,
    #[error("This route requires a group that administers keys.")]
    AdministratorOnly,
    #[error("There is no such route, or it doesn't have this method.")]
    NoSuchRoute,
    #[error("Send JSON, with content-type: application/json.")]
    NotJsonType,
    #[error("The body has more than {max} bytes.")]
    TooLarge { max: usize },
    #[error("{0}")]
    InvalidBody(BodyError),
    #[error("Something we depend on did not answer. Try again in a few seconds.")]
    Unavailable,
}

impl ProblemType for RequestProblem {
    fn code(&self) -> Code {
        match self {
            Self::Malformed => Code::MalformedRequest,
            Self::Unauthenticated => Code::InvalidToken,
            Self::AdministratorOnly => Code::Forbidden,
            Self::NoSuchRoute => Code::NotFound,
            Self::NotJsonType => Code::UnsupportedMediaType,
            Self::TooLarge { .. } => Code::BodyTooLarge,
            Self::InvalidBody(_) => Code::InvalidBody,
            Self::Unavailable => Code::TemporarilyUnavailable,
        }
    }

    fn faults(&self) -> Vec<String> {
        match self {
            Self::InvalidBody(BodyError::Members(faults)) => faults.clone(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_its_members_place() {
        let faults = ["name: required", "cidrs[1]: no network", "a, b: give only one", "unknown member: expected a"]
            .map(str::to_owned);
        let problem = problem_json(Code::InvalidBody, "x", &faults);
        assert_eq!(problem["type"], "/v1/errors#invalid_body");
        let errors = problem["errors"].as_array().unwrap().iter();
        let pointers: Vec<_> = errors.map(|error| error["pointer"].as_str().unwrap()).collect();
        assert_eq!(pointers, ["#/name", "#/cidrs/1", "#/a", "#"]);
        assert!(problem_json(Code::NotFound, "x", &[]).get("errors").is_none());
    }
}
