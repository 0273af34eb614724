//! An owner's item: the ids of their keys, live and ended. The exact limit counts the live ones.

use std::collections::{HashMap, HashSet};

use aws_sdk_dynamodb::types::TransactWriteItem;
use aws_sdk_dynamodb::types::builders::UpdateBuilder;
use vega_auth::{Fault, KeyId, KeyRecord, KeyState, Timestamp};
use vega_key_table::{purge_time, read_last_use, read_record};

use crate::Store;
use crate::commit::id_set;
use crate::item::{from_sdk, key_pk, number, owner_pk, primary_key, string};
use crate::transact::{TransactionError, check, if_met, update_write};

/// Less than half of what a transaction takes: each expired key is two writes, beside one for its owner.
const KEYS_PER_SWEEP: usize = 45;
/// The most ended keys that an owner's list shows. Further keys keep their record and their audit events, but aren't listed:
/// however many keys somebody creates and revokes, the owner's item never fills up and blocks the next revocation.
const MAX_LISTED_ENDED: usize = 1000;

impl Store {
    /// All of an owner's keys that haven't been purged, revoked ones included, newest first. Strongly consistent.
    pub async fn list(&self, owner: &str) -> Result<Vec<KeyRecord>, Fault> {
        let (live, ended) = self.owner_keys(owner).await?;
        let mut records = self.records(live.into_iter().chain(ended)).await?;
        records.retain(|record| record.owner == owner);
        records.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| b.id.cmp(&a.id)));
        Ok(records)
    }

    /// The owner's live and ended key ids.
    async fn owner_keys(&self, owner: &str) -> Result<(Vec<KeyId>, Vec<KeyId>), Fault> {
        let item = self.item(owner_pk(owner), "M").await?;
        Ok((item.set("live")?, item.set("ended")?))
    }

    /// The records of these keys, with their last use. A purged key is left out.
    async fn records(&self, ids: impl Iterator<Item = KeyId>) -> Result<Vec<KeyRecord>, Fault> {
        let wanted = ids.flat_map(|id| ["A", "U"].map(|sk| primary_key(key_pk(id), sk)));
        let items = self.get_all(wanted.collect()).await?;
        let mut last_uses = HashMap::new();
        let mut records = Vec::new();
        for item in items.iter().map(from_sdk) {
            match item.text("sk") {
                Ok("A") => records.push(read_record(&item)?),
                Ok("U") => {
                    last_uses.insert(item.text("pk")?.to_owned(), read_last_use(&item));
                }
                _ => {}
            }
        }
        for record in &mut records {
            record.last_use = last_uses.remove(&vega_key_table::key_pk(record.id)).flatten();
        }
        Ok(records)
    }

    /// Removes keys from the owner's live ones that expired by `now`, or whose records have been purged since. Whether there
    /// were any.
    pub(crate) async fn sweep(&self, owner: &str, now: Timestamp) -> Result<bool, Fault> {
        let (live, _) = self.owner_keys(owner).await?;
        let records = self.records(live.iter().copied()).await?;
        let expired: Vec<(KeyId, Timestamp)> = records
            .iter()
            .filter(|record| record.state(now) == KeyState::Expired)
            .filter_map(|record| Some((record.id, record.expires_at?)))
            .collect();
        self.end_expired(owner, &expired).await?;
        let known: HashSet<KeyId> = records.iter().map(|record| record.id).collect();
        let mut any = !expired.is_empty();
        for id in live.into_iter().filter(|id| !known.contains(id)) {
            any |= self.drop_purged(owner, id).await?;
        }
        Ok(any)
    }

    /// Moves an owner's expired keys, each with the second at which it expired, from the live ones to the ended, and out of the
    /// index `key-owners`. If one of them changed since it was read, its batch is left for the next sweep.
    /// Fails when the store doesn't answer. Some may have been moved by then.
    pub async fn end_expired(&self, owner: &str, expired: &[(KeyId, Timestamp)]) -> Result<(), Fault> {
        for some in expired.chunks(KEYS_PER_SWEEP) {
            let mut items = Vec::new();
            for (id, end) in some {
                let purge_at = purge_time(*end);
                let record = self
                    .schedule_purge(*id, "A", purge_at)
                    .update_expression("SET purge_at = :purge_at REMOVE holder")
                    // Without this, the update would create an item for a record that was just purged.
                    .condition_expression("expires_at = :end AND attribute_not_exists(revoked_at)")
                    .expression_attribute_values(":end", number(end.0));
                items.push(update_write(record)?);
                items.push(update_write(self.schedule_purge(*id, "U", purge_at))?);
            }
            let ids: Vec<KeyId> = some.iter().map(|(id, _)| *id).collect();
            match self.move_to_ended(owner, &ids, items).await {
                Ok(()) | Err(TransactionError::Condition(_)) => {}
                Err(TransactionError::Fault(fault)) => return Err(fault),
            }
        }
        Ok(())
    }

    /// Removes a purged key from the owner's live ones. Its absence is a condition of the same transaction, because a read may
    /// miss a key that is just being created.
    pub(crate) async fn drop_purged(&self, owner: &str, id: KeyId) -> Result<bool, Fault> {
        let absent = self.check_at(key_pk(id), "A", "attribute_not_exists(pk)");
        let drop = self.owner_update(owner, "DELETE live :ids").expression_attribute_values(":ids", id_set(&[id]));
        self.transact_if_due(vec![check(absent)?, update_write(drop)?]).await
    }

    /// Makes these writes and moves the keys from the owner's live ones to the ended, in one transaction.
    pub(crate) async fn move_to_ended(
        &self,
        owner: &str,
        ids: &[KeyId],
        mut writes: Vec<TransactWriteItem>,
    ) -> Result<(), TransactionError> {
        let listed = self
            .owner_update(owner, "DELETE live :ids ADD ended :ids")
            .condition_expression("attribute_not_exists(ended) OR size(ended) < :max")
            .expression_attribute_values(":ids", id_set(ids))
            .expression_attribute_values(":max", number(MAX_LISTED_ENDED));
        let unlisted = self.owner_update(owner, "DELETE live :ids").expression_attribute_values(":ids", id_set(ids));
        writes.push(update_write(listed)?);
        let last = writes.len() - 1;
        match self.transact(writes.clone()).await {
            Err(TransactionError::Condition(index)) if index == last => {
                writes[last] = update_write(unlisted)?;
                self.transact(writes).await
            }
            outcome => outcome,
        }
    }

    /// Schedules the deletion of a key's item. The last use shows where a person was, so it is deleted with the record.
    pub(crate) fn schedule_purge(&self, id: KeyId, sk: &str, purge_at: Timestamp) -> UpdateBuilder {
        self.update_at(key_pk(id), sk, "SET purge_at = :purge_at")
            .expression_attribute_values(":purge_at", number(purge_at.0))
    }

    /// Removes keys whose records were purged from the owner's item. Once it has no key left, it is purged as well.
    /// Fails when the store doesn't answer.
    pub async fn unlist(&self, owner: &str, purged: &[KeyId], now: Timestamp) -> Result<(), Fault> {
        let update = || {
            let update = self.client.update_item().table_name(&self.table);
            update.key("pk", owner_pk(owner)).key("sk", string("M"))
        };
        // DynamoDB has no empty set.
        let drop = (!purged.is_empty()).then(|| {
            let drop = update().update_expression("DELETE live :ids, ended :ids");
            drop.condition_expression("attribute_exists(pk)").expression_attribute_values(":ids", id_set(purged))
        });
        // A new key removes `purge_at` again, which DynamoDB honours until it has deleted the item.
        let purge = update()
            .update_expression("SET purge_at = :now")
            .condition_expression("attribute_exists(pk) AND attribute_not_exists(live) AND attribute_not_exists(ended)")
            .expression_attribute_values(":now", number(now.0));
        for update in drop.into_iter().chain([purge]) {
            if_met(update.send().await)?;
        }
        Ok(())
    }

    pub(crate) fn owner_update(&self, owner: &str, expression: &str) -> UpdateBuilder {
        self.update_at(owner_pk(owner), "M", expression)
    }
}
