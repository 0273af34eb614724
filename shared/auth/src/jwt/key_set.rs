use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde::Deserialize;
use serde_json::Value;

use super::verified_tokens::VerifiedTokens;
use super::{MAX_KEY_SET_BYTES, NotAKeySet, PublishedKeys};
use crate::{Object, Rejection};

/// The most keys we read from a set.
const MAX_KEYS: usize = 64;

/// The issuer's signing keys by `kid` (RFC 7517 section 5).
#[derive(Debug)]
pub struct KeySet {
    pub(super) keys: HashMap<String, Arc<RsaKey>>,
    pub(super) verified: VerifiedTokens,
}

/// An RSA public key of the issuer, for RS256.
pub struct RsaKey {
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl RsaKey {
    /// Fails unless this key signed `message`, and always for keys below 2048 bits.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Rejection> {
        RsaPublicKeyComponents { n: &self.modulus, e: &self.exponent }
            .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            .map_err(|_| Rejection::Signature)
    }
}

impl fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RsaKey({} bits)", self.modulus.len() * 8)
    }
}

impl PublishedKeys for KeySet {
    type Key = RsaKey;

    /// Keys we can't use (another type, use or algorithm; too weak; with a private part) are skipped, as RFC 7517 section 5
    /// asks. If a `kid` occurs twice, neither key is used.
    fn parse(json: &[u8]) -> Result<Self, NotAKeySet> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        if json.len() > MAX_KEY_SET_BYTES {
            return Err(NotAKeySet);
        }
        let Object(document): Object<Document> = serde_json::from_slice(json).map_err(|_| NotAKeySet)?;
        let mut keys = HashMap::new();
        let mut ambiguous = Vec::new();
        for (kid, key) in document.keys.iter().take(MAX_KEYS).filter_map(signing_key) {
            if keys.insert(kid.to_owned(), Arc::new(key)).is_some() {
                ambiguous.push(kid);
            }
        }
        for kid in ambiguous {
            keys.remove(kid);
        }
        if keys.is_empty() { Err(NotAKeySet) } else { Ok(Self { keys, verified: VerifiedTokens::default() }) }
    }

    fn get(&self, kid: &str) -> Option<Arc<RsaKey>> {
        self.keys.get(kid).cloned()
    }
}

/// The `kid` and key of a JWK that is usable for RS256 signatures.
fn signing_key(jwk: &Value) -> Option<(&str, RsaKey)> {
    let member = |name: &str| jwk.get(name).and_then(Value::as_str);
    let absent_or = |name: &str, expected: &str| jwk.get(name).is_none_or(|value| value.as_str() == Some(expected));
    let may_verify = jwk.get("key_ops").is_none_or(|operations| {
        operations.as_array().is_some_and(|list| list.iter().any(|operation| operation.as_str() == Some("verify")))
    });
    // A private part in a public set means that the key leaked: its signatures prove nothing.
    let is_private = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().any(|name| jwk.get(name).is_some());
    if member("kty") != Some("RSA")
        || !absent_or("use", "sig")
        || !absent_or("alg", "RS256")
        || !may_verify
        || is_private
    {
        return None;
    }
    let kid = member("kid").filter(|kid| !kid.is_empty())?;
    let modulus = URL_SAFE_NO_PAD.decode(member("n")?).ok()?;
    let exponent = URL_SAFE_NO_PAD.decode(member("e")?).ok()?;
    // 2048 to 8192 bits without leading zeros, and the one exponent in use.
    let is_strong = (256..=1024).contains(&modulus.len()) && modulus.first().is_some_and(|byte| *byte >= 0x80);
    if !is_strong || exponent != [1, 0, 1] {
        return None;
    }
    Some((kid, RsaKey { modulus, exponent }))
}
