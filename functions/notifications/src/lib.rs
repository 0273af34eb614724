//! Sends notifications about keys, as events on `EventBridge`: docs/notifications.md.
//!
//! Most events come from the table's stream: audit events, and the last use of keys. Expiring keys are found by an hourly
//! scan. A notification is sent first and recorded as sent afterwards, so a crash in between sends it again, with the same id,
//! and never loses it.

mod task;
mod timing;

use serde_json::{Value, json};
use vega_auth::config::{Environment, text};
use vega_auth::{Fault, Timestamp};
use vega_aws::{CallError, Service};
use vega_notification::{DETAIL_TYPE, KeyEvent, Kind, Notification};
use vega_store::Store;

pub use crate::task::Task;

/// The destination of notifications.
pub trait SendNotification {
    /// Sends a notification. `Err` if it may not have arrived.
    fn send(&self, notification: &Notification) -> impl Future<Output = Result<(), CallError>> + Send;
}

/// The account's default bus of `EventBridge`.
pub struct EventBus {
    /// `EventBridge`.
    pub service: Service,
    /// The `source` of the events.
    pub source: String,
}

impl SendNotification for EventBus {
    async fn send(&self, notification: &Notification) -> Result<(), CallError> {
        let unwritable = |error: serde_json::Error| CallError::Unavailable(error.into());
        let detail = serde_json::to_string(notification).map_err(unwritable)?;
        let entry = json!({ "Source": self.source, "DetailType": DETAIL_TYPE, "Detail": detail });
        let answer = self.service.post("/", Some("AWSEvents.PutEvents"), &json!({ "Entries": [entry] })).await?;
        // The status is 200 even if the entry was refused.
        match answer["FailedEntryCount"].as_u64() {
            Some(0) => Ok(()),
            Some(_) => {
                Err(CallError::Refused(answer["Entries"][0]["ErrorCode"].as_str().unwrap_or("unknown").to_owned()))
            }
            None => Err(CallError::Unavailable("PutEvents: no FailedEntryCount".into())),
        }
    }
}

/// Configuration, read from environment variables.
#[derive(Debug)]
pub struct Config {
    /// `DynamoDB`.
    pub store: vega_store::Settings,
    /// `EventBridge`.
    pub events: vega_aws::Settings,
    /// `VEGA_KEYS_TABLE`.
    pub table: String,
    /// `VEGA_NOTICE_SOURCE`: the `source` of the events.
    pub source: String,
}

impl Config {
    /// Reads every variable. The problems are collected in `environment`.
    pub fn read(environment: &mut Environment<'_>) -> Option<Self> {
        let table = environment.required("VEGA_KEYS_TABLE", text);
        let source = environment.required("VEGA_NOTICE_SOURCE", text);
        let store = vega_store::Settings::read(environment);
        let events = store.as_ref().and_then(|_| vega_aws::Settings::read(vega_aws::Api::EVENTS, environment));
        Some(Self { store: store?, events: events?, table: table?, source: source? })
    }
}

/// Sends notifications about keys.
pub struct Notifier<B> {
    /// The keys, and the record of notifications that were sent.
    pub store: Store,
    /// The destination.
    pub bus: B,
}

/// The outcome of a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Notifications sent.
    pub sent: usize,
    /// Faults, each about one notification.
    pub faults: Vec<String>,
}

impl Report {
    /// The log line. It names nobody.
    pub fn line(&self) -> Value {
        json!({
            "outcome": if self.faults.is_empty() { "ok" } else { "fault" }, "function": "notifications",
            "code": (!self.faults.is_empty()).then_some("notification_not_sent"), "cause": self.faults.first(),
            "sent": self.sent, "faults": self.faults.len(),
        })
    }
}

impl<B: SendNotification> Notifier<B> {
    /// Does `task`. A fault about one notification doesn't keep the others from being sent.
    pub async fn run(&self, task: Task, now: Timestamp) -> Report {
        let mut report = Report::default();
        match task {
            Task::Deliver(events) => {
                for event in events {
                    count(&mut report, self.notify(event, now).await);
                }
            }
            Task::ScanForExpiry => {
                let outcome = self.scan_for_expiry(&mut report, now).await;
                report.faults.extend(outcome.err().map(|fault| fault.chain()));
            }
        }
        report
    }

    /// Sends the notification of an event in the stream.
    async fn notify(&self, event: KeyEvent, now: Timestamp) -> Result<bool, String> {
        if event.kind == Kind::FirstUsed && event.network.is_some() {
            // The first network isn't reported as new as well.
            let first = KeyEvent { kind: Kind::NewNetwork, ..event.clone() };
            let until = timing::remembered_until(first.kind, None, now);
            self.store.mark_notified(first.key, &first.marker(), until).await.map_err(|fault| fault.chain())?;
        }
        if event.kind == Kind::Expired && !timing::is_news(event.at, now) {
            return Ok(false);
        }
        self.send_once(event, now).await
    }

    async fn scan_for_expiry(&self, report: &mut Report, now: Timestamp) -> Result<(), Fault> {
        let mut cursor = None;
        loop {
            let (keys, next) = self.store.expiring(cursor).await?;
            for key in keys {
                if let Some(kind) = timing::due(&key, now) {
                    let at = if kind == Kind::Expired { key.expires_at } else { now };
                    count(report, self.send_once(KeyEvent::new(key.id, kind, at), now).await);
                }
            }
            cursor = next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    /// Sends a notification and records that it was sent, unless it was sent before.
    async fn send_once(&self, event: KeyEvent, now: Timestamp) -> Result<bool, String> {
        let chain = |fault: Fault| fault.chain();
        let (key, marker) = (event.key, event.marker());
        if self.store.was_notified(key, &marker).await.map_err(chain)? {
            return Ok(false);
        }
        // A key that was purged in the meantime needs no notification.
        let Some(record) = self.store.find(key).await.map_err(chain)? else { return Ok(false) };
        let notification = Notification::new(event, record);
        self.bus.send(&notification).await.map_err(|error| format!("event bus: {error}"))?;
        let until = timing::remembered_until(notification.kind, notification.expires_at, now);
        self.store.mark_notified(key, &marker, until).await.map_err(chain)?;
        Ok(true)
    }
}

fn count(report: &mut Report, outcome: Result<bool, String>) {
    match outcome {
        Ok(sent) => report.sent += usize::from(sent),
        Err(fault) => report.faults.push(fault),
    }
}
