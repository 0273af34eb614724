//! `Idempotency-Key`: a request that created a key can be repeated by its sender for 15 minutes.
//!
//! The stored response contains a whole API key. So it is sealed under the `Idempotency-Key` itself, which isn't stored: nobody
//! who reads the table can open it. They could guess short values, though, so those are rejected.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Response;
use http::header::HeaderName;
use lambda_http::{Body, Request};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{Context, SHA256};
use ring::hkdf::{HKDF_SHA256, Salt};
use vega_auth::{ApiKey, CurrentUser, KeyId, Timestamp, Transition};
use vega_http::{Answer, Problem, body_bytes, path_parameter, route};
use vega_store::{IdempotencyRecord, UpdateError, retry};
use zeroize::Zeroizing;

use crate::problem::KeyProblem;
use crate::view::{created_json, created_response};
use crate::{ApiKeys, actor};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// 16 random letters and digits are more than 80 bits.
pub const MIN_LEN: usize = 16;
pub const MAX_LEN: usize = 255;

/// A new key, not committed yet.
pub struct Creation {
    pub key: ApiKey,
    pub created: Transition,
    /// The key that it replaces, if it does.
    pub replaced: Option<Transition>,
}

/// Commits the key that `create` returns, and responds with it. The same request under the same `Idempotency-Key` gets the stored
/// response instead.
pub async fn once<F: Future<Output = Result<Creation, Problem>>>(
    api: &ApiKeys,
    request: &Request,
    owner: &CurrentUser,
    now: Timestamp,
    create: impl Fn() -> F,
) -> Answer {
    let idempotent = IdempotentRequest::read(request)?;
    if let Some(idempotent) = &idempotent
        && let Some(response) = idempotent.stored_response(api, owner, now).await?
    {
        return Ok(response);
    }
    let actor = actor(request, owner);
    let prepare = || async {
        let Creation { key, created, replaced } = create().await?;
        let body = created_json(&key, created.after.clone(), now)?;
        let seal = |request: &IdempotentRequest| request.seal(&owner.id, key.id(), &body, api.random()?, now);
        let record = idempotent.as_ref().map(seal).transpose()?;
        let transitions: Vec<Transition> = [created].into_iter().chain(replaced).collect();
        Ok::<_, Problem>((transitions, record, created_response(body, key.id())?))
    };
    let attempt = || async {
        let (transitions, record, response) = prepare().await.map_err(UpdateError::Refused)?;
        api.store.commit(&transitions, Some(api.limit), record.as_ref(), &actor, now).await?;
        Ok(response)
    };
    retry(attempt).await.map_err(|error| api.problem(error))
}

/// A request that can be repeated.
pub struct IdempotentRequest {
    /// A secret while the response is stored: never printed, never stored.
    key: Zeroizing<String>,
    /// A digest of the key, the method and the path.
    request: String,
    fingerprint: [u8; 32],
}

impl IdempotentRequest {
    /// The request, if it has an `Idempotency-Key`.
    /// 400 when there are two, or one that isn't 16 to 255 visible ASCII characters.
    pub fn read(request: &Request) -> Result<Option<Self>, KeyProblem> {
        let mut keys = request.headers().get_all(IDEMPOTENCY_KEY).iter();
        let Some(key) = keys.next() else { return Ok(None) };
        let is_good = (MIN_LEN..=MAX_LEN).contains(&key.len()) && key.as_bytes().iter().all(u8::is_ascii_graphic);
        let (true, None, Ok(key)) = (is_good, keys.next(), key.to_str()) else {
            return Err(KeyProblem::InvalidIdempotencyKey);
        };
        let path = path_parameter(request, "id").unwrap_or_default();
        let name = digest(&[route(request).as_bytes(), path.as_bytes(), key.as_bytes()]);
        Ok(Some(Self {
            key: Zeroizing::new(key.to_owned()),
            request: URL_SAFE_NO_PAD.encode(name),
            fingerprint: digest(&[body_bytes(request)]),
        }))
    }

