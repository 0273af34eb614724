use std::collections::{HashMap, HashSet};
use std::error::Error as StdError;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::builders::{PutBuilder, UpdateBuilder};
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, Put, TransactWriteItem, Update};
use serde_json::{Value, json};
use vega_auth::{Fault, FindKey, KeyId, KeyRecord, KeyStatus, LastUse, Network, ScopeName, Timestamp};

use crate::client::Settings;
use crate::item::{self, Item, key_pk, number, owner_pk, string};

/// Half of what a `BatchGetItem` takes: each key asks for two items.
const KEYS_A_BATCH: usize = 50;
/// Less than half of what a transaction takes: each key that ended is two writes beside its owner's one.
const KEYS_A_SWEEP: usize = 45;
/// How many ended keys an owner's list shows. Further ones end as well, and keep their record and their audit events: no
/// number of keys made and revoked may fill the owner's item and so stand in the way of the next revocation.
const MAX_LISTED_ENDED: usize = 1000;
/// How long noting a use may take. Nobody should wait for it.
const NOTE_TIMEOUT: Duration = Duration::from_millis(300);
/// Tries of a transaction that met another one on the same owner. Each waits a little longer, with jitter.
const CONFLICT_TRIES: u32 = 8;

/// The keys in the table.
pub struct Store {
    client: Client,
    table: String,
}

/// Who makes a change, for the audit event.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The caller's stable id.
    pub id: String,
    /// The caller's address.
    pub address: String,
    /// API Gateway's id of the request.
    pub request_id: String,
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
    /// The owner has as many live keys as they may.
    LimitReached,
    /// The id is taken: try another.
    IdTaken,
    /// We could not find out. Where the answer was lost, the key may have been made: its owner's list tells.
    Fault(Fault),
}

/// Why a key was not changed.
#[derive(Debug)]
pub enum ChangeError {
    /// It changed since it was read.
    Conflict,
    /// We could not find out. Where the answer was lost, the change may have been made.
    Fault(Fault),
}

impl Store {
    /// The keys in `table`.
    pub fn new(settings: &Settings, table: String) -> Self {
        Self { client: settings.client(), table }
    }

    /// Opens the connection ahead of the first request: a read of a key that can't exist. Its outcome doesn't matter.
    pub async fn warm_up(&self) {
        let _ = self.items_of_key("K#").await;
    }

    /// Makes a key, if the owner has fewer than `limit` live ones: one transaction, so that the limit is exact.
    ///
    /// # Errors
    /// When the limit is reached, the id is taken, or we could not find out.
    pub async fn create(&self, record: &KeyRecord, limit: u32, actor: &Actor) -> Result<(), CreateError> {
        match self.try_create(record, limit, actor).await {
            Err(CreateError::LimitReached) => {
                // Keys that expired still stand among the live ones: they don't count.
                if self.sweep(&record.owner, record.created_at).await.map_err(CreateError::Fault)? {
                    return self.try_create(record, limit, actor).await;
                }
                Err(CreateError::LimitReached)
            }
            outcome => outcome,
        }
    }

