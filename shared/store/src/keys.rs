use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::builders::PutBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use vega_auth::{Fault, KeyId, KeyRecord, KeyState, KeyStatus, Network, ScopeName, Timestamp};
use vega_key_table::Settings;

use crate::audit::{Actor, Entry, EventKind, audited};
use crate::idempotency_record::IdempotencyRecord;
use crate::item::{self, Item, number, string};
use crate::transact::{TransactionError, check, fault, put_write, update_write};

/// A third of what a transaction takes, less one: each key is three writes, beside its owner's one.
const KEYS_PER_REVOCATION: usize = 33;

/// The keys in the table.
pub struct Store {
    pub(crate) client: Client,
    pub(crate) table: String,
}

/// What a person may change of a key; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// The new name.
    pub name: Option<String>,
    /// The new description.
    pub description: Option<String>,
    /// The new groups.
    pub groups: Option<vega_auth::Groups>,
    /// The new scopes.
    pub scopes: Option<Vec<ScopeName>>,
    /// The new networks.
    pub cidrs: Option<Vec<Network>>,
    /// The new status.
    pub status: Option<KeyStatus>,
}

/// Why a key was not made.
#[derive(Debug)]
pub enum CreateError {
    /// The owner's standing changed after the access token was issued: see [`Store::bar`].
    TokenOutdated,
    /// The owner has as many live keys as they may.
    LimitReached,
    /// The id is taken: try another.
    IdTaken,
    /// The key whose place it was to take changed since it was read.
    Conflict,
    /// The same request is being answered, or was since we looked.
    InProgress,
    /// We could not find out. Where the answer was lost, the key may have been made: its owner's list tells.
    Fault(Fault),
}

/// Why a key was not changed.
#[derive(Debug)]
pub enum ChangeError {
    /// It would give the key more, and the owner's standing changed after the access token was issued: see [`Store::bar`].
    TokenOutdated,
    /// It changed since it was read.
    Conflict,
    /// We could not find out. Where the answer was lost, the change may have been made.
    Fault(Fault),
}

impl From<Fault> for CreateError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Fault> for ChangeError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Store {
    /// The keys in `table`.
    pub fn new(settings: &Settings, table: String) -> Self {
        Self { client: crate::client(settings), table }
    }

    /// Opens the connection ahead of the first request: a read of a key that can't exist. Its outcome doesn't matter.
    pub async fn warm_up(&self) {
        let _ = self.items_of_key("K#").await;
    }

    /// Makes a key, if the owner has fewer than `limit` live ones: one transaction, so that the limit is exact.
    ///
    /// # Errors
    /// When the token is barred, the limit is reached, the id is taken, the request was answered already, or we could not find
    /// out.
    pub async fn create(
        &self,
        record: &KeyRecord,
        limit: u32,
        replay: Option<&IdempotencyRecord>,
        actor: &Actor,
    ) -> Result<(), CreateError> {
        let outcome = self.make(record, None, Some(limit), replay, actor).await;
        // Keys that expired still stand among the live ones: they don't count.
        if matches!(outcome, Err(CreateError::LimitReached)) && self.sweep(&record.owner, record.created_at).await? {
            return self.make(record, None, Some(limit), replay, actor).await;
        }
        outcome
    }

    /// Makes `successor`, which takes the place of `old` as it was read, in one transaction: a key has one successor, whoever
    /// asks at once. The old one lives on for `overlap_seconds`, and both count meanwhile. Without an overlap there is one
    /// live key as there was before, so that no limit stands in the way.
    ///
    /// # Errors
    /// As [`Self::create`], and when `old` changed since it was read.
    pub async fn rotate(
        &self,
        old: &KeyRecord,
        successor: &KeyRecord,
        overlap_seconds: i64,
        limit: u32,
        replay: Option<&IdempotencyRecord>,
        actor: &Actor,
    ) -> Result<(), CreateError> {
        let now = successor.created_at;
        let superseded = KeyRecord { version: old.version + 1, ..old.superseded(successor.id, overlap_seconds, now) };
        let change = Some((old, &superseded));
        // An old key that ends now stands among the live ones until the next sweep: that one doesn't count.
        let ends_now = superseded.state(now) == KeyState::Expired;
        let most = if ends_now { limit.saturating_add(1) } else { limit };
        let outcome = self.make(successor, change, Some(most), replay, actor).await;
        if matches!(outcome, Err(CreateError::LimitReached)) && (self.sweep(&old.owner, now).await? || ends_now) {
            let most = if ends_now { None } else { Some(limit) };
            return self.make(successor, change, most, replay, actor).await;
        }
        outcome
    }

