//! Tells what happens to keys, as events on `EventBridge`: docs/notices.md.
//!
//! What happened is read from the table's stream: audit events, and the last use of keys. Which keys are near their end is
//! looked up on a schedule. A notice is sent first and noted as sent then, so a crash in between sends it twice, with the
//! same id, and never not at all.

mod notice;
mod task;

use serde_json::{Value, json};
use vega_auth::config::{ConfigError, Environment, text};
use vega_auth::{Fault, FindKey as _, Timestamp};
use vega_aws::{CallError, Service};
use vega_store::Store;

pub use crate::notice::{Kind, Notice};
pub use crate::task::{Happening, Task};

/// The `detail-type` of our events.
const DETAIL_TYPE: &str = "API Key Notice";

/// Where notices go.
pub trait SendNotice {
    /// Sends a notice. `Err` where it may not have arrived.
    fn send(&self, notice: &Notice) -> impl Future<Output = Result<(), CallError>> + Send;
}

/// The account's default bus of `EventBridge`.
pub struct EventBus {
    /// How it is called.
    pub service: Service,
    /// The `source` of our events.
    pub source: String,
}

impl SendNotice for EventBus {
    async fn send(&self, notice: &Notice) -> Result<(), CallError> {
        let unwritable = |error: serde_json::Error| CallError::Unavailable(error.into());
        let detail = serde_json::to_string(notice).map_err(unwritable)?;
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
pub struct Notices<B> {
    /// Where the keys are, and what was sent.
    pub store: Store,
    /// Where the notices go.
    pub bus: B,
}

/// What a run did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Notices that were sent.
    pub sent: usize,
    /// What went wrong, each about one notice.
    pub faults: Vec<String>,
}

impl Report {
    /// The line of the log. It names nobody.
    pub fn line(&self) -> Value {
        json!({
            "outcome": if self.faults.is_empty() { "ok" } else { "fault" }, "function": "notices",
            "code": (!self.faults.is_empty()).then_some("notice_not_sent"), "cause": self.faults.first(),
            "sent": self.sent, "faults": self.faults.len(),
        })
    }
}

impl<B: SendNotice> Notices<B> {
    /// Does `task`. A fault about one notice doesn't stop it from sending the others.
    pub async fn run(&self, task: Task, now: Timestamp) -> Report {
        let mut report = Report::default();
        match task {
            Task::Happened(happenings) => {
                for happening in happenings {
                    note(&mut report, self.tell(happening, now).await);
                }
            }
            Task::LookForExpiry => {
                let outcome = self.look_for_expiry(&mut report, now).await;
                report.faults.extend(outcome.err().map(|fault| fault.chain()));
            }
        }
        report
    }

    /// Sends the notice of something that happened.
    async fn tell(&self, happened: Happening, now: Timestamp) -> Result<bool, String> {
        if happened.kind == Kind::FirstUsed && happened.network.is_some() {
            // The first network is not a new one
            let marker = Kind::NewNetwork.marker(happened.network.as_deref());
            let until = Kind::NewNetwork.remembered_until(None, now);
            self.store.note_notice(happened.key, &marker, until).await.map_err(|fault| fault.chain())?;
        }
        if happened.kind == Kind::Expired && !Kind::is_news(happened.at, now) {
            return Ok(false);
        }
        self.send_once(happened, now).await
    }

    async fn look_for_expiry(&self, report: &mut Report, now: Timestamp) -> Result<(), Fault> {
        let mut place = None;
        loop {
            let (keys, next) = self.store.expiring(place).await?;
            for key in keys {
                if let Some(kind) = Kind::due(&key, now) {
                    let at = if kind == Kind::Expired { key.expires_at } else { now };
                    let happened = Happening { key: key.id, kind, at, network: None };
                    note(report, self.send_once(happened, now).await);
                }
            }
            place = next;
            if place.is_none() {
                return Ok(());
            }
        }
    }

    /// Sends a notice, unless it is noted that it was sent; then notes it.
    async fn send_once(&self, happened: Happening, now: Timestamp) -> Result<bool, String> {
        let chain = |fault: Fault| fault.chain();
        let marker = happened.kind.marker(happened.network.as_deref());
        if self.store.is_noticed(happened.key, &marker).await.map_err(chain)? {
            return Ok(false);
        }
        // What is gone needs no notice
        let Some(record) = self.store.find(happened.key).await.map_err(chain)? else { return Ok(false) };
        let notice = Notice::new(happened, record);
        self.bus.send(&notice).await.map_err(|error| format!("event bus: {error}"))?;
        let until = notice.kind.remembered_until(notice.expires_at, now);
        self.store.note_notice(notice.key_id, &marker, until).await.map_err(chain)?;
        Ok(true)
    }
}

fn note(report: &mut Report, outcome: Result<bool, String>) {
    match outcome {
        Ok(sent) => report.sent += usize::from(sent),
        Err(fault) => report.faults.push(fault),
    }
}
