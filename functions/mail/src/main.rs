//! Mail: wiring only, see the library.

use std::time::{Instant, SystemTime};

use lambda_runtime::{Error, LambdaEvent, service_fn};
use mail::{Config, Event, Mail};
use serde_json::{Value, json};
use vega_auth::Object;
use vega_auth::config::load;
use vega_aws::{Api, CallError, Service, UserPool};
use vega_https_client::HttpsClient;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::disallowed_methods, reason = "main reads the environment and the clock and passes them on")]
async fn main() -> Result<(), Error> {
    let config = load("mail", |name| std::env::var(name).ok(), Config::read)?;
    let client = HttpsClient::new(None)?;
    let cognito = Service::new(client.clone(), config.aws.clone(), Api::COGNITO, SystemTime::now)?;
    let ses = Service::new(client, config.aws, Api::SES, SystemTime::now)?;
    let mail = Mail { pool: UserPool { service: cognito, pool_id: config.pool_id }, ses, from: config.from };

    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        let started = Instant::now();
        let outcome = match serde_json::from_value::<Object<Event>>(event.payload) {
            Ok(event) => mail.send(&event.detail).await,
            Err(error) => Err(CallError::Unavailable(error.into())),
        };
        let (outcome, cause) = match &outcome {
            Ok(sent) => (if *sent { "sent" } else { "no_address" }, None),
            Err(error) => ("fault", Some(error.to_string())),
        };
        println!(
            "{}",
            json!({
                "outcome": outcome, "function": "mail", "cause": cause, "request_id": event.context.request_id,
                "duration_ms": u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            })
        );
        // An error makes Lambda retry.
        cause.map_or(Ok(()), |cause| Err(Error::from(cause)))
    }))
    .await
}
