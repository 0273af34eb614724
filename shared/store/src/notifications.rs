//! Notifications that were sent, and keys that expire. Nothing read here admits a caller.

use aws_sdk_dynamodb::types::AttributeValue;
use vega_auth::{Fault, KeyId, Timestamp};
use vega_key_table::{INDEX, Malformed, parse_key_pk};

use crate::item::{SdkItem, from_sdk, number, primary_key, string};
use crate::transact::fault;
use crate::{Place, Store};

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

impl Store {
    /// A page of the keys that expire from `first` to `last`, each unless it is malformed, and the place of the next page.
    /// Fails when the store doesn't answer.
    pub async fn expiring(
        &self,
        place: Option<Place>,
        first: Timestamp,
        last: Timestamp,
    ) -> Result<(Vec<Result<Expiring, Malformed>>, Option<Place>), Fault> {
        let page = self
            .client
            .scan()
            .table_name(&self.table)
            .index_name(INDEX)
            .filter_expression("expires_at BETWEEN :first AND :last")
            .expression_attribute_values(":first", number(first.0))
            .expression_attribute_values(":last", number(last.0))
            .limit(KEYS_PER_PAGE)
            .set_exclusive_start_key(place.map(|place| place.0))
            .send()
            .await
            .map_err(fault)?;
        let keys = page.items.unwrap_or_default().iter().map(read).collect();
        Ok((keys, page.last_evaluated_key.map(Place)))
    }

    /// For each of these notifications about keys, whether it was sent. Strongly consistent.
    /// Fails when the store doesn't answer.
    pub async fn notified(&self, notifications: &[(KeyId, String)]) -> Result<Vec<bool>, Fault> {
        let keys = notifications.iter().map(|(id, marker)| primary_key(marker_pk(*id), marker)).collect();
        let found = self.get_all(keys).await?;
        let is_found = |(id, marker): &(KeyId, String)| {
            let (pk, sk) = (marker_pk(*id), string(marker));
            found.iter().any(|item| item.get("pk") == Some(&pk) && item.get("sk") == Some(&sk))
        };
        Ok(notifications.iter().map(is_found).collect())
    }

    /// Records that this notification about a key was sent. `DynamoDB` deletes the record some time after `purge_at`.
    pub async fn mark_notified(&self, id: KeyId, notification: &str, purge_at: Timestamp) -> Result<(), Fault> {
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .item("pk", marker_pk(id))
            .item("sk", string(notification))
            .item("purge_at", number(purge_at.0));
        put.send().await.map_err(fault)?;
        Ok(())
    }
}

fn marker_pk(id: KeyId) -> AttributeValue {
    string(format!("N#{id}"))
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
