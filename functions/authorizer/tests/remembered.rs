//! What the process remembers between two requests, and how long that may decide.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::error::Error;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use vega_auth::{
    ApiKey, AuthError, Authenticator, CachedKeys, Credential, Fault, FetchKeySet, HmacSecret, KeyId, KeyRecord,
    KeyRecords, LastUse, Rejection, SigningKeys, Timestamp, TokenVerifier, UserPool,
};
use vega_store::{EventKind, KeyReader};
use vega_testing::{TestDatabase, actor, key_with_secret, record};

const NOW: Timestamp = Timestamp(1_800_000_000);
/// Made for these tests with `openssl genrsa`; it opens nothing.
const PEM: &str = include_str!("../../../tests/vectors/keys/issuer-1.pem");
const JWKS: &str = vega_testing::vectors::KEY_SET;

/// An issuer of which a test says what it answers: a key set, or nothing.
#[derive(Clone)]
struct Issuer(Arc<Mutex<Option<String>>>);

impl FetchKeySet for Issuer {
    async fn fetch(&self) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        self.0.lock().unwrap().clone().map(String::into_bytes).ok_or_else(|| "connection refused".into())
    }
}

/// No key is known here.
struct NoKeys;

impl KeyRecords for NoKeys {
    async fn find(&self, _: KeyId, _: Timestamp) -> Result<Option<KeyRecord>, Fault> {
        Ok(None)
    }

    async fn record_use(&self, _: KeyId, _: &LastUse) -> Result<(), Fault> {
        Ok(())
    }
}

struct Pool {
    issuer: Issuer,
    authenticator: Authenticator<Issuer, NoKeys>,
}

impl Pool {
    fn new() -> Self {
        let issuer = Issuer(Arc::new(Mutex::new(Some(JWKS.into()))));
        let pool = UserPool::new("us-west-1", "us-west-1_Test", "client1").unwrap();
        let tokens = TokenVerifier::Cognito(pool, SigningKeys::new(issuer.clone()));
        Self { issuer, authenticator: Authenticator { tokens, keys: NoKeys } }
    }

    fn answers(&self, key_set: Option<String>) {
        *self.issuer.0.lock().unwrap() = key_set;
    }