    /// One try at making `record`, if fewer than `most` keys stand among the owner's live ones. With it goes the `change` of
    /// the key that it replaces: before and after.
    async fn make(
        &self,
        record: &KeyRecord,
        change: Option<(&KeyRecord, &KeyRecord)>,
        most: Option<u32>,
        replay: Option<&IdempotencyRecord>,
        actor: &Actor,
    ) -> Result<(), CreateError> {
        let now = record.created_at;
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item::write(record)))
            .condition_expression("attribute_not_exists(pk)");
        let groups = actor.token_groups;
        let add = if groups.is_empty() { " ADD live :id" } else { " ADD live :id, #groups :groups" };
        let mut count = self
            .key_owner_update(&record.owner, &record.owner_username, add, groups)
            .expression_attribute_values(":id", AttributeValue::Ss(vec![record.id.to_string()]));
        if let Some(most) = most {
            count = count
                .condition_expression("attribute_not_exists(live) OR size(live) < :most")
                .expression_attribute_values(":most", number(most));
        }
        let created = Entry { kind: EventKind::Created, reason: None, before: None, after: record };
        // Each write, and what it means if its condition fails. Of several, the first counts: the same request comes first.
        let mut writes = Vec::new();
        if let Some(replay) = replay {
            writes.push((put_write(self.keep(replay))?, CreateError::InProgress));
        }
        let not_barred = self.not_barred(&record.owner, actor.token_issued_at);
        writes.push((check(not_barred)?, CreateError::TokenOutdated));
        writes.push((put_write(put)?, CreateError::IdTaken));
        writes.push((update_write(count)?, CreateError::LimitReached));
        writes.push((put_write(self.audit(created, 0, actor, now))?, CreateError::IdTaken));
        if let Some(purge_at) = item::purge_at(record) {
            writes.push((update_write(self.purge(record.id, "U", purge_at))?, CreateError::IdTaken));
        }
        if let Some((before, after)) = change {
            let rotated = Entry { kind: EventKind::Rotated, reason: None, before: Some(before), after };
            writes.push((put_write(self.overwrite(before, after))?, CreateError::Conflict));
            writes.push((put_write(self.audit(rotated, 0, actor, now))?, CreateError::Conflict));
            if let Some(purge_at) = item::purge_at(after) {
                writes.push((update_write(self.purge(after.id, "U", purge_at))?, CreateError::Conflict));
            }
        }
        let (items, meanings): (Vec<_>, Vec<_>) = writes.into_iter().unzip();
        match self.transact(items).await {
            Ok(()) => Ok(()),
            Err(TransactionError::Condition(index)) => {
                Err(meanings.into_iter().nth(index).unwrap_or(CreateError::Conflict))
            }
            Err(TransactionError::Fault(fault)) => Err(CreateError::Fault(fault)),
        }
    }

    /// Changes a key of the version that was read; the audit events are part of it. Gives the record as it is now.
    ///
    /// # Errors
    /// When the key changed meanwhile, the token is barred from giving it more, or we could not find out.
    pub async fn change(
        &self,
        record: &KeyRecord,
        change: Change,
        reason: Option<&str>,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<KeyRecord, ChangeError> {
        let mut changed = record.clone();
        changed.name = change.name.unwrap_or(changed.name);
        changed.description = change.description.unwrap_or(changed.description);
        changed.groups = change.groups.unwrap_or(changed.groups);
        changed.scopes = change.scopes.unwrap_or(changed.scopes);
        changed.cidrs = change.cidrs.unwrap_or(changed.cidrs);
        // Switching a key off or on is an event of its own, whatever else changes with it.
        let mut events = Vec::new();
        if audited(&changed, now) != audited(record, now) {
            events.push(EventKind::Changed);
        }
        if let Some(status) = change.status.filter(|status| *status != record.status) {
            changed.status = status;
            events.push(match status {
                KeyStatus::Active => EventKind::Enabled,
                KeyStatus::Disabled => EventKind::Disabled,
                KeyStatus::Revoked => EventKind::Revoked,
            });
        }
        if events.is_empty() {
            return Ok(changed);
        }
        changed.version += 1;
        self.replace(record, changed, &events, reason, actor, now).await
    }

    /// Ends a key for good. Its record stays for 90 days, to show. `event` says how it came to that.
    ///
    /// # Errors
    /// When the key changed meanwhile, or we could not find out.
    pub async fn revoke(
        &self,
        record: &KeyRecord,
        event: EventKind,
        reason: Option<&str>,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<KeyRecord, ChangeError> {
        self.replace(record, ended(record, reason, now), &[event], reason, actor, now).await
    }

    /// Revokes these keys of `owner`'s, in as few transactions as it takes, and gives how many were. One that changed since
    /// it was read is left as it is.
    ///
    /// # Errors
    /// When we could not find out. Some may be revoked by then.
    pub async fn revoke_all(
        &self,
        owner: &str,
        records: &[KeyRecord],
        reason: Option<&str>,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<usize, Fault> {
        let mut revoked = 0;
        for some in records.chunks(KEYS_PER_REVOCATION) {
            let (mut items, mut ids) = (Vec::new(), Vec::new());
            for record in some {
                items.extend(self.replacement(
                    record,
                    &ended(record, reason, now),
                    &[EventKind::Revoked],
                    reason,
                    actor,
                    now,
                )?);
                ids.push(record.id);
            }
            match self.end(owner, &ids, items).await {
                Ok(()) => revoked += some.len(),
                Err(TransactionError::Fault(fault)) => return Err(fault),
                // One of them changed, so none was revoked: each by itself.
                Err(TransactionError::Condition(_)) => {
                    for record in some {
                        match self.revoke(record, EventKind::Revoked, reason, actor, now).await {
                            Ok(_) => revoked += 1,
                            // Of no token is asked that takes something away
                            Err(ChangeError::Conflict | ChangeError::TokenOutdated) => {}
                            Err(ChangeError::Fault(fault)) => return Err(fault),
                        }
                    }
                }
            }
        }
        Ok(revoked)
    }

    pub(crate) async fn replace(
        &self,
        before: &KeyRecord,
        after: KeyRecord,
        events: &[EventKind],
        reason: Option<&str>,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<KeyRecord, ChangeError> {
        let mut items = self.replacement(before, &after, events, reason, actor, now)?;
        let not_barred = items.len();
        if after.gives_more_than(before) {
            items.push(check(self.not_barred(&before.owner, actor.token_issued_at))?);
        }
        let outcome = match after.state(now) {
            KeyState::Active | KeyState::Disabled => self.transact(items).await,
            KeyState::Expired | KeyState::Revoked => self.end(&after.owner, &[after.id], items).await,
        };
        match outcome {
            Ok(()) => Ok(after),
            Err(TransactionError::Condition(index)) if index == not_barred && after.gives_more_than(before) => {
                Err(ChangeError::TokenOutdated)
            }
            Err(TransactionError::Condition(_)) => Err(ChangeError::Conflict),
            Err(TransactionError::Fault(fault)) => Err(ChangeError::Fault(fault)),
        }
    }

    /// What is to be written of a change: the record and its events.
    fn replacement(
        &self,
        before: &KeyRecord,
        after: &KeyRecord,
        events: &[EventKind],
        reason: Option<&str>,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Vec<TransactWriteItem>, Fault> {
        let mut items = vec![put_write(self.overwrite(before, after))?];
        for (index, kind) in (0..).zip(events) {
            let entry = Entry { kind: *kind, reason, before: Some(before), after };
            items.push(put_write(self.audit(entry, index, actor, now))?);
        }
        if let Some(purge_at) = item::purge_at(after).filter(|at| item::purge_at(before) != Some(*at)) {
            items.push(update_write(self.purge(after.id, "U", purge_at))?);
        }
        Ok(items)
    }

    /// Puts `after` in the place of `before`, if that is still what is there.
    fn overwrite(&self, before: &KeyRecord, after: &KeyRecord) -> PutBuilder {
        Put::builder()
            .table_name(&self.table)
            .set_item(Some(item::write(after)))
            .condition_expression("#owner = :owner AND version = :version")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":owner", string(&before.owner))
            .expression_attribute_values(":version", number(before.version))
    }

    /// The record of `id`, read consistently; `None` if there is no such key.
    ///
    /// # Errors
    /// When the database could not answer, or the record is unreadable.
    pub async fn find(&self, id: KeyId) -> Result<Option<KeyRecord>, Fault> {
        item::read_key(&self.items_of_key(&format!("K#{id}")).await?, id)
    }

    async fn items_of_key(&self, pk: &str) -> Result<Vec<Item>, Fault> {
        let found = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", string(pk))
            .consistent_read(true)
            .send()
            .await
            .map_err(fault)?;
        Ok(found.items.unwrap_or_default())
    }
}

/// This record, revoked.
fn ended(record: &KeyRecord, reason: Option<&str>, now: Timestamp) -> KeyRecord {
    KeyRecord {
        status: KeyStatus::Revoked,
        revoked_at: Some(now),
        revoked_reason: reason.map(str::to_owned),
        version: record.version + 1,
        ..record.clone()
    }
}
