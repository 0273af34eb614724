use aws_sdk_dynamodb::Client;
use vega_auth::{Fault, KeyId, KeyRecord};
use vega_key_table::{Item, Settings, key_pk, read_key};

use crate::item::{from_sdk, string};
use crate::transact::fault;

/// The table.
pub struct Store {
    pub(crate) client: Client,
    pub(crate) table: String,
}

impl Store {
    /// The table of this name.
    pub fn new(settings: &Settings, table: String) -> Self {
        Self { client: crate::client(settings), table }
    }

    /// Opens the connection before the first request, by a read of a key that can't exist. The outcome doesn't matter.
    pub async fn warm_up(&self) {
        let _ = self.items_of_key("K#").await;
    }

    /// A key's record, with its last use; `None` if there is no such key. Strongly consistent.
    ///
    /// # Errors
    /// When the store doesn't answer, or the record can't be read.
    pub async fn find(&self, id: KeyId) -> Result<Option<KeyRecord>, Fault> {
        read_key(&self.items_of_key(&key_pk(id)).await?, id)
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