    #[track_caller]
    fn check(&self, token: &str, seconds: i64, expected: Result<(), &str>) {
        let header = format!("Bearer {token}");
        let credential = Credential::from_header(&header).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let outcome = match runtime.block_on(self.authenticator.authenticate(credential, None, NOW.plus(seconds))) {
            Ok(caller) => {
                assert_eq!(caller.user.id, "ada");
                Ok(())
            }
            Err(AuthError::Rejected(reason)) => Err(reason.code()),
            Err(AuthError::Unavailable(fault)) => Err(fault.code()),
        };
        assert_eq!(outcome, expected, "after {seconds} s");
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

/// The key set with another modulus under the same `kid`: the issuer gave it to a new key.
fn other_key_set() -> String {
    let mut set: Value = serde_json::from_str(JWKS).unwrap();
    set["keys"][0]["n"] = json!(URL_SAFE_NO_PAD.encode([0xf1; 256]));
    set.to_string()
}

#[test]
fn a_token_that_was_seen_is_refused_the_second_it_expires() {
    let (pool, token) = (Pool::new(), token("test-1", 60));
    for seconds in [0, 1, 59] {
        pool.check(&token, seconds, Ok(()));
    }
    pool.check(&token, 60, Err("expired"));
    pool.check(&token, -31, Err("not_yet_valid"));
}

#[test]
fn a_token_that_was_seen_differs_from_every_other() {
    let (pool, token) = (Pool::new(), token("test-1", 60));
    pool.check(&token, 0, Ok(()));
    for at in 0..token.len() {
        let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
        let mut altered = token.clone();
        altered.replace_range(at..=at, other);
        let credential = format!("Bearer {altered}");
        let Ok(credential) = Credential::from_header(&credential) else { continue };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert!(runtime.block_on(pool.authenticator.authenticate(credential, None, NOW)).is_err(), "changed at {at}");
    }
}

#[test]
fn a_new_key_set_forgets_what_the_old_one_verified() {
    let (pool, seen) = (Pool::new(), token("test-1", 7200));
    pool.check(&seen, 0, Ok(()));
    pool.answers(Some(other_key_set()));
    // An unknown kid brings the new set in before the old one has aged.
    pool.check(&token("test-9", 7200), 31, Err("unknown_signing_key"));
    pool.check(&seen, 31, Err("signature"));
}

#[test]
fn a_key_set_that_has_aged_is_fetched_before_what_it_verified_counts_again() {
    let (pool, seen) = (Pool::new(), token("test-1", 7200));
    pool.check(&seen, 0, Ok(()));
    pool.answers(Some(other_key_set()));
    pool.check(&seen, 899, Ok(()));
    pool.check(&seen, 900, Err("signature"));
}

#[test]
fn a_day_without_the_issuer_ends_what_was_remembered() {
    let (pool, seen) = (Pool::new(), token("test-1", 200_000));
    pool.check(&seen, 0, Ok(()));
    pool.answers(None);
    pool.check(&seen, 86_399, Ok(()));
    pool.check(&seen, 86_400, Err("key_set_unavailable"));
}

#[test]
fn a_token_that_was_refused_is_refused_again() {
    let (pool, seen) = (Pool::new(), token("test-1", 60));
    let mut forged = seen.clone();
    forged.replace_range(
        seen.len() - 20..=seen.len() - 20,
        if seen.as_bytes()[seen.len() - 20] == b'A' { "B" } else { "A" },
    );
    for _ in 0..3 {
        pool.check(&forged, 0, Err(Rejection::Signature.code()));
    }
    pool.check(&seen, 0, Ok(()));
    pool.check(&forged, 0, Err(Rejection::Signature.code()));
}

/// A key of a table, of which the process may remember what it read for so many seconds.
async fn keys(seconds: u16) -> (TestDatabase, ApiKey, Authenticator<Issuer, CachedKeys<KeyReader>>) {
    let database = TestDatabase::start().await;
    let key = vega_testing::key();
    let record = KeyRecord {
        cidrs: vec!["192.0.2.0/24".parse().unwrap()],
        expires_at: Some(NOW.plus(50)),
        ..record(&key, "ada")
    };
    database.store().create(&record, 10, None, &actor("ada")).await.unwrap();
    let tokens = TokenVerifier::Custom(HmacSecret::new_from_text(&"x".repeat(32)).unwrap());
    let keys = CachedKeys::new(database.faulty_reader(), seconds);
    (database, key, Authenticator { tokens, keys })
}

async fn code(
    authenticator: &Authenticator<Issuer, CachedKeys<KeyReader>>,
    key: &str,
    address: &str,
    seconds: i64,
) -> &'static str {
    let header = format!("Bearer {key}");
    let credential = Credential::from_header(&header).unwrap();
    match authenticator.authenticate(credential, address.parse().ok(), NOW.plus(seconds)).await {
        Ok(_) => "ok",
        Err(AuthError::Rejected(reason)) => reason.code(),
        Err(AuthError::Unavailable(fault)) => fault.code(),
    }
}

const HOME: &str = "192.0.2.1";

async fn revoke(database: &TestDatabase, key: &ApiKey) {
    let record = database.store().find(key.id()).await.unwrap().unwrap();
    database.store().revoke(&record, EventKind::Revoked, None, &actor("ada"), NOW).await.unwrap();
}

#[tokio::test]
async fn a_revoked_key_works_on_for_as_long_as_it_was_allowed_and_not_a_second_longer() {
    for (allowed, last_good) in [(0, None), (1, Some(0)), (30, Some(29))] {
        let (database, key, authenticator) = keys(allowed).await;
        assert_eq!(code(&authenticator, key.expose(), HOME, 0).await, "ok");
        revoke(&database, &key).await;
        if let Some(second) = last_good {
            assert_eq!(code(&authenticator, key.expose(), HOME, second).await, "ok", "{allowed}");
        }
        assert_eq!(code(&authenticator, key.expose(), HOME, i64::from(allowed)).await, "key_revoked", "{allowed}");
        // What was read then is remembered in its turn, and a clock that is put back brings nothing back.
        assert_eq!(code(&authenticator, key.expose(), HOME, 0).await, "key_revoked", "{allowed}");
    }
}

#[tokio::test]
async fn a_key_is_read_once_in_the_time_allowed_and_every_time_without_it() {
    for (allowed, reads) in [(0, 5), (30, 1)] {
        let (database, key, authenticator) = keys(allowed).await;
        for second in 0..5 {
            assert_eq!(code(&authenticator, key.expose(), HOME, second).await, "ok");
        }
        assert_eq!(database.requests(), reads);
    }
}

#[tokio::test]
async fn what_is_remembered_of_a_key_is_checked_every_time() {
    let (database, key, authenticator) = keys(3600).await;
    assert_eq!(code(&authenticator, key.expose(), HOME, 0).await, "ok");
    database.stop();
    let other = key_with_secret(8);
    assert_eq!(code(&authenticator, other.expose(), HOME, 1).await, "wrong_secret");
    assert_eq!(code(&authenticator, key.expose(), "198.51.100.1", 1).await, "address_not_allowed");
    assert_eq!(code(&authenticator, key.expose(), HOME, 49).await, "ok");
    assert_eq!(code(&authenticator, key.expose(), HOME, 50).await, "key_expired");
}

#[tokio::test]
async fn the_use_of_a_remembered_key_is_noted_once_a_minute_too() {
    let (_database, key, authenticator) = keys(3600).await;
    let mut noted = Vec::new();
    for second in [0, 1, 59, 60, 61] {
        let Some(record) = authenticator.keys.find(key.id(), NOW.plus(second)).await.unwrap() else { panic!("no key") };
        if let Some(last) = record.use_to_record(HOME, "", NOW.plus(second)) {
            authenticator.keys.record_use(key.id(), &last).await.unwrap();
            noted.push(second);
        }
    }
    assert_eq!(noted, [0, 60]);
}
