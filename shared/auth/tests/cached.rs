//! The time for which cached tokens and key records decide.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::error::Error;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use vega_auth::{
    ApiKey, AuthError, Authenticator, CachedKeys, Credential, Fault, FetchKeySet, HmacSecret, KeyId, KeyRecord,
    KeyRecords, KeySecret, KeyStatus, LastUse, Timestamp, TokenSource, TokenVerifier, UserPool,
};

const NOW: Timestamp = Timestamp(1_800_000_000);
/// Created for these tests with `openssl genrsa`; it protects nothing.
const PEM: &str = include_str!("../../../tests/vectors/keys/issuer-1.pem");
const JWKS: &str = include_str!("../../../tests/vectors/keys/jwks.json");

/// An issuer that serves this key set, or nothing.
#[derive(Clone)]
struct Issuer(Arc<Mutex<Option<String>>>);

impl FetchKeySet for Issuer {
    async fn fetch(&self) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        self.0.lock().unwrap().clone().map(String::into_bytes).ok_or_else(|| "connection refused".into())
    }
}

/// A store with at most one key, which counts its reads.
#[derive(Default)]
struct Table(Mutex<(Option<KeyRecord>, usize)>);

impl KeyRecords for Table {
    async fn find(&self, _: KeyId, _: Timestamp) -> Result<Option<KeyRecord>, Fault> {
        let mut table = self.0.lock().unwrap();
        table.1 += 1;
        Ok(table.0.clone())
    }

    async fn record_use(&self, _: KeyId, last: &LastUse) -> Result<(), Fault> {
        if let (Some(record), _) = &mut *self.0.lock().unwrap() {
            record.last_use = Some(last.clone());
        }
        Ok(())
    }
}

async fn code<K: KeyRecords>(
    authenticator: &Authenticator<Issuer, K>,
    credential: &str,
    address: &str,
    seconds: i64,
) -> String {
    let header = format!("Bearer {credential}");
    let credential = Credential::from_header(&header).unwrap();
    match authenticator.authenticate(credential, address.parse().ok(), NOW.plus(seconds)).await {
        Ok(caller) => {
            assert_eq!(caller.user.id, "ada");
            "ok".to_owned()
        }
        Err(AuthError::Rejected(reason, _)) => reason.code(),
        Err(AuthError::Unavailable(fault)) => fault.code().to_owned(),
    }
}

struct Pool {
    issuer: Issuer,
    authenticator: Authenticator<Issuer, Table>,
}

impl Pool {
    fn new() -> Self {
        let issuer = Issuer(Arc::new(Mutex::new(Some(JWKS.into()))));
        let pool = UserPool::new("us-west-1", "us-west-1_Test", "client1").unwrap();
        let tokens = TokenVerifier::cognito(TokenSource::read(&pool, None).unwrap(), |_| issuer.clone());
        Self { issuer, authenticator: Authenticator { tokens, keys: Table::default() } }
    }

    fn serve(&self, key_set: Option<String>) {
        *self.issuer.0.lock().unwrap() = key_set;
    }

    async fn check(&self, token: &str, seconds: i64, expected: &str) {
        assert_eq!(code(&self.authenticator, token, "", seconds).await, expected, "after {seconds} s");
    }
}

fn token(kid: &str, lifetime: i64) -> String {
    let claims = json!({
        "iss": "https://cognito-idp.us-west-1.amazonaws.com/us-west-1_Test", "sub": "ada", "username": "ada",
        "client_id": "client1", "token_use": "access", "iat": NOW.0, "exp": NOW.0 + lifetime,
    });
    let header = Header { kid: Some(kid.into()), ..Header::new(Algorithm::RS256) };
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_rsa_pem(PEM.as_bytes()).unwrap()).unwrap()
}

/// The token with another character at `at`.
fn altered(token: &str, at: usize) -> String {
    let mut altered = token.to_owned();
    altered.replace_range(at..=at, if token.as_bytes()[at] == b'A' { "B" } else { "A" });
    altered
}

/// The key set with another modulus under the same `kid`, as if the issuer had reused it for a new key.
fn other_key_set() -> String {
    let mut set: Value = serde_json::from_str(JWKS).unwrap();
    set["keys"][0]["n"] = json!(URL_SAFE_NO_PAD.encode([0xf1; 256]));
    set.to_string()
}

#[tokio::test]
async fn a_cached_token_is_rejected_the_second_it_expires() {
    let (pool, token) = (Pool::new(), token("test-1", 60));
    for seconds in [0, 1, 59] {
        pool.check(&token, seconds, "ok").await;
    }
    pool.check(&token, 60, "expired").await;
    pool.check(&token, -31, "not_yet_valid").await;
}

#[tokio::test]
async fn a_cached_token_stands_for_no_altered_one() {
    let (pool, token) = (Pool::new(), token("test-1", 60));
    pool.check(&token, 0, "ok").await;
    for at in 0..token.len() {
        let header = format!("Bearer {}", altered(&token, at));
        let Ok(credential) = Credential::from_header(&header) else { continue };
        assert!(pool.authenticator.authenticate(credential, None, NOW).await.is_err(), "changed at {at}");
    }
}

