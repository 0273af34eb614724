//! Any number of different tokens and keys, the same ones in every run.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivatePkcs1KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use vega_auth::{ApiKey, KeySecret};

use crate::Failure;

/// The user pool.
pub const POOL: &str = "us-west-1_Test";
/// The app client of the tokens.
pub const CLIENT: &str = "client1";
/// Created for the tests with `openssl genrsa`; it protects nothing.
const PEM: &str = include_str!("../test-only-rsa.pem");

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Signs tokens as the pool does.
pub struct Issuer(RsaKeyPair);

impl Issuer {
    /// An issuer with a fixed key.
    pub fn new() -> Result<Self, Failure> {
        Ok(Self(RsaKeyPair::from_der(PrivatePkcs1KeyDer::from_pem_slice(PEM.as_bytes())?.secret_pkcs1_der())?))
    }

    /// Its key set.
    pub fn key_set(&self) -> String {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let public = PublicKeyComponents::<Vec<u8>>::from(self.0.public());
        let (n, e) = (encode(&public.n), encode(&public.e));
        let key = |kid: &str| json!({ "kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": n, "e": e });
        // A user pool has two keys.
        json!({ "keys": [key("test-1"), key("test-2")] }).to_string()
    }

    /// An access token for person `number` that expires `lifetime` seconds from now. Each `nonce` gives a different token.
    pub fn token(&self, number: u64, nonce: u64, lifetime: i64) -> Result<String, Failure> {
        let now = i64::try_from(now())?;
        let claims = json!({
            "sub": person(number), "username": person(number), "cognito:groups": ["user"],
            "iss": format!("https://cognito-idp.us-west-1.amazonaws.com/{POOL}"), "client_id": CLIENT,
            "origin_jti": "6f5f24e2-4bd2-4a4f-8c3f-7d6f5b0a9f11", "event_id": "b1f0b5ac-0f0e-4c56-9d5e-0a6f0c6f9a52",
            "token_use": "access", "scope": "aws.cognito.signin.user.admin", "auth_time": now - 60,
            "iat": now - 60, "exp": now + lifetime, "jti": format!("00000000-0000-4000-8000-{nonce:012}"),
        });
        let encode = |text: String| URL_SAFE_NO_PAD.encode(text);
        let header = json!({ "kid": "test-1", "alg": "RS256" });
        let input = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let mut signature = vec![0; self.0.public().modulus_len()];
        self.0.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input.as_bytes(), &mut signature)?;
        Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// The `sub` of person `number`.
pub fn person(number: u64) -> String {
    format!("9a1b2c3d-0000-4000-8000-{number:012}")
}

/// Key number `index`.
pub fn key(index: u64) -> ApiKey {
    let mut entropy = [0; 32];
    entropy.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, &index.to_be_bytes()).as_ref());
    let mut id = [b'0'; 12];
    let mut rest = index;
    for digit in id.iter_mut().rev() {
        *digit = BASE62[usize::try_from(rest % 62).unwrap_or_default()];
        rest /= 62;
    }
    let id = String::from_utf8_lossy(&id).parse().unwrap_or_else(|_| unreachable!("12 base62 digits"));
    ApiKey::new(id, &KeySecret::from_entropy(&mut entropy))
}

/// The number of the key with this id.
pub fn index_of(id: &str) -> Option<u64> {
    let digit = |byte| BASE62.iter().position(|digit| *digit == byte).and_then(|value| u64::try_from(value).ok());
    (id.len() == 12).then_some(())?;
    id.bytes().try_fold(0_u64, |index, byte| index.checked_mul(62)?.checked_add(digit(byte)?))
}

/// The key's owner: each person has ten keys.
pub fn owner_of(index: u64) -> String {
    person(index / 10)
}
