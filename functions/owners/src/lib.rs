//! Keeps keys in line with their owners, who may be deleted or disabled in the user pool, or leave a group.
//!
//! Runs over every key owner on a schedule, and for one owner when Cognito reports a change. The report is only a hint: the
//! pool is always asked. A fault never costs anybody a key.

mod repair;
mod replay;
mod task;

use std::convert::Infallible;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use vega_auth::config::{Environment, text};
use vega_auth::{Actor, Fault, Groups, KeyChange, KeyRecord, Timestamp, Transition};
use vega_aws::UserPool;
use vega_store::{CommitError, KeyOwner, Store, UpdateError};

pub use crate::repair::{RepairKeys, RepairReport};
pub use crate::task::Task;

/// The actor in the audit events of the changes made here.
const ACTOR: &str = "system:owners";
/// How many owners are looked up at once, and within the pace.
const CONCURRENCY: usize = 10;
/// A run revokes the keys of at most one in this many owners because they are gone, and of one owner in any case. More missing
/// owners than that suggest a wrong pool.
const MAX_GONE_FRACTION: usize = 5;

/// Why the pool didn't answer.
pub type PoolFault = Box<dyn std::error::Error + Send + Sync>;

/// An owner's status in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerStatus {
    /// They can sign in, and are in these groups.
    Member(Groups),
    /// They can't sign in for now.
    Disabled,
    /// The pool doesn't know them: they were deleted.
    Gone,
}

impl OwnerStatus {
    /// The change that this status demands of one of the owner's keys, if any.
    fn transition(self, key: &KeyRecord, now: Timestamp) -> Option<Transition> {
        if !key.state(now).is_live() {
            return None;
        }
        match self {
            Self::Gone => key.revoke(Some("owner_deleted"), now),
            Self::Disabled => {
                let disable = KeyChange { is_enabled: Some(false), ..KeyChange::default() };
                key.change(&disable, Some("owner_disabled"), now).ok()?
            }
            Self::Member(groups) => key.keep_groups(groups, "owner_left_group"),
        }
    }
}

/// The user pool.
pub trait FindOwner {
    /// The status of the person with this `sub`, who had this username when they created a key.
    ///
    /// `Err` if the pool didn't answer: `Gone` means that it answered, and knows no such person.
    fn find(&self, owner: &str, username: &str) -> impl Future<Output = Result<OwnerStatus, PoolFault>> + Send;
}

impl FindOwner for UserPool {
    async fn find(&self, owner: &str, username: &str) -> Result<OwnerStatus, PoolFault> {
        Ok(match Self::find(self, owner, username).await? {
            None => OwnerStatus::Gone,
            Some(user) if !user.is_enabled => OwnerStatus::Disabled,
            Some(user) => OwnerStatus::Member(self.groups(&user).await?),
        })
    }
}

/// Configuration, read from environment variables.
#[derive(Debug)]
pub struct Config {
    /// Access to the table and to Cognito.
    pub aws: vega_aws::Settings,
    /// `VEGA_KEYS_TABLE`.
    pub table: String,
    /// `VEGA_COGNITO_USER_POOL_ID`.
    pub pool_id: String,
}

impl Config {
    /// Reads every variable. The problems are collected in `environment`.
    pub fn read(environment: &mut Environment<'_>) -> Option<Self> {
        let table = environment.required("VEGA_KEYS_TABLE", text);
        let pool_id = environment.required("VEGA_COGNITO_USER_POOL_ID", text);
        let aws = vega_aws::Settings::read(environment);
        Some(Self { aws: aws?, table: table?, pool_id: pool_id? })
    }
}

/// Keeps the keys in line with the pool.
pub struct Owners<P> {
    /// The keys.
    pub store: Store,
    /// Their owners.
    pub pool: P,
    /// The least time for [`CONCURRENCY`] look-ups.
    pub pace: Duration,
}

/// The result of a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Owners that were looked up.
    pub checked: usize,
    /// Keys that lost groups.
    pub reduced: usize,
    /// Keys that were disabled.
    pub disabled: usize,
    /// Keys that were revoked.
    pub revoked: usize,
    /// Keys that had expired, and were moved to the ended ones.
    pub expired: usize,
    /// Owners that the pool no longer knows.
    pub gone: usize,
    /// Whether these were too many to be plausible: none of their keys was revoked.
    pub too_many_missing: bool,
    /// Whether time ran out before every owner was checked: the next run continues there.
    pub incomplete: bool,
    /// Everything that failed; one entry may concern one owner.
    pub faults: Vec<String>,
}