    async fn try_create(&self, record: &KeyRecord, limit: u32, actor: &Actor) -> Result<(), CreateError> {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item::write(record, record.created_at)))
            .condition_expression("attribute_not_exists(pk)");
        let count = self
            .owner_update(&record.owner, "ADD live :id")
            .condition_expression("attribute_not_exists(live) OR size(live) < :limit")
            .expression_attribute_values(":id", AttributeValue::Ss(vec![record.id.to_string()]))
            .expression_attribute_values(":limit", number(limit));
        let event = self.audit(record, actor, record.created_at, "created", &Value::Null, &audited(record));
        let items = vec![
            put_write(put).map_err(CreateError::Fault)?,
            update_write(count).map_err(CreateError::Fault)?,
            put_write(event).map_err(CreateError::Fault)?,
        ];
        match self.transact(items).await {
            Ok(()) => Ok(()),
            Err(Refused::Condition(0)) => Err(CreateError::IdTaken),
            Err(Refused::Condition(_)) => Err(CreateError::LimitReached),
            Err(Refused::Fault(fault)) => Err(CreateError::Fault(fault)),
        }
    }

    /// All keys of an owner that the table still knows, the revoked among them, newest first. Reads every earlier write.
    ///
    /// # Errors
    /// When the store could not answer.
    pub async fn list(&self, owner: &str) -> Result<Vec<KeyRecord>, Fault> {
        let (live, ended) = self.owner_keys(owner).await?;
        let mut records = self.records(live.into_iter().chain(ended.iter().copied())).await?;
        let known: HashSet<KeyId> = records.iter().map(|record| record.id).collect();
        self.forget(owner, ended.into_iter().filter(|id| !known.contains(id))).await;
        records.retain(|record| record.owner == owner);
        records.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| b.id.cmp(&a.id)));
        Ok(records)
    }

    /// Changes a key of the version that was read; the audit event is part of it. Gives the record as it is now.
    ///
    /// # Errors
    /// When the key changed meanwhile, or we could not find out.
    pub async fn change(
        &self,
        record: &KeyRecord,
        change: Change,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<KeyRecord, ChangeError> {
        let mut changed = record.clone();
        changed.name = change.name.unwrap_or(changed.name);
        changed.description = change.description.unwrap_or(changed.description);
        changed.groups = change.groups.unwrap_or(changed.groups);
        changed.scopes = change.scopes.unwrap_or(changed.scopes);
        changed.cidrs = change.cidrs.unwrap_or(changed.cidrs);
        changed.status = change.status.unwrap_or(changed.status);
        if audited(&changed) == audited(record) {
            return Ok(changed);
        }
        self.replace(record, changed, "changed", actor, now).await
    }

    /// Ends a key for good. Its record stays for 90 days, to show.
    ///
    /// # Errors
    /// When the key changed meanwhile, or we could not find out.
    pub async fn revoke(&self, record: &KeyRecord, actor: &Actor, now: Timestamp) -> Result<KeyRecord, ChangeError> {
        let mut revoked = record.clone();
        revoked.status = KeyStatus::Revoked;
        revoked.revoked_at = Some(now);
        self.replace(record, revoked, "revoked", actor, now).await
    }

    async fn replace(
        &self,
        before: &KeyRecord,
        mut after: KeyRecord,
        event: &str,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<KeyRecord, ChangeError> {
        after.version = before.version + 1;
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item::write(&after, now)))
            .condition_expression("#owner = :owner AND version = :version")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":owner", string(&before.owner))
            .expression_attribute_values(":version", number(before.version));
        let event = self.audit(&after, actor, now, event, &audited(before), &audited(&after));
        let mut items =
            vec![put_write(put).map_err(ChangeError::Fault)?, put_write(event).map_err(ChangeError::Fault)?];
        let outcome = match item::purge_at(&after, now) {
            None => self.transact(items).await,
            Some(purge_at) => {
                items.push(update_write(self.purge(after.id, "U", purge_at)).map_err(ChangeError::Fault)?);
                self.end(&after.owner, &[after.id], items).await
            }
        };
        match outcome {
            Ok(()) => Ok(after),
            Err(Refused::Condition(_)) => Err(ChangeError::Conflict),
            Err(Refused::Fault(fault)) => Err(ChangeError::Fault(fault)),
        }
    }

    /// Notes the last use of a key, unless the one that is noted is less than a minute older, or later.
    ///
    /// # Errors
    /// When the store did not answer at once. No harm is done: the next use is noted.
    pub async fn note_use(&self, id: KeyId, last: &LastUse) -> Result<(), Fault> {
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", key_pk(id))
            .key("sk", string("U"))
            .update_expression("SET used_at = :at, address = :address, user_agent = :agent")
            .condition_expression("attribute_not_exists(used_at) OR used_at <= :due")
            .expression_attribute_values(":at", number(last.at.0))
            .expression_attribute_values(":due", number(last.at.plus(-LastUse::NOTED_EVERY_SECONDS).0))
            .expression_attribute_values(":address", string(&last.address))
            .expression_attribute_values(":agent", string(&last.user_agent));
        let once = aws_sdk_dynamodb::Config::builder()
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(NOTE_TIMEOUT).build());
        match update.customize().config_override(once).send().await {
            Ok(_) => Ok(()),
            Err(error)
                if error.as_service_error().is_some_and(
                    aws_sdk_dynamodb::operation::update_item::UpdateItemError::is_conditional_check_failed_exception,
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(fault(error)),
        }
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

    /// The owner's live and ended key ids.
    async fn owner_keys(&self, owner: &str) -> Result<(Vec<KeyId>, Vec<KeyId>), Fault> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("pk", owner_pk(owner))
            .key("sk", string("M"))
            .consistent_read(true)
            .send()
            .await
            .map_err(fault)?;
        let item = found.item.unwrap_or_default();
        Ok((item::read_ids(&item, "live")?, item::read_ids(&item, "ended")?))
    }

    /// The records of these keys with their last use. A key that is gone is left out.
    async fn records(&self, ids: impl Iterator<Item = KeyId>) -> Result<Vec<KeyRecord>, Fault> {
        let ids: Vec<KeyId> = ids.collect();
        let mut items = Vec::new();
        for batch in ids.chunks(KEYS_A_BATCH) {
            let mut wanted: Vec<Item> = Vec::new();
            for id in batch {
                for sk in ["A", "U"] {
                    wanted.push(HashMap::from([("pk".into(), key_pk(*id)), ("sk".into(), string(sk))]));
                }
            }
            for attempt in 0.. {
                let request = KeysAndAttributes::builder().set_keys(Some(wanted)).consistent_read(true).build();
                let answer = self
                    .client
                    .batch_get_item()
                    .request_items(&self.table, built(request)?)
                    .send()
                    .await
                    .map_err(fault)?;
                items.extend(answer.responses.unwrap_or_default().remove(&self.table).unwrap_or_default());
                wanted = match answer.unprocessed_keys.unwrap_or_default().remove(&self.table) {
                    Some(rest) if !rest.keys.is_empty() => rest.keys,
                    _ => break,
                };
                if attempt == CONFLICT_TRIES {
                    return Err(Fault::Store("unprocessed keys remain".into()));
                }
                backoff(attempt).await;
            }
        }
        let mut last_uses = HashMap::new();
        let mut records = Vec::new();
        for item in &items {
            match (item.get("pk"), item.get("sk").and_then(|sk| sk.as_s().ok()).map(String::as_str)) {
                (_, Some("A")) => records.push(item::read(item)?),
                (Some(AttributeValue::S(pk)), Some("U")) => {
                    last_uses.insert(pk.clone(), item::read_last_use(item));
                }
                _ => {}
            }
        }
        for record in &mut records {
            record.last_use = last_uses.remove(&format!("K#{}", record.id)).flatten();
        }
        Ok(records)
    }

    /// Ends the owner's keys that expired by `now`. Whether there were any.
    async fn sweep(&self, owner: &str, now: Timestamp) -> Result<bool, Fault> {
        let (live, _) = self.owner_keys(owner).await?;
        let expired: Vec<(KeyId, Timestamp)> = self
            .records(live.into_iter())
            .await?
            .iter()
            .filter_map(|record| Some((record.id, item::purge_at(record, now)?)))
            .collect();
        for some in expired.chunks(KEYS_A_SWEEP) {
            let mut items = Vec::new();
            for (id, purge_at) in some {
                // A bare update would make an item of a record that was just purged
                items.push(update_write(self.purge(*id, "A", *purge_at).condition_expression("attribute_exists(pk)"))?);
                items.push(update_write(self.purge(*id, "U", *purge_at))?);
            }
            let ids: Vec<KeyId> = some.iter().map(|(id, _)| *id).collect();
            match self.end(owner, &ids, items).await {
                Ok(()) | Err(Refused::Condition(_)) => {}
                Err(Refused::Fault(fault)) => return Err(fault),
            }
        }
        Ok(!expired.is_empty())
    }

    /// Makes `items`, and the move of these keys from the owner's live ones to the ended, in one transaction.
    async fn end(&self, owner: &str, ids: &[KeyId], mut items: Vec<TransactWriteItem>) -> Result<(), Refused> {
        let strings = AttributeValue::Ss(ids.iter().map(ToString::to_string).collect());
        let listed = self
            .owner_update(owner, "DELETE live :ids ADD ended :ids")
            .condition_expression("attribute_not_exists(ended) OR size(ended) < :max")
            .expression_attribute_values(":ids", strings.clone())
            .expression_attribute_values(":max", number(MAX_LISTED_ENDED));
        let unlisted = self.owner_update(owner, "DELETE live :ids").expression_attribute_values(":ids", strings);
        items.push(update_write(listed)?);
        let last = items.len() - 1;
        match self.transact(items.clone()).await {
            Err(Refused::Condition(index)) if index == last => {
                items[last] = update_write(unlisted)?;
                self.transact(items).await
            }
            outcome => outcome,
        }
    }

    /// Lets an item of a key go, once its key has ended. The last use tells where a person was: it goes with the key.
    fn purge(&self, id: KeyId, sk: &str, purge_at: Timestamp) -> UpdateBuilder {
        Update::builder()
            .table_name(&self.table)
            .key("pk", key_pk(id))
            .key("sk", string(sk))
            .update_expression("SET purge_at = :purge_at")
            .expression_attribute_values(":purge_at", number(purge_at.0))
    }

    /// Takes ended keys whose records were purged off the owner's list. If it fails, the next list does it.
    async fn forget(&self, owner: &str, purged: impl Iterator<Item = KeyId>) {
        let ids: Vec<String> = purged.map(|id| id.to_string()).collect();
        if ids.is_empty() {
            return;
        }
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", owner_pk(owner))
            .key("sk", string("M"))
            .update_expression("DELETE ended :ids")
            .expression_attribute_values(":ids", AttributeValue::Ss(ids));
        let _ = update.send().await;
    }

    fn owner_update(&self, owner: &str, expression: &str) -> UpdateBuilder {
        Update::builder()
            .table_name(&self.table)
            .key("pk", owner_pk(owner))
            .key("sk", string("M"))
            .update_expression(expression)
    }

    /// The audit event of a change. Its sort key begins with the time, so that a Query gives them in order.
    fn audit(
        &self,
        record: &KeyRecord,
        actor: &Actor,
        now: Timestamp,
        event: &str,
        before: &Value,
        after: &Value,
    ) -> PutBuilder {
        let order = format!("E#{:012}#{}#{}", now.0, record.id, record.version);
        Put::builder()
            .table_name(&self.table)
            .item("pk", owner_pk(&record.owner))
            .item("sk", string(order))
            .item("event", string(event))
            .item("key_id", string(record.id.as_str()))
            .item("actor", string(&actor.id))
            .item("address", string(&actor.address))
            .item("request_id", string(&actor.request_id))
            .item("at", number(now.0))
            .item("before", string(before.to_string()))
            .item("after", string(after.to_string()))
    }

    /// All or nothing. A transaction that met another one is tried again.
    async fn transact(&self, items: Vec<TransactWriteItem>) -> Result<(), Refused> {
        for attempt in 0.. {
            let sent = self.client.transact_write_items().set_transact_items(Some(items.clone())).send().await;
            let Err(error) = sent else { return Ok(()) };
            match conclusion(&error) {
                Conclusion::Condition(index) => return Err(Refused::Condition(index)),
                Conclusion::Passing if attempt < CONFLICT_TRIES => backoff(attempt).await,
                Conclusion::Passing | Conclusion::Other => return Err(Refused::Fault(fault(error))),
            }
        }
        Err(Refused::Fault(Fault::Store("out of tries".into())))
    }
}