    /// The response to an earlier request of the owner with this `Idempotency-Key`.
    /// 422 when that request had another body.
    async fn stored_response(
        &self,
        api: &ApiKeys,
        owner: &CurrentUser,
        now: Timestamp,
    ) -> Result<Option<Response<Body>>, Problem> {
        let Some(record) = api.store.idempotency_record(&owner.id, &self.request, now).await? else { return Ok(None) };
        if record.fingerprint != self.fingerprint {
            return Err(KeyProblem::IdempotencyKeyReused.into());
        }
        let body = self.open(&record).ok_or_else(|| Problem::fault("idempotency_record_unreadable", &"not opened"))?;
        created_response(body, record.key_id).map(Some)
    }

    /// Seals the response about the key with this id for `owner`.
    fn seal(
        &self,
        owner: &str,
        key_id: KeyId,
        body: &str,
        nonce: [u8; NONCE_LEN],
        at: Timestamp,
    ) -> Result<IdempotencyRecord, Problem> {
        let mut sealed = Zeroizing::new(body.as_bytes().to_vec());
        self.cipher(owner, key_id)
            .and_then(|cipher| {
                let nonce = Nonce::assume_unique_for_key(nonce);
                cipher.seal_in_place_append_tag(nonce, Aad::from(self.fingerprint), &mut *sealed).ok()
            })
            .ok_or_else(|| Problem::fault("response_not_sealed", &"it is too long"))?;
        Ok(IdempotencyRecord {
            owner: owner.to_owned(),
            request: self.request.clone(),
            fingerprint: self.fingerprint,
            key_id,
            nonce,
            sealed: sealed.to_vec(),
            at,
        })
    }

    fn open(&self, record: &IdempotencyRecord) -> Option<String> {
        let mut sealed = record.sealed.clone();
        let nonce = Nonce::assume_unique_for_key(record.nonce);
        let cipher = self.cipher(&record.owner, record.key_id)?;
        let body = cipher.open_in_place(nonce, Aad::from(record.fingerprint), &mut sealed).ok()?;
        String::from_utf8(body.to_vec()).ok()
    }

    /// HKDF (RFC 5869) of the `Idempotency-Key` for this owner, request and API key, so that each cipher seals one response.
    fn cipher(&self, owner: &str, key_id: KeyId) -> Option<LessSafeKey> {
        let secret = Salt::new(HKDF_SHA256, b"vega-auth idempotency 1").extract(self.key.as_bytes());
        let info = [key_id.as_str().as_bytes(), self.request.as_bytes(), owner.as_bytes()];
        Some(LessSafeKey::new(UnboundKey::from(secret.expand(&info, &AES_256_GCM).ok()?)))
    }
}

/// SHA-256 of the parts, each after its length, so that no two lists have the same input.
pub fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&part.len().to_be_bytes());
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000);
    const KEY: &str = "0f1c8d52-6a7e-4b57-9d4e-2f6d3c1b9a80";

    fn idempotent(key: &str) -> IdempotentRequest {
        IdempotentRequest { key: Zeroizing::new(key.into()), request: "00".into(), fingerprint: [1; 32] }
    }

    #[test]
    fn a_response_is_opened_by_its_own_idempotency_key_alone() {
        let id: KeyId = "000000000000".parse().unwrap();
        let sealed = idempotent(KEY).seal("ada", id, "the response", [3; NONCE_LEN], NOW).unwrap();
        assert_eq!(idempotent(KEY).open(&sealed).as_deref(), Some("the response"));
        assert!(!sealed.sealed.windows(3).any(|part| part == b"the"));
        assert_eq!(idempotent("0f1c8d52-6a7e-4b57-9d4e-2f6d3c1b9a81").open(&sealed), None);
        assert_eq!(IdempotentRequest { request: "01".into(), ..idempotent(KEY) }.open(&sealed), None, "another route");
        for change in [
            |record: &mut IdempotencyRecord| record.owner = "bob".into(),
            |record: &mut IdempotencyRecord| record.key_id = "000000000001".parse().unwrap(),
            |record: &mut IdempotencyRecord| record.fingerprint[0] ^= 1,
            |record: &mut IdempotencyRecord| record.nonce[0] ^= 1,
            |record: &mut IdempotencyRecord| record.sealed[0] ^= 1,
            |record: &mut IdempotencyRecord| record.sealed.truncate(3),
        ] {
            let mut changed = sealed.clone();
            change(&mut changed);
            assert_eq!(idempotent(KEY).open(&changed), None);
        }
    }
}
