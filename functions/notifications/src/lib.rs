//! Sends notifications about keys, as events on `EventBridge`: docs/notifications.md.
//!
//! Most events come from the table's stream: audit events, and the last use of keys. Expiring keys are found by an hourly
//! scan. A notification is sent first and recorded as sent afterwards, so a crash in between sends it again, with the same id,
//! and never loses it.
//!
//! The stream also reports the records that `DynamoDB` deleted, whose ids are then removed from their owners' items.

mod task;
mod timing;

use futures_util::future::join_all;
use serde_json::{Value, json};
use vega_auth::config::{Environment, text};
use vega_auth::{Fault, Timestamp};
use vega_aws::{CallError, Directive, EmbeddedMetrics, Service, Unit};
use vega_notification::{DETAIL_TYPE, KeyEvent, Kind, Notification};
use vega_store::{Begun, Place, Store};

pub use crate::task::Task;

/// The keys that are looked up, and notified of, at once.
const KEYS_AT_ONCE: usize = 100;
/// The notifications that are sent at once.
const SENDS_AT_ONCE: usize = 10;
/// A notification is late after this time: an expiry is found by the next hourly scan.
const LATE_SECONDS: i64 = 2 * 60 * 60;
/// The name of the scan's pass in the table.
const SCAN: &str = "expiry";
/// The `detail-type` of the event that continues an unfinished scan: template.yaml routes it to this function.
pub const SCAN_UNFINISHED: &str = "API Key Scan Unfinished";

/// The destination of notifications.
pub trait SendNotification {
    /// Sends a notification. `Err` if it may not have arrived.
    fn send(&self, notification: &Notification) -> impl Future<Output = Result<(), CallError>> + Send;

    /// Has an unfinished scan for expiry continued at once.
    fn resume_scan(&self) -> impl Future<Output = Result<(), CallError>> + Send;
}

/// The account's default bus of `EventBridge`.
pub struct EventBus {
    /// `EventBridge`.
    pub service: Service,
    /// The `source` of the events.
    pub source: String,
}

impl EventBus {
    async fn put(&self, detail_type: &str, detail: &str) -> Result<(), CallError> {
        self.service.put_event(&self.source, detail_type, detail).await
    }
}

impl SendNotification for EventBus {
    async fn send(&self, notification: &Notification) -> Result<(), CallError> {
        let unwritable = |error: serde_json::Error| CallError::Unavailable(error.into());
        self.put(DETAIL_TYPE, &serde_json::to_string(notification).map_err(unwritable)?).await
    }

    async fn resume_scan(&self) -> Result<(), CallError> {
        self.put(SCAN_UNFINISHED, "{}").await
    }
}

/// Configuration, read from environment variables.
#[derive(Debug)]
pub struct Config {
    /// Access to the table and to `EventBridge`.
    pub aws: vega_aws::Settings,
    /// `VEGA_KEYS_TABLE`.
    pub table: String,
    /// `VEGA_NOTICE_SOURCE`: the `source` of the events.
    pub source: String,
    /// The namespace of the metrics in the log lines: `VEGA_METRIC_NAMESPACE`. None are written without it.
    pub metric_namespace: Option<String>,
}

impl Config {
    /// Reads every variable. The problems are collected in `environment`.
    pub fn read(environment: &mut Environment<'_>) -> Option<Self> {
        let table = environment.required("VEGA_KEYS_TABLE", text);
        let source = environment.required("VEGA_NOTICE_SOURCE", text);
        let aws = vega_aws::Settings::read(environment);
        let metric_namespace = environment.get("VEGA_METRIC_NAMESPACE");
        Some(Self { aws: aws?, table: table?, source: source?, metric_namespace })
    }
}

/// Sends notifications about keys.
pub struct Notifier<B> {
    /// The keys, and the record of notifications that were sent.
    pub store: Store,
    /// The destination.
    pub bus: B,
}

/// An invocation of the function.
pub struct Invocation<T> {
    /// Its id. A retry has the same.
    pub request_id: String,
    /// When it began.
    pub now: Timestamp,
    /// Whether there is time for more.
    pub has_time: T,
}

/// The outcome of a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Notifications sent.
    pub sent: usize,
    /// Of these, those whose event was more than two hours ago.
    pub late: usize,
    /// Purged keys that were removed from their owners' items.
    pub unlisted: usize,
    /// For a scan: seconds since the last complete one.
    pub scan_age_seconds: Option<i64>,
    /// Faults, each about one notification.
    pub faults: Vec<String>,
}

impl Report {
    /// The log line. It names nobody.
    pub fn line(&self, metrics: Option<&Directive>, now: Timestamp) -> Value {
        let mut line = json!({
            "outcome": if self.faults.is_empty() { "ok" } else { "fault" }, "function": "notifications",
            "code": (!self.faults.is_empty()).then_some("unavailable"), "cause": self.faults.first(),
            "sent": self.sent, "late": self.late, "unlisted": self.unlisted, "faults": self.faults.len(),
        });
        // A metric counts the lines that have it.
        if let Some(age) = self.scan_age_seconds {
            line["scan_age_seconds"] = age.into();
        }
        if let Some(metrics) = metrics {
            line["_aws"] = json!(EmbeddedMetrics::new(now, [metrics]));
        }
        line
    }

    fn count(&mut self, outcome: Result<Option<Sent>, String>) {
        match outcome {
            Ok(sent) => {
                self.sent += usize::from(sent.is_some());
                self.late += usize::from(sent.is_some_and(|sent| sent.is_late));
            }
            Err(fault) => self.faults.push(fault),
        }
    }
}

