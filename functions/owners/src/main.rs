//! Owners: wiring only, see the library.
// The futures of the SDK, inside those of the library, nest more deeply than the default allows.
#![recursion_limit = "256"]

use std::time::{Duration, Instant, SystemTime};

use lambda_runtime::{Error, LambdaEvent, service_fn};
use owners::{Clock, Config, Owners, RepairKeys, Task, request_run};
use serde_json::Value;
use vega_auth::Timestamp;
use vega_auth::config::load;
use vega_aws::{Api, Service, UserPool};
use vega_https_client::HttpsClient;
use vega_store::Store;

/// After this time, a run stops and requests another one to continue. The function has 900 s.
const BUDGET: Duration = Duration::from_mins(14);

/// The machine's clock.
struct SystemClock {
    started: Instant,
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "main reads the clock")]
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    async fn wait_until(&self, elapsed: Duration) {
        tokio::time::sleep(elapsed.saturating_sub(self.elapsed())).await;
    }
}

/// The time that a repair leaves to finish a page, and to save its place.
const MARGIN: Duration = Duration::from_mins(1);

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::disallowed_methods, reason = "main reads the environment and the clock and passes them on")]
async fn main() -> Result<(), Error> {
    let config = load("owners", |name| std::env::var(name).ok(), Config::read)?;
    let client = HttpsClient::new(None)?;
    let cognito = Service::new(client.clone(), config.aws.clone(), Api::COGNITO, SystemTime::now)?;
    let events = Service::new(client, config.aws.clone(), Api::EVENTS, SystemTime::now)?;
    let pool = UserPool { service: cognito, pool_id: config.pool_id };
    let owners = Owners { store: Store::new(&config.aws, config.table), pool, groups: config.groups };

    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        let clock = SystemClock { started: Instant::now() };
        if let Some(request) = RepairKeys::read(&event.payload) {
            let (request_id, deadline) = (&event.context.request_id, event.context.deadline());
            let has_time = || SystemTime::now() + MARGIN < deadline;
            let report = request.run(&owners.store, request_id, SystemTime::now().into(), has_time).await;
            let mut line = report.line();
            line["request_id"] = request_id.as_str().into();
            println!("{line}");
            // Whoever requested it reads the response.
            return Ok(line);
        }
        let task = Task::read(&event.payload, &owners.pool.pool_id)?;
        let report = owners.run(&task, &event.context.request_id, &clock, BUDGET).await;
        let mut line = report.line();
        line["request_id"] = event.context.request_id.into();
        line["duration_ms"] = u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX).into();
        println!("{line}");
        if report.continues {
            request_run(&events, &config.source).await?;
        }
        // An error makes Lambda retry, and counts towards the alarm.
        if report.is_fault() { Err(Error::from("the run met a fault: see the line above")) } else { Ok(line) }
    }))
    .await
}
