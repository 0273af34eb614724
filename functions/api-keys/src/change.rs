//! `PATCH` and `DELETE` of a key.

use http::StatusCode;
use http::header::IF_MATCH;
use lambda_http::Request;
use vega_auth::{Actor, CurrentUser, KeyId, KeyRecord, Timestamp};
use vega_http::{Answer, empty, read_json};
use vega_store::UpdateError;

use crate::body::KeyPatch;
use crate::problem::KeyProblem;
use crate::query::Parameters;
use crate::view::{etag, key_response};
use crate::{ApiKeys, actor, check_owner, path_id};

impl ApiKeys {
    pub(crate) async fn change(&self, request: &Request, owner: &CurrentUser, now: Timestamp) -> Answer {
        let reason = Parameters::read(request, &["reason"])?.reason()?;
        let change = read_json::<KeyPatch>(request)?.check(owner, &self.rules)?;
        let decide = |key: &KeyRecord| {
            check_owner(key, owner)?;
            check_version(request, key)?;
            key.change(&change, reason.as_deref(), now).map_err(KeyProblem::from)
        };
        let updated = self.store.update(path_id(request)?, &actor(request, owner), now, decide).await;
        key_response(updated.map_err(|error| self.problem(error))?.record, now)
    }

    /// Revokes a key that `authorize` allows the caller to revoke: any version of it, unless the client named one.
    pub(crate) async fn revoke(
        &self,
        request: &Request,
        id: KeyId,
        actor: &Actor,
        now: Timestamp,
        missing: KeyProblem,
        authorize: impl Fn(&KeyRecord) -> Result<(), KeyProblem>,
    ) -> Answer {
        let reason = Parameters::read(request, &["reason"])?.reason()?;
        let decide = |key: &KeyRecord| {
            authorize(key)?;
            // The caller wants the key to be revoked, and this may be a repeated request whose response was lost. So the version
            // isn't checked (RFC 9110 section 13.1.1).
            let Some(revocation) = key.revoke(reason.as_deref(), now) else { return Ok(None) };
            check_version(request, key)?;
            Ok::<_, KeyProblem>(Some(revocation))
        };
        match self.store.update(id, actor, now, decide).await {
            Ok(_) => Ok(empty(StatusCode::NO_CONTENT)),
            Err(UpdateError::NotFound) => Err(missing.into()),
            Err(error) => Err(self.problem(error)),
        }
    }
}

/// Checks `If-Match` (RFC 9110 section 13.1.1), if the client sent it.
pub fn check_version(request: &Request, record: &KeyRecord) -> Result<(), KeyProblem> {
    let Some(wanted) = request.headers().get(IF_MATCH) else { return Ok(()) };
    let current = etag(record);
    let tags: Vec<&str> = wanted.to_str().unwrap_or_default().split(',').map(str::trim).collect();
    let is_quoted = |tag: &str| tag.len() > 1 && tag.trim_start_matches("W/").starts_with('"') && tag.ends_with('"');
    if !tags.iter().all(|tag| *tag == "*" || is_quoted(tag)) {
        return Err(KeyProblem::InvalidIfMatch);
    }
    let matches = tags.iter().any(|tag| *tag == "*" || tag.as_bytes() == current.as_bytes());
    if matches { Ok(()) } else { Err(KeyProblem::VersionMismatch) }
}