impl Report {
    /// Whether a person should look into it.
    pub fn is_fault(&self) -> bool {
        self.too_many_missing || !self.faults.is_empty()
    }

    /// The log line. It names nobody.
    pub fn line(&self) -> Value {
        let code = if self.too_many_missing { "too_many_missing" } else { "unavailable" };
        json!({
            "outcome": if self.is_fault() { "fault" } else { "ok" }, "function": "owners",
            "code": self.is_fault().then_some(code), "faults": self.faults.len(), "cause": self.faults.first(),
            "checked": self.checked, "gone": self.gone, "reduced": self.reduced, "disabled": self.disabled,
            "revoked": self.revoked, "expired": self.expired, "incomplete": self.incomplete,
        })
    }
}

impl<P: FindOwner> Owners<P> {
    /// Runs `task` by this clock, as long as there is time left. A fault about one owner doesn't keep it from checking the
    /// others.
    pub async fn run(
        &self,
        task: &Task,
        request_id: &str,
        clock: impl Fn() -> Timestamp,
        has_time: impl Fn() -> bool,
    ) -> Report {
        let actor =
            Actor { id: ACTOR.into(), username: ACTOR.into(), request_id: request_id.into(), ..Actor::default() };
        let run = Run { owners: self, actor, now: clock(), clock };
        let mut report = Report::default();
        let outcome = match task {
            Task::Nothing => Ok(()),
            Task::SyncOwner(owner) => run.sync_owner(owner, &mut report).await,
            Task::SyncAll { may_revoke } => run.sync_all(*may_revoke, has_time, &mut report).await,
            Task::Replay(notifications) => {
                replay::replay(&self.store, notifications, request_id, run.now, &mut report).await;
                Ok(())
            }
        };
        report.faults.extend(outcome.err().map(|fault| fault.chain()));
        report
    }
}

struct Run<'a, P, C> {
    owners: &'a Owners<P>,
    actor: Actor,
    /// The start of the run.
    now: Timestamp,
    clock: C,
}

