//! Keeps keys in line with their owners, who may be deleted or disabled in the user pool, or leave a group.
//!
//! Runs over every key owner on a schedule, and for one owner when Cognito reports a change. The report is only a hint: the
//! pool is always asked. A fault never costs anybody a key.

mod pass;
mod pool;
mod repair;
mod replay;
mod task;

use std::convert::Infallible;
use std::time::Duration;

use serde_json::{Value, json};
use vega_auth::config::{Environment, text};
use vega_auth::{Actor, Fault, Groups, KeyRecord, Timestamp, Transition};
use vega_aws::{CallError, Service};
use vega_store::{CommitError, Store, UpdateError};

pub use crate::pool::{OwnerStatus, Page, Pool, PoolFault};
pub use crate::repair::{RepairKeys, RepairReport};
pub use crate::task::{CONTINUATION, Task};

/// The actor in the audit events of the changes made here.
const ACTOR: &str = "system:owners";

impl OwnerStatus {
    /// The change that this status demands of one of the owner's keys, if any. A group that isn't among `known` stays: it grants
    /// nothing, and the pool isn't asked about it.
    fn transition(&self, key: &KeyRecord, known: &Groups, now: Timestamp) -> Option<Transition> {
        if !key.state(now).is_live() {
            return None;
        }
        match self {
            Self::Gone => key.revoke(Some("owner_deleted"), now),
            Self::Disabled => key.disable_with_owner(now),
            Self::Member(groups) => key.lose_groups(&known.difference(groups), "owner_left_group"),
        }
    }
}

/// Time, as a run sees it.
pub trait Clock {
    /// The date and time. It can jump.
    fn now(&self) -> Timestamp;
    /// The time since the run began.
    fn elapsed(&self) -> Duration;
    /// Waits until this much time has passed since the run began.
    fn wait_until(&self, elapsed: Duration) -> impl Future<Output = ()> + Send;
}

/// Configuration, read from environment variables.
#[derive(Debug)]
pub struct Config {
    /// Access to the table, to Cognito and to `EventBridge`.
    pub aws: vega_aws::Settings,
    /// `VEGA_KEYS_TABLE`.
    pub table: String,
    /// `VEGA_COGNITO_USER_POOL_ID`.
    pub pool_id: String,
    /// `VEGA_NOTICE_SOURCE`: the `source` of the events.
    pub source: String,
    /// The groups that the access rules can name.
    pub groups: Groups,
}

impl Config {
    /// Reads every variable. The problems are collected in `environment`.
    pub fn read(environment: &mut Environment<'_>) -> Option<Self> {
        let table = environment.required("VEGA_KEYS_TABLE", text);
        let pool_id = environment.required("VEGA_COGNITO_USER_POOL_ID", text);
        let source = environment.required("VEGA_NOTICE_SOURCE", text);
        let rules = vega_access_files::read(environment);
        let aws = vega_aws::Settings::read(environment);
        let groups = rules?.groups().clone();
        Some(Self { aws: aws?, table: table?, pool_id: pool_id?, source: source?, groups })
    }
}

/// Requests another run, which begins when this event arrives: `EventBridge` invokes the function with it.
/// Fails unless `EventBridge` confirmed the event.
pub async fn request_run(events: &Service, source: &str) -> Result<(), CallError> {
    events.put_event(source, CONTINUATION, "{}").await
}

/// Keeps the keys in line with the pool.
pub struct Owners<P> {
    /// The keys.
    pub store: Store,
    /// Their owners.
    pub pool: P,
    /// The groups that count: those of the access rules.
    pub groups: Groups,
}

/// The result of a run.
#[derive(Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a member of the log line")]
pub struct Report {
    /// Owners of keys that were usable when the run began, and that were compared with the pool.
    pub checked: usize,
    /// Of these, the owners who lose something.
    pub losing: usize,
    /// Of these, the owners whom the pool no longer knows.
    pub gone: usize,
    /// Whether they were implausibly many, so nobody lost anything.
    pub too_many_losing: bool,
    /// Keys that lost groups.
    pub reduced: usize,
    /// Keys that were disabled.
    pub disabled: usize,
    /// Keys that were revoked.
    pub revoked: usize,
    /// Keys that had expired, and were moved to the ended ones.
    pub expired: usize,
    /// Whether another run was already in progress.
    pub is_busy: bool,
    /// Whether time ran out.
    pub is_incomplete: bool,
    /// Whether another run should begin now: to continue this one, or because it was requested in the meantime.
    pub continues: bool,
    /// The time since the last complete pass began; before the first, since that was begun. `None` for an event about one owner.
    pub pass_age_seconds: Option<i64>,
    /// Everything that failed; one entry may concern one owner.
    pub faults: Vec<String>,
}

impl Report {
    /// Whether a person should look into it.
    pub fn is_fault(&self) -> bool {
        self.too_many_losing || !self.faults.is_empty()
    }

    /// The log line. It names nobody.
    pub fn line(&self) -> Value {
        let outcome = match (self.is_fault(), self.is_busy) {
            (true, _) => "fault",
            (false, true) => "busy",
            (false, false) => "ok",
        };
        let code = if self.too_many_losing { "too_many_losing" } else { "unavailable" };
        json!({
            "outcome": outcome, "function": "owners",
            "code": self.is_fault().then_some(code), "faults": self.faults.len(), "cause": self.faults.first(),
            "checked": self.checked, "losing": self.losing, "gone": self.gone, "reduced": self.reduced,
            "disabled": self.disabled, "revoked": self.revoked, "expired": self.expired,
            "incomplete": self.is_incomplete, "continues": self.continues, "pass_age_seconds": self.pass_age_seconds,
        })
    }

