//! Notifications: wiring only, see the library.

use std::time::{Duration, Instant, SystemTime};

use lambda_runtime::{Error, LambdaEvent, service_fn};
use notifications::{Config, EventBus, Invocation, Notifier, Task};
use serde_json::Value;
use vega_auth::config::load;
use vega_aws::{Api, Service};
use vega_https_client::HttpsClient;
use vega_store::Store;

/// The time that is left to finish what is being sent, and to save the place of a scan: each call has its own deadline of a few
/// seconds.
const MARGIN: Duration = Duration::from_mins(1);

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::disallowed_methods, reason = "main reads the environment and the clock and passes them on")]
async fn main() -> Result<(), Error> {
    let config = load("notifications", |name| std::env::var(name).ok(), Config::read)?;
    let metrics = config.metric_namespace.as_deref().map(notifications::metrics);
    let store = Store::new(&config.aws, config.table);
    let service = Service::new(HttpsClient::new(None)?, config.aws, Api::EVENTS, SystemTime::now)?;
    let notifier = Notifier { store, bus: EventBus { service, source: config.source } };

    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        let started = Instant::now();
        let task = Task::read(&event.payload)?;
        let deadline = event.context.deadline();
        let invocation = Invocation {
            request_id: event.context.request_id,
            now: SystemTime::now().into(),
            has_time: || SystemTime::now() + MARGIN < deadline,
        };
        let report = notifier.run(task, &invocation).await;
        let mut line = report.line(metrics.as_ref(), invocation.now);
        line["request_id"] = invocation.request_id.into();
        line["duration_ms"] = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX).into();
        println!("{line}");
        // An error makes Lambda retry. Notifications that were sent are recorded, so they aren't sent again.
        if report.faults.is_empty() {
            Ok(line)
        } else {
            Err(Error::from("a notification was not sent: see the line above"))
        }
    }))
    .await
}
