//! What happens to owners reaches their keys: who is deleted or disabled in the user pool, or leaves a group.
//!
//! A look through all who hold keys, on a schedule, and at one of them when Cognito tells that something happened. What
//! Cognito tells is a hint: the pool is asked in any case. A fault takes nothing from anybody.

mod task;

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use vega_auth::config::{Environment, text};
use vega_auth::{Fault, Groups, KeyRecord, KeyStatus, Timestamp};
use vega_aws::UserPool;
use vega_store::{Actor, Change, ChangeError, EventKind, KeyOwner, Store};

pub use crate::task::Task;

/// Who changes the keys, in their audit events.
const ACTOR: &str = "system:owners";
/// How many owners are looked up at once, and within the pace.
const CONCURRENCY: usize = 10;
/// How often a change is tried again that met another one.
const TRIES: usize = 5;
/// A run takes the keys of one owner in so many, whom the pool doesn't know any more, and of one in any case. More look like
/// a wrong pool.
const MAX_GONE_FRACTION: usize = 5;

/// What went wrong with the pool.
pub type PoolFault = Box<dyn std::error::Error + Send + Sync>;

/// What the pool says of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerStatus {
    /// They may sign in, and are in these groups.
    Member(Groups),
    /// They may not, for now.
    Disabled,
    /// The pool doesn't know them: deleted.
    Gone,
}

/// The user pool.
pub trait FindOwner {
    /// What the pool says of the person with this `sub`, who had this username when they made a key.
    ///
    /// `Err` where it did not say: `Gone` is for a pool that answered that there is no such person.
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
    /// Where the table is.
    pub store: vega_store::Settings,
    /// Where Cognito is.
    pub cognito: vega_aws::Settings,
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
        let store = vega_store::Settings::read(environment);
        let cognito = store.as_ref().and_then(|_| vega_aws::Settings::read(vega_aws::Api::COGNITO, environment));
        Some(Self { store: store?, cognito: cognito?, table: table?, pool_id: pool_id? })
    }
}

/// Brings the keys in line with the pool.
pub struct Owners<P> {
    /// Where the keys are.
    pub store: Store,
    /// Where their owners are.
    pub pool: P,
    /// The least time that [`CONCURRENCY`] look-ups take.
    pub pace: Duration,
}

/// What a run did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Owners that were looked up.
    pub checked: usize,
    /// Keys that lost groups.
    pub reduced: usize,
    /// Keys that were switched off.
    pub disabled: usize,
    /// Keys that were revoked.
    pub revoked: usize,
    /// Keys that had expired, and were put with the ended ones.
    pub expired: usize,
    /// Owners that the pool doesn't know any more.
    pub gone: usize,
    /// Whether these were too many to be true: none of their keys was revoked.
    pub too_many_missing: bool,
    /// Whether time was up before all were looked at: the next run goes on there.
    pub incomplete: bool,
    /// What went wrong; each may be about one owner.
    pub faults: Vec<String>,
}

impl Report {
    /// Whether somebody should look.
    pub fn is_fault(&self) -> bool {
        self.too_many_missing || !self.faults.is_empty()
    }

    /// The line of the log. It names nobody.
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
    /// Does `task` by this clock, as long as there is time left. A fault about one owner doesn't stop it from looking at the
    /// others.
    pub async fn run(
        &self,
        task: &Task,
        request_id: &str,
        clock: impl Fn() -> Timestamp,
        has_time: impl Fn() -> bool,
    ) -> Report {
        let actor = Actor {
            id: ACTOR.into(),
            username: ACTOR.into(),
            address: String::new(),
            request_id: request_id.into(),
            ..Actor::default()
        };
        let run = Run { owners: self, actor, now: clock(), clock };
        let mut report = Report::default();
        let outcome = match task {
            Task::Nothing => Ok(()),
            Task::SyncOwner(owner) => run.sync_owner(owner, &mut report).await,
            Task::SyncAll { may_revoke } => run.sync_all(*may_revoke, has_time, &mut report).await,
        };
        report.faults.extend(outcome.err().map(|fault| fault.chain()));
        report
    }
}

struct Run<'a, P, C> {
    owners: &'a Owners<P>,
    actor: Actor,
    /// When the run began.
    now: Timestamp,
    clock: C,
}

