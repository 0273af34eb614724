use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::builders::{ConditionCheckBuilder, UpdateBuilder};
use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, KeysAndAttributes, Update};
use vega_auth::config::{Environment, text};
use vega_auth::{Fault, KeyId, KeyRecord};
use vega_aws::Settings;
use vega_key_table::{Item, key_pk, read_key};

use crate::item::{SdkItem, from_sdk, string};
use crate::transact::{CONFLICT_TRIES, backoff, built, fault};

/// The most keys that a `BatchGetItem` takes.
const KEYS_PER_BATCH: usize = 100;

/// The table.
pub struct Store {
    pub(crate) client: Client,
    pub(crate) table: String,
}

impl Store {
    /// The table that `VEGA_KEYS_TABLE` names. The problems are collected in `environment`.
    pub fn read(environment: &mut Environment<'_>) -> Option<Self> {
        let table = environment.required("VEGA_KEYS_TABLE", text);
        let settings = Settings::read(environment);
        Some(Self::new(&settings?, table?))
    }

    /// The table of this name.
    pub fn new(settings: &Settings, table: String) -> Self {
        Self { client: crate::client(settings), table }
    }

    /// Opens the connection before the first request, by a read of a key that can't exist. The outcome doesn't matter.
    pub async fn warm_up(&self) {
        let _ = self.items_of_key("K#").await;
    }

    /// A key's record, with its last use; `None` if there is no such key. Strongly consistent.
    pub async fn find(&self, id: KeyId) -> Result<Option<KeyRecord>, Fault> {
        read_key(&self.items_of_key(&key_pk(id)).await?, id)
    }

    /// The items with these primary keys; a missing one is left out. Strongly consistent.
    pub(crate) async fn get_all(&self, keys: Vec<SdkItem>) -> Result<Vec<SdkItem>, Fault> {
        let mut items = Vec::new();
        for batch in keys.chunks(KEYS_PER_BATCH) {
            let mut wanted = batch.to_vec();
            for attempt in 0.. {
                let request = KeysAndAttributes::builder().set_keys(Some(wanted)).consistent_read(true).build();
                let request = self.client.batch_get_item().request_items(&self.table, built(request)?);
                let answer = request.send().await.map_err(fault)?;
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
        Ok(items)
    }

    /// The item at this place; empty if there is none. Strongly consistent.
    pub(crate) async fn item(&self, pk: AttributeValue, sk: &str) -> Result<Item, Fault> {
        let get = self.client.get_item().table_name(&self.table).key("pk", pk).key("sk", string(sk));
        Ok(from_sdk(&get.consistent_read(true).send().await.map_err(fault)?.item.unwrap_or_default()))
    }

    /// An update of the item at this place, for a transaction.
    pub(crate) fn update_at(&self, pk: AttributeValue, sk: &str, expression: &str) -> UpdateBuilder {
        Update::builder().table_name(&self.table).key("pk", pk).key("sk", string(sk)).update_expression(expression)
    }

    /// A condition on the item at this place, for a transaction.
    pub(crate) fn check_at(&self, pk: AttributeValue, sk: &str, condition: &str) -> ConditionCheckBuilder {
        let check = ConditionCheck::builder().table_name(&self.table).key("pk", pk).key("sk", string(sk));
        check.condition_expression(condition)
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
        Ok(found.items.unwrap_or_default().iter().map(from_sdk).collect())
    }
}
