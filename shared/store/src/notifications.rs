//! Notifications that were sent, and keys that expire. No caller is let in by what is read here.

use vega_auth::{Fault, KeyId, Timestamp};
use vega_key_table::{INDEX, Malformed, parse_key_pk};

use crate::Store;
use crate::item::{SdkItem, from_sdk, number, string};
use crate::transact::fault;

/// Keys per page.
const KEYS_PER_PAGE: i32 = 1000;

/// A key with an expiry, past or future, that isn't revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiring {
    /// The key.
    pub id: KeyId,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// Whether a successor replaced it: its expiry is intended.
    pub is_rotated: bool,
}

/// A position in the scan of expiring keys.
pub struct ExpiryCursor(SdkItem);

impl Store {
    /// A page of the keys that expire, starting after `after`, and the cursor of the next page.
    ///
    /// # Errors
    /// When the store doesn't answer, or an item can't be read.
    pub async fn expiring(&self, after: Option<ExpiryCursor>) -> Result<(Vec<Expiring>, Option<ExpiryCursor>), Fault> {
        let page = self
            .client
            .scan()
            .table_name(&self.table)
            .index_name(INDEX)
            .filter_expression("attribute_exists(expires_at)")
            .limit(KEYS_PER_PAGE)
            .set_exclusive_start_key(after.map(|cursor| cursor.0))
            .send()
            .await
            .map_err(fault)?;
        let keys = page.items.unwrap_or_default().iter().map(read).collect::<Result<_, _>>()?;
        Ok((keys, page.last_evaluated_key.map(ExpiryCursor)))
    }

    /// Whether this notification about a key was sent. Strongly consistent.
    ///
    /// # Errors
    /// When the store doesn't answer.
    pub async fn was_notified(&self, id: KeyId, notification: &str) -> Result<bool, Fault> {
        let get = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("pk", string(format!("N#{id}")))
            .key("sk", string(notification))
            .consistent_read(true);
        Ok(get.send().await.map_err(fault)?.item.is_some())
    }

    /// Records that this notification about a key was sent. `DynamoDB` deletes the record some time after `purge_at`.
    ///
    /// # Errors
    /// When the store doesn't answer.
    pub async fn mark_notified(&self, id: KeyId, notification: &str, purge_at: Timestamp) -> Result<(), Fault> {
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .item("pk", string(format!("N#{id}")))
            .item("sk", string(notification))
            .item("purge_at", number(purge_at.0));
        put.send().await.map_err(fault)?;
        Ok(())
    }
}

fn read(item: &SdkItem) -> Result<Expiring, Malformed> {
    let item = from_sdk(item);
    Ok(Expiring {
        id: parse_key_pk(item.text("pk")?).ok_or(Malformed("pk"))?,
        created_at: item.time("created_at")?,
        expires_at: item.time("expires_at")?,
        is_rotated: item.has("rotated_to"),
    })
}