impl<P: FindOwner, C: Fn() -> Timestamp> Run<'_, P, C> {
    async fn sync_owner(&self, owner: &str, report: &mut Report) -> Result<(), Fault> {
        let store = &self.owners.store;
        // Something changed that their tokens don't show. The bar is set whether or not they have a key yet.
        self.bar(owner).await?;
        let Some(record) = self.live(owner).await?.pop() else { return Ok(()) };
        report.checked = 1;
        match self.owners.pool.find(owner, &record.owner_username).await {
            Ok(status) => {
                report.gone = usize::from(status == OwnerStatus::Gone);
                if let OwnerStatus::Member(groups) = status {
                    store.note_seen_in(owner, &record.owner_username, groups).await?;
                }
                self.sync_keys(owner, status, report).await
            }
            Err(fault) => {
                report.faults.push(fault.to_string());
                Ok(())
            }
        }
    }

    async fn sync_all(
        &self,
        may_revoke: Option<usize>,
        has_time: impl Fn() -> bool,
        report: &mut Report,
    ) -> Result<(), Fault> {
        let store = &self.owners.store;
        let started_at = store.owner_cursor().await?;
        let mut cursor = started_at.clone();
        let mut gone = Vec::new();
        loop {
            let (mut key_owners, next) = store.key_owners(cursor, self.now).await?;
            for key_owner in key_owners.iter().filter(|key_owner| !key_owner.expired.is_empty()) {
                match store.end_expired(&key_owner.owner, &key_owner.expired).await {
                    Ok(()) => report.expired += key_owner.expired.len(),
                    Err(fault) => report.faults.push(fault.chain()),
                }
            }
            // The others have no key left to lose: whether they are gone doesn't matter, and isn't counted.
            for key_owner in key_owners.extract_if(.., |key_owner| !key_owner.is_live) {
                let outcome = store.retire(&key_owner.owner, self.now).await;
                report.faults.extend(outcome.err().map(|fault| fault.chain()));
            }
            for some in key_owners.chunks(CONCURRENCY) {
                self.check_owners(some, &mut gone, report).await;
            }
            cursor = next;
            if cursor.is_none() || !has_time() {
                break;
            }
        }
        report.incomplete = cursor.is_some();
        report.gone = gone.len();
        if gone.len() > may_revoke.unwrap_or((report.checked / MAX_GONE_FRACTION).max(1)) {
            report.too_many_missing = true;
        } else {
            for owner in &gone {
                let outcome = self.sync_keys(owner, OwnerStatus::Gone, report).await;
                report.faults.extend(outcome.err().map(|fault| fault.chain()));
            }
        }
        if cursor != started_at {
            store.save_owner_cursor(cursor.as_ref()).await?;
        }
        Ok(())
    }

    /// Looks up some key owners at once, and syncs the keys of those who are still there.
    async fn check_owners(&self, key_owners: &[KeyOwner], gone: &mut Vec<String>, report: &mut Report) {
        let found =
            join_all(key_owners.iter().map(|key_owner| self.owners.pool.find(&key_owner.owner, &key_owner.username)));
        let (found, ()) = futures_util::future::join(found, tokio::time::sleep(self.owners.pace)).await;
        for (key_owner, status) in key_owners.iter().zip(found) {
            report.checked += 1;
            let outcome = match status {
                Ok(OwnerStatus::Gone) => {
                    if !gone.contains(&key_owner.owner) {
                        gone.push(key_owner.owner.clone());
                    }
                    Ok(())
                }
                Ok(OwnerStatus::Member(groups)) => self.check_member(key_owner, groups, report).await,
                // Their tokens are barred at each check: they may have been enabled since the last one, and signed in.
                Ok(OwnerStatus::Disabled) if !key_owner.is_active => self.bar(&key_owner.owner).await,
                Ok(OwnerStatus::Disabled) => self.sync_keys(&key_owner.owner, OwnerStatus::Disabled, report).await,
                Err(fault) => {
                    report.faults.push(fault.to_string());
                    Ok(())
                }
            };
            report.faults.extend(outcome.err().map(|fault| fault.chain()));
        }
    }

    /// Syncs the keys of an owner with their groups in the pool. If they were in other groups before, according to our records or
    /// their keys, there may be tokens that still contain those.
    async fn check_member(&self, key_owner: &KeyOwner, groups: Groups, report: &mut Report) -> Result<(), Fault> {
        let store = &self.owners.store;
        let seen_in = match key_owner.seen_in {
            None => store.seen_in(&key_owner.owner).await?,
            seen_in => seen_in,
        };
        let before = seen_in.unwrap_or(Groups::NONE);
        if !(before.is_subset(groups) && key_owner.groups.is_subset(groups)) {
            self.bar(&key_owner.owner).await?;
        }
        if seen_in != Some(groups) {
            store.note_seen_in(&key_owner.owner, &key_owner.username, groups).await?;
        }
        if key_owner.groups.is_subset(groups) {
            return Ok(());
        }
        self.sync_keys(&key_owner.owner, OwnerStatus::Member(groups), report).await
    }

    /// Bars the tokens an owner has by now: the pool's answer is older than that.
    async fn bar(&self, owner: &str) -> Result<(), Fault> {
        self.owners.store.bar(owner, (self.clock)()).await
    }

    /// Syncs the keys of an owner with their status. Tokens are barred before the keys are read: no key that one of them creates
    /// or enables can be missed.
    async fn sync_keys(&self, owner: &str, status: OwnerStatus, report: &mut Report) -> Result<(), Fault> {
        let store = &self.owners.store;
        let count = match status {
            OwnerStatus::Gone => &mut report.revoked,
            OwnerStatus::Disabled => &mut report.disabled,
            OwnerStatus::Member(_) => &mut report.reduced,
        };
        if !matches!(status, OwnerStatus::Member(_)) {
            self.bar(owner).await?;
        }
        for record in self.live(owner).await? {
            let decide = |key: &KeyRecord| Ok::<_, Infallible>(status.transition(key, self.now));
            match store.update(record.id, &self.actor, self.now, decide).await {
                Ok(updated) => *count += usize::from(updated.is_changed),
                Err(UpdateError::NotFound) => {}
                Err(UpdateError::Commit(CommitError::Fault(fault))) => return Err(fault),
                Err(UpdateError::Commit(error)) => {
                    return Err(Fault::Store(format!("key not updated: {error:?}").into()));
                }
            }
        }
        if status == OwnerStatus::Gone { store.retire(owner, self.now).await } else { Ok(()) }
    }

    /// An owner's live keys.
    async fn live(&self, owner: &str) -> Result<Vec<KeyRecord>, Fault> {
        let mut records = self.owners.store.list(owner).await?;
        records.retain(|record| record.state(self.now).is_live());
        Ok(records)
    }
}
