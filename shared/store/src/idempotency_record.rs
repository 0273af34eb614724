//! The sealed response that makes a request repeatable, written in the same transaction as its effect.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::builders::PutBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, Put};
use vega_auth::{Fault, KeyId, Timestamp};
use vega_key_table::{Item, Malformed};

use crate::Store;
use crate::item::{number, string};

/// The sealed response to a request that created a key. Nothing in the table can open it.
#[derive(Clone, Debug)]
pub struct IdempotencyRecord {
    /// The owner who sent the request.
    pub owner: String,
    /// The request: a digest of its `Idempotency-Key` and route.
    pub request: String,
    /// The digest of its body.
    pub fingerprint: [u8; 32],
    /// The key it created.
    pub key_id: KeyId,
    /// The nonce of the seal.
    pub nonce: [u8; 12],
    /// The sealed response.
    pub sealed: Vec<u8>,
    /// When the request was made.
    pub at: Timestamp,
}

impl IdempotencyRecord {
    /// A request can be repeated for this time.
    pub const KEPT_SECONDS: i64 = 15 * 60;

    fn expires_at(&self) -> Timestamp {
        self.at.plus(Self::KEPT_SECONDS)
    }
}

impl Store {
    /// The record of this request, if `owner` made it before and it can still be repeated at `now`.
    pub async fn idempotency_record(
        &self,
        owner: &str,
        request: &str,
        now: Timestamp,
    ) -> Result<Option<IdempotencyRecord>, Fault> {
        let item = self.item(pk(owner, request), "R").await?;
        let record = if item.has("pk") { Some(read(&item, owner, request)?) } else { None };
        Ok(record.filter(|record| now < record.expires_at()))
    }

    /// To be written with the request's effect. Its condition fails while there is a record of the same request.
    pub(crate) fn put_idempotency_record(&self, record: &IdempotencyRecord) -> PutBuilder {
        Put::builder()
            .table_name(&self.table)
            .item("pk", pk(&record.owner, &record.request))
            .item("sk", string("R"))
            .item("fingerprint", AttributeValue::B(Blob::new(record.fingerprint)))
            .item("key_id", string(record.key_id.as_str()))
            .item("nonce", AttributeValue::B(Blob::new(record.nonce)))
            .item("sealed", AttributeValue::B(Blob::new(record.sealed.as_slice())))
            .item("at", number(record.at.0))
            .item("purge_at", number(record.expires_at().0))
            .condition_expression("attribute_not_exists(pk) OR purge_at <= :now")
            .expression_attribute_values(":now", number(record.at.0))
    }
}

fn pk(owner: &str, request: &str) -> AttributeValue {
    string(format!("I#{owner}#{request}"))
}

fn read(item: &Item, owner: &str, request: &str) -> Result<IdempotencyRecord, Malformed> {
    Ok(IdempotencyRecord {
        owner: owner.to_owned(),
        request: request.to_owned(),
        fingerprint: item.bytes("fingerprint")?.try_into().map_err(|_| Malformed("fingerprint"))?,
        key_id: item.parsed("key_id")?,
        nonce: item.bytes("nonce")?.try_into().map_err(|_| Malformed("nonce"))?,
        sealed: item.bytes("sealed")?.to_vec(),
        at: item.time("at")?,
    })
}
