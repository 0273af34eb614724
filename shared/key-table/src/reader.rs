//! The authorizer's access to the table: one read per request, and the record of a use. It does without the SDK, whose
//! general machinery costs more than the read itself. See docs/decisions.md, "Two ways to the table".

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;
use vega_auth::{Fault, KeyId, KeyRecord, KeyRecords, LastUse, Object, Timestamp};
use vega_aws::{CallError, Service};

use crate::key::record_use;
use crate::{Item, key_pk, read_key};

/// Time allowed for recording a use. No request waits longer for it.
const RECORD_USE_TIMEOUT: Duration = Duration::from_millis(300);

/// Finds keys and records their use: all that the authorizer may do with the table.
pub struct KeyReader {
    database: Service,
    table: String,
    read_ms: AtomicU64,
}

impl KeyReader {
    /// A reader of the keys in `table`.
    pub fn new(database: Service, table: String) -> Self {
        Self { database, table, read_ms: AtomicU64::new(0) }
    }

    /// Opens the connection before the first request, with the read of a key that can't exist. Its outcome doesn't matter.
    pub async fn warm_up(&self) {
        let _ = self.items_of_key("K#").await;
        self.database.take_attempts();
    }

    /// The duration of the last read in milliseconds and its attempts, if there was one since the last call.
    pub fn take_read(&self) -> Option<(u64, u32)> {
        let attempts = self.database.take_attempts();
        (attempts > 0).then(|| (self.read_ms.load(Ordering::Relaxed), attempts))
    }

    async fn items_of_key(&self, pk: &str) -> Result<Vec<Item>, Fault> {
        let query = json!({
            "TableName": self.table,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": { ":pk": { "S": pk } },
            "ConsistentRead": true,
        });
        let answer = self.database.send("/", Some("DynamoDB_20120810.Query"), query.to_string().into()).await;
        read_items(&answer.map_err(fault)?)
    }
}

fn fault(error: CallError) -> Fault {
    Fault::Store(error.into())
}

/// The key in `DynamoDB`'s answer to the authorizer's Query.
pub fn read_answer(answer: &[u8], id: KeyId) -> Result<Option<KeyRecord>, Fault> {
    read_key(&read_items(answer)?, id)
}

/// The items in the answer to a Query.
fn read_items(answer: &[u8]) -> Result<Vec<Item>, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Found {
        items: Vec<Item>,
    }
    // The parser's message could repeat the table's content.
    let unreadable = |_| Fault::Store("the answer is not one of DynamoDB's".into());
    serde_json::from_slice(answer).map_err(unreadable).map(|Object(found): Object<Found>| found.items)
}

impl KeyRecords for KeyReader {
    async fn find(&self, id: KeyId, _: Timestamp) -> Result<Option<KeyRecord>, Fault> {
        let started = Instant::now();
        let items = self.items_of_key(&key_pk(id)).await;
        let read_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.read_ms.store(read_ms, Ordering::Relaxed);
        read_key(&items?, id)
    }

    async fn record_use(&self, id: KeyId, last: &LastUse) -> Result<(), Fault> {
        let [update, condition] = record_use(last);
        let mut values = json!({
            ":at": { "N": last.at.0.to_string() },
            ":address": { "S": last.address },
            ":agent": { "S": last.user_agent },
        });
        if last.is_move() {
            values[":due"] = json!({ "N": last.at.plus(-LastUse::NOTED_EVERY_SECONDS).0.to_string() });
        }
        let update = json!({
            "TableName": self.table,
            "Key": { "pk": { "S": key_pk(id) }, "sk": { "S": "U" } },
            "UpdateExpression": update,
            "ConditionExpression": condition,
            "ExpressionAttributeValues": values,
        });
        let body = Bytes::from(update.to_string());
        let request = self.database.send_once("/", Some("DynamoDB_20120810.UpdateItem"), body);
        match tokio::time::timeout(RECORD_USE_TIMEOUT, request).await {
            Ok(Ok(_)) => Ok(()),
            // A later use is recorded, or one from another network less than a minute ago.
            Ok(Err(CallError::Refused(code))) if code == "ConditionalCheckFailedException" => Ok(()),
            Ok(Err(error)) => Err(fault(error)),
            Err(elapsed) => Err(Fault::Store(elapsed.into())),
        }
    }
}