/// The metrics of a log line: docs/operations.md, "Metrics".
pub fn metrics(namespace: &str) -> Directive {
    Directive::new(namespace, &[&["function"]], &[("sent", Unit::Count), ("late", Unit::Count)])
}

/// A notification that was sent.
struct Sent {
    is_late: bool,
}

impl<B: SendNotification> Notifier<B> {
    /// Does `task`. A fault about one notification doesn't keep the others from being sent.
    pub async fn run(&self, task: Task, invocation: &Invocation<impl Fn() -> bool>) -> Report {
        let mut report = Report::default();
        match task {
            Task::Follow { events, purged } => {
                for event in events {
                    report.count(self.notify(event, invocation.now).await);
                }
                for (owner, keys) in purged {
                    match self.store.unlist(&owner, &keys, invocation.now).await {
                        Ok(()) => report.unlisted += keys.len(),
                        Err(fault) => report.faults.push(fault.chain()),
                    }
                }
            }
            Task::ScanForExpiry => {
                let outcome = self.scan_for_expiry(&mut report, invocation).await;
                report.faults.extend(outcome.err());
            }
        }
        report
    }

    /// Sends the notification of an event in the stream, unless it was sent before.
    async fn notify(&self, event: KeyEvent, now: Timestamp) -> Result<Option<Sent>, String> {
        if event.kind == Kind::Expired && !timing::is_news(event.at, now) {
            return Ok(None);
        }
        match self.store.notified(&[(event.key, event.marker())]).await.map_err(|fault| fault.chain())?[..] {
            [false] => self.send(event, now).await,
            _ => Ok(None),
        }
    }

    /// Notifies the owners of keys that expire soon, or have expired. Does nothing while another invocation does that.
    async fn scan_for_expiry(
        &self,
        report: &mut Report,
        invocation: &Invocation<impl Fn() -> bool>,
    ) -> Result<(), String> {
        let Invocation { request_id, now, has_time } = invocation;
        let begun = self.store.begin_pass(SCAN, request_id, *now).await.map_err(|fault| fault.chain())?;
        let Begun::Leased(mut pass) = begun else { return Ok(()) };
        let outcome = self.scan_pages(&mut pass.place, report, *now, has_time).await;
        let is_complete = matches!(outcome, Ok(true));
        if is_complete {
            pass.completed_at = *now;
        }
        let age = now.0.saturating_sub(pass.completed_at.0).max(0);
        // What was sent is known by its markers, so the next invocation can start with the page that this one didn't finish.
        self.store.end_pass(pass).await.map_err(|fault| fault.chain())?;
        outcome.map_err(|fault| fault.chain())?;
        report.scan_age_seconds = Some(age);
        if is_complete || !report.faults.is_empty() {
            // After a fault, Lambda's retry continues the scan.
            return Ok(());
        }
        self.bus.resume_scan().await.map_err(|error| format!("event bus: {error}"))
    }

    /// Scans from `place` on, and moves it along. Whether everything was scanned before time ran out.
    async fn scan_pages(
        &self,
        place: &mut Option<Place>,
        report: &mut Report,
        now: Timestamp,
        has_time: impl Fn() -> bool,
    ) -> Result<bool, Fault> {
        let (first, last) = timing::window(now);
        loop {
            let (keys, next) = self.store.expiring(place.clone(), first, last).await?;
            let mut due = Vec::new();
            for key in keys {
                match key {
                    Ok(key) => due.extend(timing::due(&key, now)),
                    Err(malformed) => report.faults.push(format!("index: {malformed}")),
                }
            }
            for some in due.chunks(KEYS_AT_ONCE) {
                let markers: Vec<_> = some.iter().map(|event| (event.key, event.marker())).collect();
                let sent = self.store.notified(&markers).await?;
                let unsent: Vec<&KeyEvent> =
                    some.iter().zip(sent).filter_map(|(event, sent)| (!sent).then_some(event)).collect();
                for some in unsent.chunks(SENDS_AT_ONCE) {
                    for outcome in join_all(some.iter().map(|event| self.send((*event).clone(), now))).await {
                        report.count(outcome);
                    }
                    if !has_time() {
                        return Ok(false);
                    }
                }
            }
            *place = next;
            if place.is_none() || !has_time() {
                return Ok(place.is_none());
            }
        }
    }

    /// Sends a notification, and records that it was sent.
    async fn send(&self, event: KeyEvent, now: Timestamp) -> Result<Option<Sent>, String> {
        let (marker, is_late) = (event.marker(), now > event.at.plus(LATE_SECONDS));
        // A key that was purged in the meantime needs no notification.
        let Some(record) = self.store.find(event.key).await.map_err(|fault| fault.chain())? else { return Ok(None) };
        let until = timing::remembered_until(&record, now);
        if event.kind == Kind::FirstUsed && event.network.is_some() {
            // The first network isn't reported as new as well.
            let first = KeyEvent { kind: Kind::NewNetwork, ..event.clone() };
            self.store.mark_notified(first.key, &first.marker(), until).await.map_err(|fault| fault.chain())?;
        }
        let notification = Notification::new(event, record);
        self.bus.send(&notification).await.map_err(|error| format!("event bus: {error}"))?;
        self.store.mark_notified(notification.key_id, &marker, until).await.map_err(|fault| fault.chain())?;
        Ok(Some(Sent { is_late }))
    }
}
