//! What people see of a key: all but the digest.

use http::header::{ETAG, HeaderValue};
use schemars::JsonSchema;
use serde::Serialize;
use vega_auth::{Groups, KeyId, KeyRecord, KeyState, Network, ScopeName, Timestamp};
use vega_http::{Answer, json};

use crate::body::{MAX_DESCRIPTION, MAX_NAME};
use crate::query::MAX_REASON;

/// A key as the API shows it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Key")]
pub struct KeyView {
    /// Its public id.
    id: KeyId,
    /// What its owner calls it.
    #[schemars(length(min = 1, max = MAX_NAME))]
    name: String,
    /// What it is for; may be empty.
    #[schemars(length(max = MAX_DESCRIPTION))]
    description: String,
    /// What it is good for now.
    status: KeyState,
    /// The groups it has: of its owner's.
    groups: Groups,
    /// What it is narrowed to; not narrowed, where empty.
    scopes: Vec<ScopeName>,
    /// Where it may be used from; anywhere, where empty.
    cidrs: Vec<Network>,
    /// When it was made.
    created_at: Timestamp,
    /// The first second at which it is no longer good; `null` for never.
    expires_at: Option<Timestamp>,
    /// When it was revoked, if it was.
    revoked_at: Option<Timestamp>,
    /// Why, where they said.
    #[schemars(length(max = MAX_REASON))]
    revoked_reason: Option<String>,
    /// When it was last used: at most a minute behind; `null` for a key that was never used.
    last_used_at: Option<Timestamp>,
    /// From where that was.
    last_used_address: Option<String>,
    /// The program that it was: its `User-Agent`, cut at 256 characters.
    last_used_user_agent: Option<String>,
    /// The key that it replaces, if it does.
    rotated_from: Option<KeyId>,
    /// The key that replaces it, if one does.
    rotated_to: Option<KeyId>,
    /// Counts its changes, from 1: the `ETag`, without the quotes.
    #[schemars(range(min = 1))]
    version: u64,
}

impl KeyView {
    pub fn new(record: KeyRecord, now: Timestamp) -> Self {
        let last = record.last_use.as_ref();
        Self {
            last_used_at: last.map(|last| last.at),
            last_used_address: last.map(|last| last.address.clone()),
            last_used_user_agent: last.map(|last| last.user_agent.clone()),
            status: record.state(now),
            id: record.id,
            name: record.name,
            description: record.description,
            groups: record.groups,
            scopes: record.scopes,
            cidrs: record.cidrs,
            created_at: record.created_at,
            expires_at: record.expires_at,
            revoked_at: record.revoked_at,
            revoked_reason: record.revoked_reason,
            rotated_from: record.rotated_from,
            rotated_to: record.rotated_to,
            version: record.version,
        }
    }
}

/// The key as it is, and its version.
pub fn shown(record: KeyRecord, now: Timestamp) -> Answer {
    let etag = etag(&record);
    let mut response = json(200, &KeyView::new(record, now))?;
    response.headers_mut().insert(ETAG, etag);
    Ok(response)
}

/// A strong validator (RFC 9110 section 8.8.3): the version of the record.
pub fn etag(record: &KeyRecord) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{}\"", record.version)).unwrap_or(HeaderValue::from_static("\"0\""))
}
