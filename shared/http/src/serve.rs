use std::future::Future;
use std::time::Instant;

use http::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use lambda_http::tower::Service as _;
use lambda_http::{Adapter, Body, Error, LambdaEvent, Request, lambda_runtime, service_fn};
use serde_json::json;
use vega_auth::config::{Environment, text};

use crate::event::Event;
use crate::request::{request_id, route};
use crate::{Answer, Problem, RequestProblem};

/// What every HTTP function is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The function's name in the log.
    pub function: &'static str,
    cors_allowed_origin: HeaderValue,
}

impl Settings {
    /// Reads `VEGA_CORS_ALLOWED_ORIGIN`, the origin of pages that may read the answers; `*` where left out.
    pub fn read<L: Fn(&str) -> Option<String>>(
        function: &'static str,
        environment: &mut Environment<L>,
    ) -> Option<Self> {
        let origin = environment.optional("VEGA_CORS_ALLOWED_ORIGIN", "*".to_owned(), text)?;
        match HeaderValue::from_str(&origin) {
            Ok(cors_allowed_origin) => Some(Self { function, cors_allowed_origin }),
            Err(_) => {
                environment.problem("VEGA_CORS_ALLOWED_ORIGIN: expected an origin such as https://app.example.com")
            }
        }
    }
}

/// Serves until Lambda ends the process. One log line a request: the outcome, never what was sent.
///
/// # Errors
/// When the Lambda Runtime API can't be reached.
pub async fn serve<H, F>(settings: Settings, handler: H) -> Result<(), Error>
where
    H: Fn(Request) -> F + Sync,
    F: Future<Output = Answer> + Send,
{
    let (settings, handler) = (&settings, &handler);
    lambda_runtime::run(service_fn(async |LambdaEvent { payload, context }: LambdaEvent<Event>| {
        let Event { request, is_readable } = payload;
        let mut adapter = Adapter::from(service_fn(|request| respond(settings, handler, request, is_readable)));
        adapter.call(LambdaEvent::new(request, context)).await
    }))
    .await
}

#[expect(clippy::disallowed_methods, reason = "the duration in the log; nothing is decided by it")]
async fn respond<H, F>(
    settings: &Settings,
    handler: &H,
    request: Request,
    is_readable: bool,
) -> Result<Response<Body>, Error>
where
    H: Fn(Request) -> F + Sync,
    F: Future<Output = Answer> + Send,
{
    let started = Instant::now();
    let (id, route) = (request_id(&request), route(&request));
    let outcome = if is_readable { handler(request).await } else { Err(RequestProblem::Malformed.into()) };
    let (code, cause) = match &outcome {
        Ok(_) => (None, None),
        Err(problem) => (Some(problem.code), problem.cause.clone()),
    };
    let response = answer(settings, outcome);
    let status = response.status().as_u16();
    println!(
        "{}",
        json!({
            "outcome": if status < 400 { "ok" } else if status < 500 { "reject" } else { "fault" },
            "function": settings.function, "route": route, "status": status, "code": code, "cause": cause,
            "request_id": id, "duration_ms": u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    );
    Ok(response)
}

/// The response of an answer, with the headers that every response has.
pub fn answer(settings: &Settings, answer: Answer) -> Response<Body> {
    let mut response = answer.unwrap_or_else(Problem::into_response);
    let headers = response.headers_mut();
    // What depends on who asks must not be kept; what doesn't says so itself.
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, settings.cors_allowed_origin.clone());
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("ETag, Location, Retry-After, WWW-Authenticate"),
    );
    response
}