#[tokio::test]
async fn a_new_key_set_drops_the_tokens_of_the_old_one() {
    let (pool, cached) = (Pool::new(), token("test-1", 7200));
    pool.check(&cached, 0, "ok").await;
    pool.serve(Some(other_key_set()));
    // An unknown kid brings in the new set before the old one is due.
    pool.check(&token("test-9", 7200), 31, "unknown_signing_key").await;
    pool.check(&cached, 31, "signature").await;
}

#[tokio::test]
async fn an_old_key_set_is_fetched_before_its_tokens_count_again() {
    let (pool, cached) = (Pool::new(), token("test-1", 7200));
    pool.check(&cached, 0, "ok").await;
    pool.serve(Some(other_key_set()));
    pool.check(&cached, 899, "ok").await;
    pool.check(&cached, 900, "signature").await;
}

#[tokio::test]
async fn cached_tokens_last_at_most_a_day_without_the_issuer() {
    let (pool, cached) = (Pool::new(), token("test-1", 200_000));
    pool.check(&cached, 0, "ok").await;
    pool.serve(None);
    pool.check(&cached, 86_399, "ok").await;
    pool.check(&cached, 86_400, "key_set_unavailable").await;
}

#[tokio::test]
async fn a_rejected_token_is_rejected_again() {
    let (pool, valid) = (Pool::new(), token("test-1", 60));
    let forged = altered(&valid, valid.len() - 20);
    for _ in 0..3 {
        pool.check(&forged, 0, "signature").await;
    }
    pool.check(&valid, 0, "ok").await;
    pool.check(&forged, 0, "signature").await;
}

const HOME: &str = "192.0.2.1";

fn key(secret: u8) -> ApiKey {
    ApiKey::new("7Gh2kQ9XbT4m".parse().unwrap(), &KeySecret::from_entropy(&mut [secret; 32]))
}

/// An authenticator with one key in its table, whose record may be cached for `seconds`.
fn with_key(seconds: u16) -> Authenticator<Issuer, CachedKeys<Table>> {
    let record = KeyRecord {
        cidrs: vec!["192.0.2.0/24".parse().unwrap()],
        expires_at: Some(NOW.plus(50)),
        ..KeyRecord::new(&key(1), "ada", NOW)
    };
    let tokens = TokenVerifier::Custom(HmacSecret::new_from_text(&"x".repeat(32)).unwrap());
    Authenticator { tokens, keys: CachedKeys::new(Table(Mutex::new((Some(record), 0))), seconds) }
}

#[tokio::test]
async fn a_revoked_key_works_no_longer_than_the_cache_may_keep_it() {
    for (seconds, last_accepted) in [(0, None), (1, Some(0)), (30, Some(29))] {
        let authenticator = with_key(seconds);
        assert_eq!(code(&authenticator, key(1).expose(), HOME, 0).await, "ok");
        authenticator.keys.store().0.lock().unwrap().0.as_mut().unwrap().status = KeyStatus::Revoked;
        if let Some(second) = last_accepted {
            assert_eq!(code(&authenticator, key(1).expose(), HOME, second).await, "ok", "{seconds}");
        }
        assert_eq!(code(&authenticator, key(1).expose(), HOME, seconds.into()).await, "key_revoked", "{seconds}");
        // The revoked record is cached in turn, and a clock that is set back doesn't restore the old one.
        assert_eq!(code(&authenticator, key(1).expose(), HOME, 0).await, "key_revoked", "{seconds}");
    }
}

#[tokio::test]
async fn a_key_is_read_once_per_cache_time_or_every_time_without() {
    for (seconds, reads) in [(0, 5), (30, 1)] {
        let authenticator = with_key(seconds);
        for second in 0..5 {
            assert_eq!(code(&authenticator, key(1).expose(), HOME, second).await, "ok");
        }
        assert_eq!(authenticator.keys.store().0.lock().unwrap().1, reads);
    }
}

#[tokio::test]
async fn a_cached_key_is_checked_on_every_request() {
    let authenticator = with_key(3600);
    assert_eq!(code(&authenticator, key(1).expose(), HOME, 0).await, "ok");
    authenticator.keys.store().0.lock().unwrap().0 = None;
    assert_eq!(code(&authenticator, key(8).expose(), HOME, 1).await, "wrong_secret");
    assert_eq!(code(&authenticator, key(1).expose(), "198.51.100.1", 1).await, "address_not_allowed");
    assert_eq!(code(&authenticator, key(1).expose(), HOME, 49).await, "ok");
    assert_eq!(code(&authenticator, key(1).expose(), HOME, 50).await, "key_expired");
}

#[tokio::test]
async fn a_cached_keys_use_is_recorded_once_a_minute_too() {
    let keys = with_key(3600).keys;
    let mut recorded = Vec::new();
    for second in [0, 1, 59, 60, 61] {
        let record = keys.find(key(1).id(), NOW.plus(second)).await.unwrap().unwrap();
        if let Some(last) = record.use_to_record(HOME, "", NOW.plus(second)) {
            keys.record_use(key(1).id(), &last).await.unwrap();
            recorded.push(second);
        }
    }
    assert_eq!(recorded, [0, 60]);
}
