//! Owners: wiring only, see the library.
// The futures of the SDK, inside those of the library, nest more deeply than the default allows.
#![recursion_limit = "256"]

use std::time::{Duration, Instant, SystemTime};

use lambda_runtime::{Error, LambdaEvent, service_fn};
use owners::{Config, Owners, RepairKeys, Task};
use serde_json::Value;
use vega_auth::config::load;
use vega_aws::{Api, Service, UserPool};
use vega_https_client::HttpsClient;
use vega_store::Store;

/// Owners are looked up ten at a time, and at most ten per second: two calls each, well below the pool's quotas of 50 and 120
/// calls per second, which sign-ins share.
const PACE: Duration = Duration::from_secs(1);
/// After this time, a run stops and leaves the rest to the next one. The function has 300 s.
const BUDGET: Duration = Duration::from_secs(200);

/// The time that a repair leaves to finish a page, and to save its place.
const MARGIN: Duration = Duration::from_mins(1);

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::disallowed_methods, reason = "main reads the environment and the clock and passes them on")]
async fn main() -> Result<(), Error> {
    let config = load("owners", |name| std::env::var(name).ok(), Config::read)?;
    let store = Store::new(&config.aws, config.table);
    let service = Service::new(HttpsClient::new(None)?, config.aws, Api::COGNITO, SystemTime::now)?;
    let owners = Owners { store, pool: UserPool { service, pool_id: config.pool_id }, pace: PACE };

    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        let started = Instant::now();
        if let Some(request) = RepairKeys::read(&event.payload) {
            let (request_id, deadline) = (&event.context.request_id, event.context.deadline());
            let has_time = || SystemTime::now() + MARGIN < deadline;
            let report =
                request.run(&owners.store, request_id, SystemTime::now().into(), deadline.into(), has_time).await;
            let mut line = report.line();
            line["request_id"] = request_id.as_str().into();
            println!("{line}");
            // Whoever requested it reads the response.
            return Ok(line);
        }
        let task = Task::read(&event.payload, &owners.pool.pool_id)?;
        let (clock, has_time) = (|| SystemTime::now().into(), || started.elapsed() < BUDGET);
        let report = owners.run(&task, &event.context.request_id, clock, has_time).await;
        let mut line = report.line();
        line["request_id"] = event.context.request_id.into();
        line["duration_ms"] = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX).into();
        println!("{line}");
        // An error makes Lambda retry, and counts towards the alarm.
        if report.is_fault() { Err(Error::from("the run met a fault: see the line above")) } else { Ok(line) }
    }))
    .await
}
