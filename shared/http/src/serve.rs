use std::time::{Duration, Instant, SystemTime};

use http::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use lambda_http::tower::Service as _;
use lambda_http::{Adapter, Body, Error, LambdaEvent, Request, lambda_runtime, service_fn};
use serde_json::json;
use vega_auth::Timestamp;
use vega_auth::config::{ConfigError, Environment, load, text};

use crate::event::Event;
use crate::request::{request_id, route};
use crate::{Answer, Problem, RequestProblem};

/// Settings of every HTTP function.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The function's name in the log.
    function: &'static str,
    cors_allowed_origin: HeaderValue,
}

impl Settings {
    /// Reads `VEGA_CORS_ALLOWED_ORIGIN`, the origin whose pages can read the responses; `*` by default.
    pub fn read(function: &'static str, environment: &mut Environment<'_>) -> Option<Self> {
        let origin = environment.optional("VEGA_CORS_ALLOWED_ORIGIN", "*".to_owned(), text)?;
        match HeaderValue::from_str(&origin) {
            Ok(cors_allowed_origin) => Some(Self { function, cors_allowed_origin }),
            Err(_) => {
                environment.problem("VEGA_CORS_ALLOWED_ORIGIN: expected an origin such as https://app.example.com")
            }
        }
    }
}

/// A function's handler of requests.
pub trait Handler {
    /// Answers a request at `now`.
    fn handle(&self, request: &Request, now: Timestamp) -> impl Future<Output = Answer> + Send;
}

/// A handler that needs neither state nor I/O.
impl<F: Fn(&Request, Timestamp) -> Answer + Sync> Handler for F {
    async fn handle(&self, request: &Request, now: Timestamp) -> Answer {
        self(request, now)
    }
}

/// The `main` of an HTTP function whose handler is its configuration.
pub async fn main<H: Handler + Sync>(
    function: &'static str,
    read: impl FnOnce(&mut Environment<'_>) -> Option<H>,
) -> Result<(), Error> {
    let (settings, handler) = configure(function, read)?;
    serve(settings, handler).await
}

/// The first half of [`main`]: reads the environment.
#[expect(clippy::disallowed_methods, reason = "for main: reads the environment and passes it on")]
pub fn configure<T>(
    function: &'static str,
    read: impl FnOnce(&mut Environment<'_>) -> Option<T>,
) -> Result<(Settings, T), ConfigError> {
    let lookup = |name: &str| std::env::var(name).ok();
    load(function, lookup, |environment| {
        let settings = Settings::read(function, environment);
        let config = read(environment);
        Some((settings?, config?))
    })
}

/// The second half of [`main`]: serves until Lambda ends the process. Logs one line per request, without its content.
pub async fn serve(settings: Settings, handler: impl Handler + Sync) -> Result<(), Error> {
    let (settings, handler) = (&settings, &handler);
    lambda_runtime::run(service_fn(async |LambdaEvent { payload, context }: LambdaEvent<Event>| {
        let Event { request, is_readable } = payload;
        let mut adapter = Adapter::from(service_fn(|request| respond(settings, handler, request, is_readable)));
        adapter.call(LambdaEvent::new(request, context)).await
    }))
    .await
}

/// Waits for `answer` until `deadline`.
/// After that, the response is 503.
pub async fn within(deadline: Duration, answer: impl Future<Output = Answer>) -> Answer {
    tokio::time::timeout(deadline, answer).await.unwrap_or_else(|elapsed| Err(Problem::fault("deadline", &elapsed)))
}

#[expect(clippy::disallowed_methods, reason = "for main: reads the clock and passes it on, and logs the duration")]
async fn respond(
    settings: &Settings,
    handler: &(impl Handler + Sync),
    request: Request,
    is_readable: bool,
) -> Result<Response<Body>, Error> {
    let started = Instant::now();
    let (id, route) = (request_id(&request), route(&request));
    let outcome = if is_readable {
        handler.handle(&request, SystemTime::now().into()).await
    } else {
        Err(RequestProblem::Malformed.into())
    };
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

/// The response for an answer, with the headers that every response has.
pub fn answer(settings: &Settings, answer: Answer) -> Response<Body> {
    let mut response = answer.unwrap_or_else(Problem::into_response);
    let headers = response.headers_mut();
    // Responses depend on the caller, so caches must not keep them. The few that don't set their own header.
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, settings.cors_allowed_origin.clone());
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("ETag, Location, Retry-After, WWW-Authenticate"),
    );
    response
}
