//! The one way to write keys: transitions, decided elsewhere, in one transaction with everything that depends on them.

use aws_sdk_dynamodb::types::builders::{PutBuilder, UpdateBuilder};
use aws_sdk_dynamodb::types::{AttributeValue, Put};
use vega_auth::{Actor, Fault, KeyId, KeyRecord, KeyState, Timestamp, Transition};
use vega_key_table::purge_at;

use crate::Store;
use crate::idempotency_record::IdempotencyRecord;
use crate::item::{self, number, string};
use crate::transact::{TransactionError, check, put_write, update_write};

/// Why nothing was committed.
#[derive(Debug)]
pub enum CommitError {
    /// The transition gives a key more, and the owner's status changed after the access token was issued: see [`Store::bar`].
    TokenOutdated,
    /// The transition gives a key more, by somebody else than its owner, who was disabled when they were last seen.
    OwnerDisabled,
    /// The owner has as many live keys as the limit allows.
    LimitReached,
    /// The new key's id is taken.
    IdTaken,
    /// A key changed after it was read.
    Conflict,
    /// A request with this `Idempotency-Key` is in flight, or finished after we checked.
    InProgress,
    /// The store didn't answer. If only the answer was lost, everything may have been committed.
    Fault(Fault),
}

impl From<Fault> for CommitError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<TransactionError> for CommitError {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Condition(_) => Self::Conflict,
            TransactionError::Fault(fault) => Self::Fault(fault),
        }
    }
}

impl Store {
    /// The most revocations that one transaction takes: a third of its 100 writes, less one. Each key is three writes, beside
    /// one for its owner.
    pub const MAX_REVOCATIONS: usize = 33;

    /// Commits transitions of keys of one owner, all or none, with their audit events and the idempotency record. A new key is
    /// committed alone or with the key it replaces.
    ///
    /// `limit` bounds the owner's live keys if a key is created, exactly. Keys that expired are in the set of live ones until
    /// the next sweep, and the condition counts the set:
    ///
    /// | transitions | condition on the set before | if it fails, sweep the set and try once more |
    /// |---|---|---|
    /// | a creation | fewer than `limit` | under the same condition, if the sweep removed a key |
    /// | a rotation with overlap: both keys live | fewer than `limit` | likewise |
    /// | one without: the old key expires now, and stays in the set | at most `limit` | without one: the number of live keys stays the same, even above a limit that was lowered |
    pub async fn commit(
        &self,
        transitions: &[Transition],
        limit: Option<u32>,
        idempotency_record: Option<&IdempotencyRecord>,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(), CommitError> {
        let expires_now = |transition: &Transition| transition.after.state(now) == KeyState::Expired;
        let has_leftover = transitions.iter().any(|transition| transition.before.is_some() && expires_now(transition));
        let most = limit.map(|limit| limit.saturating_add(u32::from(has_leftover)));
        let outcome = self.try_commit(transitions, most, idempotency_record, actor, now).await;
        let (Err(CommitError::LimitReached), Some(first)) = (&outcome, transitions.first()) else { return outcome };
        let is_swept = self.sweep(&first.after.owner, now).await?;
        match (has_leftover, is_swept) {
            (true, _) => self.try_commit(transitions, None, idempotency_record, actor, now).await,
            (false, true) => self.try_commit(transitions, limit, idempotency_record, actor, now).await,
            (false, false) => outcome,
        }
    }

    async fn try_commit(
        &self,
        transitions: &[Transition],
        most: Option<u32>,
        idempotency_record: Option<&IdempotencyRecord>,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(), CommitError> {
        let Some(first) = transitions.first() else { return Ok(()) };
        let owner = &first.after.owner;
        // Each write, with the error if its condition fails. If several fail, the first counts.
        let mut writes = Vec::new();
        if let Some(record) = idempotency_record {
            writes.push((put_write(self.put_idempotency_record(record))?, CommitError::InProgress));
        }
        if transitions.iter().any(Transition::gives_more) {
            // Only a key that exists can get more from somebody else.
            let is_owners = actor.id == *owner || transitions.iter().any(|transition| transition.before.is_none());
            let (condition, meaning) = if is_owners {
                (self.not_barred(owner, actor.token_issued_at), CommitError::TokenOutdated)
            } else {
                // The bar is about the owner's tokens, and says nothing about somebody else's.
                (self.not_disabled(owner), CommitError::OwnerDisabled)
            };
            writes.push((check(condition)?, meaning));
        }
        let (mut created, mut ended) = (None, Vec::new());
        for transition in transitions {
            let (before, after) = (transition.before.as_ref(), &transition.after);
            let put = put_write(self.put_record(before, after))?;
            if before.is_some() {
                writes.push((put, CommitError::Conflict));
                ended.extend((!after.state(now).is_live()).then_some(after.id));
            } else {
                writes.push((put, CommitError::IdTaken));
                created = Some(after);
            }
            for event in self.audit_events(transition, actor, now) {
                writes.push((put_write(event)?, CommitError::Conflict));
            }
            if let Some(purge_at) = purge_at(after).filter(|at| before.and_then(purge_at) != Some(*at)) {
                writes.push((update_write(self.schedule_purge(after.id, "U", purge_at))?, CommitError::Conflict));
            }
        }
        if let Some(record) = created {
            // One update can't add to the set of live keys and remove from it: a key that expires now is left to the sweep.
            writes.push((update_write(self.add_live(record, most, actor))?, CommitError::LimitReached));
            ended.clear();
        }
        let (writes, meanings): (Vec<_>, Vec<_>) = writes.into_iter().unzip();
        let outcome = if ended.is_empty() {
            self.transact(writes).await
        } else {
            self.move_to_ended(owner, &ended, writes).await
        };
        match outcome {
            Err(TransactionError::Condition(index)) => {
                Err(meanings.into_iter().nth(index).unwrap_or(CommitError::Conflict))
            }
            outcome => Ok(outcome?),
        }
    }

    /// Puts `after` into the table, if `before` is still there, or no key has its id.
    pub(crate) fn put_record(&self, before: Option<&KeyRecord>, after: &KeyRecord) -> PutBuilder {
        let put = Put::builder().table_name(&self.table).set_item(Some(item::write(after)));
        match before {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(before) => put
                .condition_expression("#owner = :owner AND version = :version")
                .expression_attribute_names("#owner", "owner")
                .expression_attribute_values(":owner", string(&before.owner))
                .expression_attribute_values(":version", number(before.version)),
        }
    }

    /// Adds a new key to its owner's live ones, if there are fewer than `most`.
    fn add_live(&self, record: &KeyRecord, most: Option<u32>, actor: &Actor) -> UpdateBuilder {
        let groups = &actor.token_groups;
        let add = if groups.is_empty() { "live :id" } else { "live :id, #groups :groups" };
        let update = self
            .key_owner_update(&record.owner, &record.owner_username, &format!(" REMOVE purge_at ADD {add}"), groups)
            .expression_attribute_values(":id", id_set(&[record.id]));
        match most {
            None => update,
            Some(most) => update
                .condition_expression("attribute_not_exists(live) OR size(live) < :most")
                .expression_attribute_values(":most", number(most)),
        }
    }
}

/// A set of key ids. `DynamoDB` has no empty one.
pub fn id_set(ids: &[KeyId]) -> AttributeValue {
    AttributeValue::Ss(ids.iter().map(ToString::to_string).collect())
}
