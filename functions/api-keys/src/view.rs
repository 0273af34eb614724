//! What people see of a key: all but the digest.

use http::header::{ETAG, HeaderValue};
use serde::Serialize;
use vega_auth::{Groups, KeyId, KeyRecord, KeyState, Network, ScopeName, Timestamp};
use vega_http::{Answer, json};

/// A key as the API shows it.
#[derive(Serialize)]
pub struct KeyView {
    id: KeyId,
    name: String,
    description: String,
    status: KeyState,
    groups: Groups,
    /// What it is narrowed to; not narrowed, where empty.
    scopes: Vec<ScopeName>,
    /// Where it may be used from; anywhere, where empty.
    cidrs: Vec<Network>,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    revoked_reason: Option<String>,
    /// These three are at most a minute behind; all `null` for a key that was never used.
    last_used_at: Option<Timestamp>,
    last_used_address: Option<String>,
    last_used_user_agent: Option<String>,
    rotated_from: Option<KeyId>,
    rotated_to: Option<KeyId>,
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
