//! What lets a request be repeated: a sealed copy of its answer, written in one transaction with what it did.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::builders::PutBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, Put};
use vega_auth::{Fault, KeyId, Timestamp};

use crate::Store;
use crate::item::{Item, number, string};
use crate::transact::fault;

/// The answer to a request that made a key, sealed. Nothing in the table opens it.
#[derive(Clone, Debug)]
pub struct IdempotencyRecord {
    /// Whose request it was.
    pub owner: String,
    /// Which request it was: a digest of its `Idempotency-Key` and route.
    pub request: String,
    /// The digest of its body.
    pub fingerprint: [u8; 32],
    /// The key that it made.
    pub key_id: KeyId,
    /// What the answer is sealed with, beside the secret.
    pub nonce: [u8; 12],
    /// The answer.
    pub sealed: Vec<u8>,
    /// When it was made.
    pub at: Timestamp,
}

impl IdempotencyRecord {
    /// How long a request can be repeated.
    pub const KEPT_SECONDS: i64 = 15 * 60;

    fn ends_at(&self) -> Timestamp {
        self.at.plus(Self::KEPT_SECONDS)
    }
}

impl Store {
    /// The answer that is kept for this request of `owner`'s at `now`.
    ///
    /// # Errors
    /// When the store could not answer.
    pub async fn replay(&self, owner: &str, request: &str, now: Timestamp) -> Result<Option<IdempotencyRecord>, Fault> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("pk", pk(owner, request))
            .key("sk", string("R"))
            .consistent_read(true)
            .send()
            .await
            .map_err(fault)?;
        let Some(item) = found.item else { return Ok(None) };
        let replay = read(&item, owner, request)
            .ok_or_else(|| Fault::Record("replay record: an attribute is missing or malformed".into()))?;
        Ok(Some(replay).filter(|replay| now < replay.ends_at()))
    }

    /// To be written with what the request does. Its condition fails while another one is kept for the same request.
    pub(crate) fn keep(&self, replay: &IdempotencyRecord) -> PutBuilder {
        Put::builder()
            .table_name(&self.table)
            .item("pk", pk(&replay.owner, &replay.request))
            .item("sk", string("R"))
            .item("fingerprint", AttributeValue::B(Blob::new(replay.fingerprint)))
            .item("key_id", string(replay.key_id.as_str()))
            .item("nonce", AttributeValue::B(Blob::new(replay.nonce)))
            .item("sealed", AttributeValue::B(Blob::new(replay.sealed.as_slice())))
            .item("at", number(replay.at.0))
            .item("purge_at", number(replay.ends_at().0))
            .condition_expression("attribute_not_exists(pk) OR purge_at <= :now")
            .expression_attribute_values(":now", number(replay.at.0))
    }
}

fn pk(owner: &str, request: &str) -> AttributeValue {
    string(format!("I#{owner}#{request}"))
}

fn read(item: &Item, owner: &str, request: &str) -> Option<IdempotencyRecord> {
    let bytes = |name: &str| item.get(name).and_then(|value| value.as_b().ok()).map(AsRef::as_ref);
    Some(IdempotencyRecord {
        owner: owner.to_owned(),
        request: request.to_owned(),
        fingerprint: bytes("fingerprint")?.try_into().ok()?,
        key_id: item.get("key_id")?.as_s().ok()?.parse().ok()?,
        nonce: bytes("nonce")?.try_into().ok()?,
        sealed: bytes("sealed")?.to_vec(),
        at: Timestamp(item.get("at")?.as_n().ok()?.parse().ok()?),
    })
}