    /// The count of keys that an owner of this status changes.
    fn changed(&mut self, status: &OwnerStatus) -> &mut usize {
        match status {
            OwnerStatus::Gone => &mut self.revoked,
            OwnerStatus::Disabled => &mut self.disabled,
            OwnerStatus::Member(_) => &mut self.reduced,
        }
    }

    /// A pass that began in the future was dated by a wrong clock, and says nothing.
    fn note_age(&mut self, completed_at: Timestamp, now: Timestamp) {
        self.pass_age_seconds = Some(now.0 - completed_at.0).filter(|age| *age >= 0);
    }
}

impl<P: Pool> Owners<P> {
    /// Runs `task` by this clock, and stops when the budget is used up. After a fault about one owner, the others are still
    /// checked.
    pub async fn run(&self, task: &Task, request_id: &str, clock: &impl Clock, budget: Duration) -> Report {
        let actor =
            Actor { id: ACTOR.into(), username: ACTOR.into(), request_id: request_id.into(), ..Actor::default() };
        let run =
            Run { store: &self.store, pool: &self.pool, groups: &self.groups, actor, now: clock.now(), clock, budget };
        let mut report = Report::default();
        let outcome = match task {
            Task::Nothing => Ok(()),
            Task::SyncOwner(owner) => run.sync_owner(owner, &mut report).await,
            Task::SyncAll { may_revoke } => run.sync_all(*may_revoke, &mut report).await,
            Task::Replay(notifications) => {
                replay::replay(&self.store, notifications, request_id, run.now, &mut report).await;
                Ok(())
            }
        };
        report.faults.extend(outcome.err().map(|failure| failure.0));
        report
    }
}

/// Why something wasn't done, for the log.
struct Failure(String);

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self(fault.chain())
    }
}

impl From<PoolFault> for Failure {
    fn from(fault: PoolFault) -> Self {
        Self(fault.to_string())
    }
}

struct Run<'a, P, C> {
    store: &'a Store,
    pool: &'a P,
    groups: &'a Groups,
    actor: Actor,
    /// The start of the run.
    now: Timestamp,
    clock: &'a C,
    budget: Duration,
}

impl<P: Pool, C: Clock> Run<'_, P, C> {
    async fn sync_owner(&self, owner: &str, report: &mut Report) -> Result<(), Failure> {
        // Something changed that their tokens don't show. The bar is set whether or not they have a key yet.
        self.bar(owner).await?;
        let live = self.live(owner).await?;
        let Some(record) = live.first() else { return Ok(()) };
        report.checked = 1;
        let status = self.find(owner, &record.owner_username).await?;
        report.gone = usize::from(status == OwnerStatus::Gone);
        if let OwnerStatus::Member(groups) = &status {
            let key_groups: Groups = live.iter().flat_map(|key| key.groups.iter()).cloned().collect();
            for lost in key_groups.intersection(&self.groups.difference(groups)).iter() {
                // Fails if the pool has no such group: then nobody left it.
                self.pool.page(Some(lost), None).await?;
            }
            self.store.note_seen_in(owner, &record.owner_username, groups).await?;
        }
        *report.changed(&status) = self.sync_keys(owner, &status).await?;
        Ok(())
    }

    /// An owner's status, with the groups that count.
    async fn find(&self, owner: &str, username: &str) -> Result<OwnerStatus, PoolFault> {
        Ok(match self.pool.find(owner, username).await? {
            OwnerStatus::Member(groups) => OwnerStatus::Member(groups.intersection(self.groups)),
            status => status,
        })
    }

    /// Bars every token that the owner has at this point, which is after the pool's answer.
    async fn bar(&self, owner: &str) -> Result<(), Fault> {
        self.store.bar(owner, self.clock.now()).await
    }

    /// Syncs the keys of an owner with their status. The number of keys that changed. Tokens are barred before the keys are read:
    /// no key that one of them creates or enables can be missed.
    async fn sync_keys(&self, owner: &str, status: &OwnerStatus) -> Result<usize, Fault> {
        let mut changed = 0;
        if !matches!(status, OwnerStatus::Member(_)) {
            self.bar(owner).await?;
        }
        if *status == OwnerStatus::Disabled {
            self.store.note_disabled(owner).await?;
        }
        for record in self.live(owner).await? {
            let decide = |key: &KeyRecord| Ok::<_, Infallible>(status.transition(key, self.groups, self.now));
            match self.store.update(record.id, &self.actor, self.now, decide).await {
                Ok(updated) => changed += usize::from(updated.is_changed),
                Err(UpdateError::NotFound) => {}
                Err(UpdateError::Commit(CommitError::Fault(fault))) => return Err(fault),
                Err(UpdateError::Commit(error)) => {
                    return Err(Fault::Store(format!("key not updated: {error:?}").into()));
                }
            }
        }
        if *status == OwnerStatus::Gone {
            self.store.retire(owner, self.now).await?;
        }
        Ok(changed)
    }

    /// An owner's live keys.
    async fn live(&self, owner: &str) -> Result<Vec<KeyRecord>, Fault> {
        let mut records = self.store.list(owner).await?;
        records.retain(|record| record.state(self.now).is_live());
        Ok(records)
    }
}