impl<P: FindOwner, C: Fn() -> Timestamp> Run<'_, P, C> {
    async fn sync_owner(&self, owner: &str, report: &mut Report) -> Result<(), Fault> {
        let store = &self.owners.store;
        // Something happened to them that their tokens don't say, whatever it was, and whether or not they have a key yet
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
        let mut place = started_at.clone();
        let mut gone = Vec::new();
        loop {
            let (mut key_owners, next) = store.key_owners(place, self.now).await?;
            for key_owner in key_owners.iter().filter(|key_owner| !key_owner.expired.is_empty()) {
                match store.end_expired(&key_owner.owner, &key_owner.expired).await {
                    Ok(()) => report.expired += key_owner.expired.len(),
                    Err(fault) => report.faults.push(fault.chain()),
                }
            }
            // Nothing is left to take from the others: whether they are gone doesn't matter, and counts for nothing
            for key_owner in key_owners.extract_if(.., |key_owner| !key_owner.is_live) {
                let outcome = store.retire(&key_owner.owner, self.now).await;
                report.faults.extend(outcome.err().map(|fault| fault.chain()));
            }
            for some in key_owners.chunks(CONCURRENCY) {
                self.check_owners(some, &mut gone, report).await;
            }
            place = next;
            if place.is_none() || !has_time() {
                break;
            }
        }
        report.incomplete = place.is_some();
        report.gone = gone.len();
        if gone.len() > may_revoke.unwrap_or((report.checked / MAX_GONE_FRACTION).max(1)) {
            report.too_many_missing = true;
        } else {
            for owner in &gone {
                let outcome = self.sync_keys(owner, OwnerStatus::Gone, report).await;
                report.faults.extend(outcome.err().map(|fault| fault.chain()));
            }
        }
        if place != started_at {
            store.save_owner_cursor(place.as_ref()).await?;
        }
        Ok(())
    }

    /// Looks some key owners up at once, and brings the keys of those in line who are still there.
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
                // Their tokens are barred at each look: they may have been enabled since the last one, and signed in
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

    /// Brings the keys of an owner in line with the groups that the pool says they are in. If they were in others before,
    /// by what we saw of them or by their keys, there may be tokens that say so still.
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

    /// Bars the tokens that an owner has by now: what the pool said of them was said before.
    async fn bar(&self, owner: &str) -> Result<(), Fault> {
        self.owners.store.bar(owner, (self.clock)()).await
    }

    /// Brings the keys of an owner in line with what the pool says of them. Before their keys are read, tokens are barred: no
    /// key that these make or switch on can be missed.
    async fn sync_keys(&self, owner: &str, status: OwnerStatus, report: &mut Report) -> Result<(), Fault> {
        let store = &self.owners.store;
        if !matches!(status, OwnerStatus::Member(_)) {
            self.bar(owner).await?;
        }
        for _ in 0..TRIES {
            let mut met_a_change = false;
            for record in self.live(owner).await? {
                let outcome = match status {
                    OwnerStatus::Gone => {
                        let reason = Some("owner_deleted");
                        let revoked = store.revoke(&record, EventKind::Revoked, reason, &self.actor, self.now).await;
                        revoked.map(|_| report.revoked += 1)
                    }
                    OwnerStatus::Disabled if record.status == KeyStatus::Active => {
                        let change = Change { status: Some(KeyStatus::Disabled), ..Change::default() };
                        let reason = Some("owner_disabled");
                        store.change(&record, change, reason, &self.actor, self.now).await.map(|_| report.disabled += 1)
                    }
                    OwnerStatus::Member(groups) if !record.groups.is_subset(groups) => {
                        let left = record.groups.iter().filter(|group| groups.contains(*group)).collect();
                        let reduced =
                            store.reduce_groups(&record, left, "owner_left_group", &self.actor, self.now).await;
                        reduced.map(|_| report.reduced += 1)
                    }
                    OwnerStatus::Disabled | OwnerStatus::Member(_) => Ok(()),
                };
                match outcome {
                    Ok(()) => {}
                    Err(ChangeError::Conflict | ChangeError::TokenOutdated) => met_a_change = true,
                    Err(ChangeError::Fault(fault)) => return Err(fault),
                }
            }
            if !met_a_change {
                return if status == OwnerStatus::Gone { store.retire(owner, self.now).await } else { Ok(()) };
            }
        }
        Err(Fault::Store("a key changed at every try".into()))
    }

    /// The keys of an owner that could still be used, or be switched on again.
    async fn live(&self, owner: &str) -> Result<Vec<KeyRecord>, Fault> {
        let mut records = self.owners.store.list(owner).await?;
        records
            .retain(|record| record.status != KeyStatus::Revoked && record.expires_at.is_none_or(|end| self.now < end));
        Ok(records)
    }
}
