//! `POST /v1/api-keys`: a new key, shown whole this once.

use http::header::{ETAG, HeaderValue, LOCATION};
use lambda_http::Request;
use serde::Serialize;
use vega_auth::{ApiKey, CurrentUser, DIGEST_VERSION, KeyId, KeyRecord, KeySecret, KeyStatus, Timestamp};
use vega_http::{Answer, Problem, json, read_json};
use vega_store::CreateError;

use crate::body::NewKey;
use crate::view::{KeyView, etag};
use crate::{ApiKeys, actor, unavailable};

/// How many ids are tried before giving up. One is enough, but for a collision of 71 bits.
pub const ID_TRIES: usize = 3;

/// A key that was just made. The one answer that holds it whole.
#[derive(Serialize)]
struct Created<'a> {
    key: &'a str,
    #[serde(flatten)]
    view: KeyView,
}

impl ApiKeys {
    pub(crate) async fn create(&self, request: &Request, owner: &CurrentUser, now: Timestamp) -> Answer {
        let wanted = read_json::<NewKey>(request)?.check(owner, &self.rules, now)?;
        for _ in 0..ID_TRIES {
            let key = self.new_key()?;
            let record = KeyRecord {
                id: key.id(),
                owner: owner.id.clone(),
                owner_username: owner.username.clone(),
                digest: key.digest(),
                digest_version: DIGEST_VERSION,
                status: KeyStatus::Active,
                name: wanted.name.clone(),
                description: wanted.description.clone(),
                groups: wanted.groups,
                scopes: wanted.scopes.clone(),
                cidrs: wanted.cidrs.clone(),
                created_at: now,
                expires_at: wanted.expires_at,
                revoked_at: None,
                revoked_reason: None,
                rotated_from: None,
                rotated_to: None,
                version: 1,
                last_use: None,
            };
            match self.store.create(&record, self.limit, &actor(request, owner)).await {
                Ok(()) => return created(&key, record, now),
                Err(CreateError::IdTaken) => {}
                Err(CreateError::LimitReached) => return Err(self.limit_reached()),
                Err(CreateError::Fault(fault)) => return Err(unavailable(&fault)),
            }
        }
        Err(no_free_id())
    }

    pub(crate) fn new_key(&self) -> Result<ApiKey, Problem> {
        let (mut id, mut secret) = ([0; 16], [0; 32]);
        (self.entropy)(&mut id)
            .and_then(|()| (self.entropy)(&mut secret))
            .map_err(|error| Problem::fault("entropy_unavailable", &error))?;
        Ok(ApiKey::new(KeyId::from_entropy(id), &KeySecret::from_entropy(&mut secret)))
    }

    pub(crate) fn limit_reached(&self) -> Problem {
        let detail = format!("You have {} live keys, which is the limit. Revoke one that you don't need.", self.limit);
        Problem::new(409, "key_limit_reached", detail)
    }
}

pub fn no_free_id() -> Problem {
    Problem::fault("no_free_id", &"every id was taken")
}

/// The answer to who made a key: the key, this once.
pub fn created(key: &ApiKey, record: KeyRecord, now: Timestamp) -> Answer {
    let (location, etag) = (format!("/v1/api-keys/{}", record.id), etag(&record));
    let mut response = json(201, &Created { key: key.expose(), view: KeyView::new(record, now) })?;
    response.headers_mut().insert(ETAG, etag);
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}
