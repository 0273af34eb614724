//! `Idempotency-Key`: a request that made a key can be repeated, by who sent it, for 15 minutes.
//!
//! The answer is kept, and it holds a whole API key. So it is sealed under the `Idempotency-Key` itself, which isn't kept:
//! whoever reads the table can't open it. They could try likely ones, though, which is why a short one is refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Response;
use http::header::HeaderName;
use lambda_http::{Body, Request};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{Context, SHA256};
use ring::hkdf::{HKDF_SHA256, Salt};
use vega_auth::{CurrentUser, KeyId, Timestamp};
use vega_http::{Problem, body_bytes, path_parameter, route};
use vega_store::IdempotencyRecord;
use zeroize::Zeroizing;

use crate::ApiKeys;
use crate::create::created;
use crate::problem::KeyProblem;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// 16 random letters and digits are more than 80 bits.
pub const MIN_LEN: usize = 16;
pub const MAX_LEN: usize = 255;

/// A request that can be repeated.
pub struct IdempotentRequest {
    /// A secret for as long as the answer is kept: it isn't printed, and not stored.
    key: Zeroizing<String>,
    /// Which request: a digest of the key, the method and the path.
    request: String,
    fingerprint: [u8; 32],
}

impl IdempotentRequest {
    /// The request, if it names itself by an `Idempotency-Key`.
    ///
    /// # Errors
    /// 400 when there are two, or one that is not 16 to 255 visible ASCII characters.
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

    /// Seals the answer for `owner`, who made the key of this id.
    fn seal(
        &self,
        owner: &str,
        key_id: KeyId,
        answer: &str,
        nonce: [u8; NONCE_LEN],
        at: Timestamp,
    ) -> Option<IdempotencyRecord> {
        let mut sealed = Zeroizing::new(answer.as_bytes().to_vec());
        self.cipher(owner, key_id)?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(self.fingerprint), &mut *sealed)
            .ok()?;
        Some(IdempotencyRecord {
            owner: owner.to_owned(),
            request: self.request.clone(),
            fingerprint: self.fingerprint,
            key_id,
            nonce,
            sealed: sealed.to_vec(),
            at,
        })
    }

    fn open(&self, replay: &IdempotencyRecord) -> Option<String> {
        let mut sealed = replay.sealed.clone();
        let nonce = Nonce::assume_unique_for_key(replay.nonce);
        let cipher = self.cipher(&replay.owner, replay.key_id)?;
        let answer = cipher.open_in_place(nonce, Aad::from(replay.fingerprint), &mut sealed).ok()?;
        String::from_utf8(answer.to_vec()).ok()
    }

    /// HKDF (RFC 5869) of the `Idempotency-Key`, for this owner, request and API key: each seals one answer.
    fn cipher(&self, owner: &str, key_id: KeyId) -> Option<LessSafeKey> {
        let secret = Salt::new(HKDF_SHA256, b"vega-auth idempotency 1").extract(self.key.as_bytes());
        let info = [key_id.as_str().as_bytes(), self.request.as_bytes(), owner.as_bytes()];
        Some(LessSafeKey::new(UnboundKey::from(secret.expand(&info, &AES_256_GCM).ok()?)))
    }
}

impl ApiKeys {
    /// The answer that this request got before.
    ///
    /// # Errors
    /// 422 when it was another request that had this `Idempotency-Key`.
    pub(crate) async fn repeated(
        &self,
        request: &IdempotentRequest,
        owner: &CurrentUser,
        now: Timestamp,
    ) -> Result<Option<Response<Body>>, Problem> {
        let found = self.store.replay(&owner.id, &request.request, now).await?;
        let Some(replay) = found else { return Ok(None) };
        if replay.fingerprint != request.fingerprint {
            return Err(KeyProblem::IdempotencyKeyReused.into());
        }
        let answer = request.open(&replay).ok_or_else(|| Problem::fault("replay_unreadable", &"it does not open"))?;
        created(answer, replay.key_id).map(Some)
    }

    /// What is to be kept of a request that makes a key, if it can be repeated.
    pub(crate) fn kept(
        &self,
        request: Option<&IdempotentRequest>,
        owner: &CurrentUser,
        key_id: KeyId,
        answer: &str,
        now: Timestamp,
    ) -> Result<Option<IdempotencyRecord>, Problem> {
        let Some(request) = request else { return Ok(None) };
        let mut nonce = [0; NONCE_LEN];
        (self.entropy)(&mut nonce).map_err(|error| Problem::fault("entropy_unavailable", &error))?;
        let sealed = request.seal(&owner.id, key_id, answer, nonce, now);
        sealed.map(Some).ok_or_else(|| Problem::fault("unsealable_answer", &"it is too long"))
    }
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
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

    fn repeatable(key: &str) -> IdempotentRequest {
        IdempotentRequest { key: Zeroizing::new(key.into()), request: "00".into(), fingerprint: [1; 32] }
    }

    #[test]
    fn a_sealed_answer_is_opened_by_its_own_idempotency_key_and_nothing_else() {
        let id: KeyId = "000000000000".parse().unwrap();
        let sealed = repeatable(KEY).seal("ada", id, "the answer", [3; NONCE_LEN], NOW).unwrap();
        assert_eq!(repeatable(KEY).open(&sealed).as_deref(), Some("the answer"));
        assert!(!sealed.sealed.windows(3).any(|part| part == b"the"));
        assert_eq!(repeatable("0f1c8d52-6a7e-4b57-9d4e-2f6d3c1b9a81").open(&sealed), None);
        assert_eq!(IdempotentRequest { request: "01".into(), ..repeatable(KEY) }.open(&sealed), None, "another route");
        for change in [
            |replay: &mut IdempotencyRecord| replay.owner = "bob".into(),
            |replay: &mut IdempotencyRecord| replay.key_id = "000000000001".parse().unwrap(),
            |replay: &mut IdempotencyRecord| replay.fingerprint[0] ^= 1,
            |replay: &mut IdempotencyRecord| replay.nonce[0] ^= 1,
            |replay: &mut IdempotencyRecord| replay.sealed[0] ^= 1,
            |replay: &mut IdempotencyRecord| replay.sealed.truncate(3),
        ] {
            let mut changed = sealed.clone();
            change(&mut changed);
            assert_eq!(repeatable(KEY).open(&changed), None);
        }
    }
}
