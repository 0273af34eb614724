//! The check of a new authorizer: wiring only, see the library.

use std::time::{Instant, SystemTime};

use authorizer_check::{Check, Request};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::json;
use vega_auth::config::load;
use vega_aws::{Api, Service, Settings};
use vega_https_client::HttpsClient;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::disallowed_methods, reason = "main reads the environment and the clock and passes them on")]
async fn main() -> Result<(), Error> {
    let settings = load("authorizer-check", |name| std::env::var(name).ok(), Settings::read)?;
    let client = HttpsClient::new(None)?;
    let region = settings.region.clone();
    let lambda = Service::new(client.clone(), settings, Api::LAMBDA, SystemTime::now)?;
    let check = Check { lambda, client, region };

    lambda_runtime::run(service_fn(async |event: LambdaEvent<Request>| {
        let started = Instant::now();
        let outcome = check.run(&event.payload).await;
        let (code, cause) = match &outcome {
            Ok(None) => ("ok", None),
            Ok(Some(reason)) => ("failed", Some(reason.clone())),
            Err(error) => ("fault", Some(error.to_string())),
        };
        println!(
            "{}",
            json!({
                "outcome": code, "function": "authorizer-check", "cause": cause, "request_id": event.context.request_id,
                "duration_ms": u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            })
        );
        outcome.map(drop)
    }))
    .await
}
