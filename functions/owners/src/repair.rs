//! The repair of existing keys, on an administrator's request: docs/operations.md, "After an upgrade".

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};
use vega_auth::{Fault, Object, Timestamp};
use vega_store::{Begun, Repair, Store};

/// The repairs that are made at once.
const REPAIRS_AT_ONCE: usize = 10;

/// The event that requests it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    repair_keys: Object<RepairKeys>,
}

/// A request to bring existing items of the table in line with what the current version writes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepairKeys {
    /// Whether to count only.
    pub dry_run: bool,
}

/// The outcome of one invocation.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// Whether it only counted.
    pub dry_run: bool,
    /// Items that were read.
    pub scanned: usize,
    /// Repairs that were made, or in a dry run are to be made, by kind.
    pub repairs: BTreeMap<&'static str, usize>,
    /// Whether the whole table has been read. Otherwise the next invocation continues.
    pub complete: bool,
    /// Everything that failed; one entry may concern one item.
    pub faults: Vec<String>,
}

impl RepairReport {
    /// The log line. It names nobody.
    pub fn line(&self) -> Value {
        let is_fault = !self.faults.is_empty();
        json!({
            "outcome": if is_fault { "fault" } else { "ok" }, "function": "owners", "task": "repair_keys",
            "code": is_fault.then_some("unavailable"), "cause": self.faults.first(), "faults": self.faults.len(),
            "dry_run": self.dry_run, "scanned": self.scanned, "repairs": self.repairs, "complete": self.complete,
        })
    }
}

impl RepairKeys {
    /// Reads an event. `None` if it requests something else.
    pub fn read(event: &Value) -> Option<Self> {
        let Object(Event { repair_keys: Object(request) }) = serde_json::from_value(event.clone()).ok()?;
        Some(request)
    }

    /// Repairs from where the previous invocation stopped until everything was read, or there is no time left. A fault about one
    /// item doesn't keep the others from being repaired.
    pub async fn run(
        &self,
        store: &Store,
        request_id: &str,
        now: Timestamp,
        has_time: impl Fn() -> bool,
    ) -> RepairReport {
        let mut report = RepairReport { dry_run: self.dry_run, ..RepairReport::default() };
        let name = if self.dry_run { "repair-dry-run" } else { "repair" };
        let mut pass = match store.begin_pass(name, request_id, now).await {
            Ok(Begun::Leased(pass)) => pass,
            Ok(Begun::Busy { .. }) => {
                report.faults.push("another invocation repairs keys at the moment".into());
                return report;
            }
            Err(fault) => {
                report.faults.push(fault.chain());
                return report;
            }
        };
        loop {
            match store.repairs(pass.place.clone(), now).await {
                Ok(page) => {
                    report.scanned += page.scanned;
                    self.repair(store, page.repairs, now, &mut report).await;
                    pass.place = page.next;
                    report.complete = pass.place.is_none();
                }
                Err(fault) => {
                    report.faults.push(fault.chain());
                    break;
                }
            }
            if report.complete || !has_time() {
                break;
            }
        }
        if report.complete {
            pass.completed_at = now;
        }
        let saved = store.end_pass(pass).await;
        report.faults.extend(saved.err().map(|fault| fault.chain()));
        report
    }

    async fn repair(
        &self,
        store: &Store,
        repairs: Vec<Result<Repair, Fault>>,
        now: Timestamp,
        report: &mut RepairReport,
    ) {
        let (mut due, mut outcomes) = (Vec::new(), Vec::new());
        for repair in repairs {
            match repair {
                Ok(repair) => due.push(repair),
                Err(fault) => report.faults.push(fault.chain()),
            }
        }
        if !self.dry_run {
            for some in due.chunks(REPAIRS_AT_ONCE) {
                outcomes.extend(join_all(some.iter().map(|repair| store.repair(repair, now))).await);
            }
        }
        report.faults.extend(outcomes.into_iter().filter_map(Result::err).map(|fault| fault.chain()));
        for repair in due {
            let kind = match repair {
                Repair::Record(_) => "records",
                Repair::Expired { .. } => "expired",
                Repair::LastUse { .. } => "last_uses",
                Repair::Lists { .. } => "lists",
            };
            *report.repairs.entry(kind).or_default() += 1;
        }
    }
}