impl FindKey for Store {
    async fn find(&self, id: KeyId) -> Result<Option<KeyRecord>, Fault> {
        let items = self.items_of_key(&format!("K#{id}")).await?;
        let with_sort_key = |wanted: &str| {
            items.iter().find(|item| item.get("sk").and_then(|sk| sk.as_s().ok()).is_some_and(|sk| sk == wanted))
        };
        let Some(record) = with_sort_key("A") else { return Ok(None) };
        let mut record = item::read(record)?;
        record.last_use = with_sort_key("U").and_then(item::read_last_use);
        Ok(Some(record))
    }
}

/// What a person may see of a record before and after a change. No digest.
fn audited(record: &KeyRecord) -> Value {
    json!({
        "name": record.name, "description": record.description, "groups": record.groups, "scopes": record.scopes,
        "cidrs": record.cidrs, "status": record.status,
        "expires_at": record.expires_at, "version": record.version,
    })
}

#[derive(Debug)]
enum Refused {
    /// The condition of the item at this index failed.
    Condition(usize),
    Fault(Fault),
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

enum Conclusion {
    Condition(usize),
    /// Nothing was written, and the next try may well be.
    Passing,
    Other,
}

/// Why a transaction is cancelled though nothing is wrong with it. The SDK doesn't retry these.
const PASSING: [&str; 3] = ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"];

fn conclusion(error: &SdkError<TransactWriteItemsError>) -> Conclusion {
    let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error() else {
        return Conclusion::Other;
    };
    let codes = || cancelled.cancellation_reasons().iter().map(|reason| reason.code().unwrap_or_default());
    if let Some(index) = codes().position(|code| code == "ConditionalCheckFailed") {
        Conclusion::Condition(index)
    } else if codes().any(|code| PASSING.contains(&code)) {
        Conclusion::Passing
    } else {
        Conclusion::Other
    }
}

/// 20 ms, doubling to 640 ms, half of it by chance, so that writers that met once don't meet again.
async fn backoff(attempt: u32) {
    let milliseconds = 20_u64 << attempt.min(5);
    tokio::time::sleep(Duration::from_millis(milliseconds / 2 + fastrand::u64(..milliseconds / 2))).await;
}

fn put_write(put: PutBuilder) -> Result<TransactWriteItem, Fault> {
    Ok(TransactWriteItem::builder().put(built(put.build())?).build())
}

fn update_write(update: UpdateBuilder) -> Result<TransactWriteItem, Fault> {
    Ok(TransactWriteItem::builder().update(built(update.build())?).build())
}

fn built<T, E: StdError + Send + Sync + 'static>(result: Result<T, E>) -> Result<T, Fault> {
    result.map_err(|error| Fault::Store(Box::new(error)))
}

fn fault<E: StdError + Send + Sync + 'static, R: std::fmt::Debug + Send + Sync + 'static>(
    error: SdkError<E, R>,
) -> Fault {
    Fault::Store(Box::new(error))
}
