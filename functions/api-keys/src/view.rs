//! A key as clients see it: everything but the digest.

use http::header::{CONTENT_TYPE, ETAG, HeaderValue, LOCATION};
use http::{Response, StatusCode};
use lambda_http::Body;
use schemars::JsonSchema;
use serde::Serialize;
use vega_auth::{ApiKey, Groups, KeyId, KeyRecord, KeyState, Network, ScopeName, Timestamp};
use vega_http::{Answer, Problem, json};

use crate::body::{MAX_DESCRIPTION, MAX_NAME};
use crate::query::MAX_REASON;

/// An API key, without its secret.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Key")]
pub struct KeyView {
    /// The public id.
    id: KeyId,
    /// The name.
    #[schemars(length(min = 1, max = MAX_NAME))]
    name: String,
    /// The purpose; can be empty.
    #[schemars(length(max = MAX_DESCRIPTION))]
    description: String,
    /// The current status.
    status: KeyState,
    /// The key's groups, a subset of its owner's.
    groups: Groups,
    /// The scopes that it is limited to; unlimited if empty.
    scopes: Vec<ScopeName>,
    /// The networks that it can be used from; anywhere if empty.
    cidrs: Vec<Network>,
    /// The time of creation.
    created_at: Timestamp,
    /// The first second at which it is no longer valid; `null` for never.
    expires_at: Option<Timestamp>,
    /// The time of revocation; `null` if it is not revoked.
    revoked_at: Option<Timestamp>,
    /// The reason for the revocation, if one was given.
    #[schemars(length(max = MAX_REASON))]
    revoked_reason: Option<String>,
    /// The time of its last use, up to a minute behind; `null` if never used. The first use after a rotation is recorded
    /// immediately.
    last_used_at: Option<Timestamp>,
    /// The address that it was last used from.
    last_used_address: Option<String>,
    /// The `User-Agent` of its last use, cut off at 256 characters.
    last_used_user_agent: Option<String>,
    /// The key that it replaced.
    rotated_from: Option<KeyId>,
    /// The key that replaced it.
    rotated_to: Option<KeyId>,
    /// When that key replaced it.
    rotated_at: Option<Timestamp>,
    /// The number of changes, counted from 1: the `ETag` without the quotes.
    #[schemars(range(min = 1))]
    version: u64,
}

/// A key that was just created. The only response that contains it whole.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CreatedKey")]
pub struct Created<'a> {
    /// The whole key: store it now, it is not shown again.
    #[schemars(regex(pattern = "^vk_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}$"))]
    key: &'a str,
    #[serde(flatten)]
    view: KeyView,
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
            rotated_at: record.rotated_at,
            version: record.version,
        }
    }
}

/// The body of the response to the creation of `key`.
pub fn created_json(key: &ApiKey, record: KeyRecord, now: Timestamp) -> Result<String, Problem> {
    serde_json::to_string(&Created { key: key.expose(), view: KeyView::new(record, now) })
        .map_err(|error| Problem::fault("unwritable_answer", &error))
}

/// The response to the creation of a key, with the `ETag` of its first version.
pub fn created_response(body: String, id: KeyId) -> Answer {
    Response::builder()
        .status(StatusCode::CREATED)
        .header(CONTENT_TYPE, "application/json")
        .header(LOCATION, format!("/v1/api-keys/{id}"))
        .header(ETAG, "\"1\"")
        .body(Body::from(body))
        .map_err(|error| Problem::fault("unwritable_answer", &error))
}

/// The key, with its version as the `ETag`.
pub fn key_response(record: KeyRecord, now: Timestamp) -> Answer {
    let etag = etag(&record);
    let mut response = json(200, &KeyView::new(record, now))?;
    response.headers_mut().insert(ETAG, etag);
    Ok(response)
}

/// A strong validator (RFC 9110 section 8.8.3): the version of the record.
pub fn etag(record: &KeyRecord) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{}\"", record.version)).unwrap_or(HeaderValue::from_static("\"0\""))
}
