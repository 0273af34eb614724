//! Tells what happens to keys, as events on `EventBridge`: docs/notifications.md.
//!
//! What happened is read from the table's stream: audit events, and the last use of keys. Which keys are near their end is
//! looked up on a schedule. A notification is sent first and noted as sent then, so a crash in between sends it twice, with the
//! same id, and never not at all.

mod notification;
mod task;

use serde_json::{Value, json};
use vega_auth::config::{ConfigError, Environment, text};
use vega_auth::{Fault, Timestamp};
use vega_aws::{CallError, Service};
use vega_store::Store;

pub use crate::notification::{Kind, Notification};
pub use crate::task::{KeyEvent, Task};

/// The `detail-type` of our events.
const DETAIL_TYPE: &str = "API Key Notice";

/// Where notifications go.
pub trait SendNotification {
    /// Sends a notification. `Err` where it may not have arrived.
    fn send(&self, notification: &Notification) -> impl Future<Output = Result<(), CallError>> + Send;
}

/// The account's default bus of `EventBridge`.
pub struct EventBus {
    /// How it is called.
    pub service: Service,
    /// The `source` of our events.
    pub source: String,
}

impl SendNotification for EventBus {
    async fn send(&self, notification: &Notification) -> Result<(), CallError> {
        let unwritable = |error: serde_json::Error| CallError::Unavailable(error.into());
        let detail = serde_json::to_string(notification).map_err(unwritable)?;
        let entry = json!({ "Source": self.source, "DetailType": DETAIL_TYPE, "Detail": detail });
        let answer = self.service.post("/", Some("AWSEvents.PutEvents"), &json!({ "Entries": [entry] })).await?;
        // It answers 200 even where it took nothing
        match answer["FailedEntryCount"].as_u64() {
            Some(0) => Ok(()),
            Some(_) => {
                Err(CallError::Refused(answer["Entries"][0]["ErrorCode"].as_str().unwrap_or("unknown").to_owned()))
            }
            None => Err(CallError::Unavailable("PutEvents: no FailedEntryCount".into())),
        }
    }
}

/// What the environment says.
#[derive(Debug)]
pub struct Config {
    /// Where the table is.
    pub store: vega_store::Settings,
    /// Where `EventBridge` is.
    pub events: vega_aws::Settings,
    /// `VEGA_KEYS_TABLE`.
    pub table: String,
    /// `VEGA_NOTICE_SOURCE`: the `source` of the events.
    pub source: String,
}

impl Config {
    /// # Errors
    /// Names all that is missing or nonsense.
    pub fn load(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut environment = Environment::new(lookup);
        let table = environment.required("VEGA_KEYS_TABLE", text);
        let source = environment.required("VEGA_NOTICE_SOURCE", text);
        let store = vega_store::Settings::read(&mut environment);
        let events = store.as_ref().and_then(|_| vega_aws::Settings::read(vega_aws::Api::EVENTS, &mut environment));
        let config = store.zip(events).zip(table.zip(source));
        environment.finish(config.map(|((store, events), (table, source))| Self { store, events, table, source }))
    }
}

/// Tells what happens to keys.
pub struct Notifier<B> {
    /// Where the keys are, and what was sent.
    pub store: Store,
    /// Where the notifications go.
    pub bus: B,
}

/// What a run did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Notifier that were sent.
    pub sent: usize,
    /// What went wrong, each about one notification.
    pub faults: Vec<String>,
}

impl Report {
    /// The line of the log. It names nobody.
    pub fn line(&self) -> Value {
        json!({
            "outcome": if self.faults.is_empty() { "ok" } else { "fault" }, "function": "notifications",
            "code": (!self.faults.is_empty()).then_some("notification_not_sent"), "cause": self.faults.first(),
            "sent": self.sent, "faults": self.faults.len(),
        })
    }
}

impl<B: SendNotification> Notifier<B> {
    /// Does `task`. A fault about one notification doesn't stop it from sending the others.
    pub async fn run(&self, task: Task, now: Timestamp) -> Report {
        let mut report = Report::default();
        match task {
            Task::Deliver(events) => {
                for happening in events {
                    note(&mut report, self.tell(happening, now).await);
                }
            }
            Task::ScanForExpiry => {
                let outcome = self.scan_for_expiry(&mut report, now).await;
                report.faults.extend(outcome.err().map(|fault| fault.chain()));
            }
        }
        report
    }

    /// Sends the notification of something that happened.
    async fn tell(&self, happened: KeyEvent, now: Timestamp) -> Result<bool, String> {
        if happened.kind == Kind::FirstUsed && happened.network.is_some() {
            // The first network is not a new one
            let marker = Kind::NewNetwork.marker(happened.network.as_deref());
            let until = Kind::NewNetwork.remembered_until(None, now);
            self.store.mark_notified(happened.key, &marker, until).await.map_err(|fault| fault.chain())?;
        }
        if happened.kind == Kind::Expired && !Kind::is_news(happened.at, now) {
            return Ok(false);
        }
        self.send_once(happened, now).await
    }

    async fn scan_for_expiry(&self, report: &mut Report, now: Timestamp) -> Result<(), Fault> {
        let mut place = None;
        loop {
            let (keys, next) = self.store.expiring(place).await?;
            for key in keys {
                if let Some(kind) = Kind::due(&key, now) {
                    let at = if kind == Kind::Expired { key.expires_at } else { now };
                    let happened = KeyEvent { key: key.id, kind, at, network: None };
                    note(report, self.send_once(happened, now).await);
                }
            }
            place = next;
            if place.is_none() {
                return Ok(());
            }
        }
    }

    /// Sends a notification, unless it is noted that it was sent; then notes it.
    async fn send_once(&self, happened: KeyEvent, now: Timestamp) -> Result<bool, String> {
        let chain = |fault: Fault| fault.chain();
        let marker = happened.kind.marker(happened.network.as_deref());
        if self.store.was_notified(happened.key, &marker).await.map_err(chain)? {
            return Ok(false);
        }
        // What is gone needs no notification
        let Some(record) = self.store.find(happened.key).await.map_err(chain)? else { return Ok(false) };
        let notification = Notification::new(happened, record);
        self.bus.send(&notification).await.map_err(|error| format!("event bus: {error}"))?;
        let until = notification.kind.remembered_until(notification.expires_at, now);
        self.store.mark_notified(notification.key_id, &marker, until).await.map_err(chain)?;
        Ok(true)
    }
}

fn note(report: &mut Report, outcome: Result<bool, String>) {
    match outcome {
        Ok(sent) => report.sent += usize::from(sent),
        Err(fault) => report.faults.push(fault),
    }
}
