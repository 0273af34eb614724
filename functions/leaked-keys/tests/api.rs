//! The HTTP contract of leaked keys, against a real `DynamoDB` API, with GitHub's part played by a key of the test's own.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use leaked_keys::{Config, LeakedKeys};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use vega_auth::config::load;
use vega_auth::{ApiKey, FetchKeySet, KeyRecord, KeySetCache, KeyStatus, Timestamp, Transition};
use vega_http::Handler as _;
use vega_store::Store;
use vega_testing::{InjectedFault, TestDatabase, actor, key_with_secret as key, numbered_key, record};

const NOW: Timestamp = Timestamp(1_800_000_000);
const PLACE: &str = "https://example.com/commit/1";

/// GitHub's document of keys, with how often it was asked for; `None` is an outage.
#[derive(Clone)]
struct Published(Arc<Mutex<Option<String>>>, Arc<AtomicUsize>);

impl FetchKeySet for Published {
    async fn fetch(&self) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.lock().unwrap().clone().map(String::into_bytes).ok_or_else(|| "down".into())
    }
}

struct Github {
    key: EcdsaKeyPair,
    published: Published,
}

impl Github {
    fn new() -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref(), &random).unwrap();
        let prefix = STANDARD.decode("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgA=").unwrap();
        let der = [&prefix[..], key.public_key().as_ref()].concat();
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der));
        let published =
            json!({ "public_keys": [{ "key_identifier": "k1", "key": pem, "is_current": true }] }).to_string();
        Self { key, published: Published(Arc::new(Mutex::new(Some(published))), Arc::default()) }
    }

    fn sign(&self, body: &str) -> String {
        STANDARD.encode(self.key.sign(&SystemRandom::new(), body.as_bytes()).unwrap())
    }
}

struct Api {
    keys: LeakedKeys<Published>,
    github: Github,
    database: TestDatabase,
}

impl Api {
    async fn start() -> Self {
        let (database, github) = (TestDatabase::start().await, Github::new());
        let keys = LeakedKeys { store: database.store(), github: Some(KeySetCache::new(github.published.clone())) };
        Self { keys, github, database }
    }

    async fn post(&self, path: &str, body: &str, headers: &[(&str, &str)]) -> (u16, Value) {
        self.post_at(NOW, path, body, headers).await
    }

    async fn post_at(&self, now: Timestamp, path: &str, body: &str, headers: &[(&str, &str)]) -> (u16, Value) {
        let mut all = json!({ "content-type": ["application/json"] });
        for (name, value) in headers {
            let values = all.as_object_mut().unwrap().entry(*name).or_insert(json!([])).as_array_mut().unwrap();
            values.push(json!(value));
        }
        let event = json!({
            "resource": path, "path": path, "httpMethod": "POST", "headers": {}, "multiValueHeaders": all,
            "queryStringParameters": null, "multiValueQueryStringParameters": null, "pathParameters": null,
            "stageVariables": null, "body": body, "isBase64Encoded": false,
            "requestContext": {
                "resourcePath": path, "httpMethod": "POST", "requestId": "request-1", "stage": "live",
                "identity": { "sourceIp": "192.0.2.7" },
            },
        });
        let request = lambda_http::request::from_str(&event.to_string()).unwrap();
        let response = match self.keys.handle(&request, now).await {
            Ok(response) => response,
            Err(problem) => problem.into_response(),
        };
        let body = serde_json::from_slice(response.body()).unwrap_or(Value::Null);
        (response.status().as_u16(), body)
    }

    async fn report(&self, key: &str) -> (u16, Value) {
        self.post("/v1/leaked-keys", &json!({ "key": key, "found_at": PLACE }).to_string(), &[]).await
    }

    async fn report_of_github(&self, body: &str) -> (u16, Value) {
        self.signed_report("k1", body, NOW).await
    }

    async fn signed_report(&self, identifier: &str, body: &str, now: Timestamp) -> (u16, Value) {
        let signature = self.github.sign(body);
        let headers = [("Github-Public-Key-Identifier", identifier), ("Github-Public-Key-Signature", &signature)];
        self.post_at(now, "/v1/leaked-keys/github", body, &headers).await
    }

    async fn status(&self, key: &ApiKey) -> KeyStatus {
        self.keys.store.find(key.id()).await.unwrap().unwrap().status
    }
}

async fn make(store: &Store, key: &ApiKey, change: impl FnOnce(&mut KeyRecord)) {
    let mut record = KeyRecord { created_at: NOW.plus(-100), ..record(key, "user-1") };
    change(&mut record);
    store.commit(&[Transition::creation(record)], None, None, &actor("user-1"), NOW).await.unwrap();
}

#[tokio::test]
async fn a_reported_key_is_revoked_and_its_event_says_where_found() {
    let api = Api::start().await;
    make(&api.keys.store, &key(1), |_| {}).await;
    assert_eq!(api.report(key(1).expose()).await, (202, Value::Null));
    let record = api.keys.store.find(key(1).id()).await.unwrap().unwrap();
    assert_eq!((record.status, record.revoked_at), (KeyStatus::Revoked, Some(NOW)));
    let dump = api.database.dump().await;
    let event = dump.lines().find(|line| line.contains("system:leaked-keys")).unwrap();
    for part in [PLACE, "system:leaked-keys", "192.0.2.7", "request-1"] {
        assert!(event.contains(part), "{event}");
    }
    assert!(!dump.contains(key(1).expose()));
}

#[tokio::test]
async fn reporting_reveals_nothing_and_revokes_only_whole_keys() {
    let api = Api::start().await;
    make(&api.keys.store, &key(1), |_| {}).await;
    let typo = key(1).expose().replace("vk_7", "vk_8");
    for text in ["", "vk_", "some_token", &typo, key(2).expose(), &format!("{} ", key(1).expose())] {
        assert_eq!(api.report(text).await, (202, Value::Null));
    }
    let record = api.keys.store.find(key(1).id()).await.unwrap().unwrap();
    assert_eq!((record.status, record.version), (KeyStatus::Active, 1));
    for _ in 0..2 {
        assert_eq!(api.report(key(1).expose()).await, (202, Value::Null));
        assert_eq!(api.status(&key(1)).await, KeyStatus::Revoked);
    }
    let dump = api.database.dump().await;
    assert_eq!(dump.matches("system:leaked-keys").count(), 1, "the second report changes nothing");
}

#[tokio::test]
async fn a_disabled_key_is_revoked_and_an_ended_one_stays_as_it_is() {
    for (change, expected) in [
        (
            Box::new(|record: &mut KeyRecord| record.status = KeyStatus::Disabled) as Box<dyn FnOnce(&mut KeyRecord)>,
            true,
        ),
        (Box::new(|record: &mut KeyRecord| record.expires_at = Some(NOW.plus(1))), true),
        (Box::new(|record: &mut KeyRecord| record.expires_at = Some(NOW)), false),
    ] {
        let api = Api::start().await;
        make(&api.keys.store, &key(1), change).await;
        assert_eq!(api.report(key(1).expose()).await.0, 202);
        assert_eq!(api.status(&key(1)).await == KeyStatus::Revoked, expected);
    }
}

#[tokio::test]
async fn a_report_that_is_not_well_formed_is_refused_and_not_repeated() {
    let api = Api::start().await;
    let key = key(1);
    make(&api.keys.store, &key, |_| {}).await;
    let text = key.expose();
    for (body, status, error) in [
        ("{".to_owned(), 400, "invalid_body"),
        (json!({}).to_string(), 422, "invalid_value"),
        (json!([text]).to_string(), 400, "invalid_body"),
        (json!({ "key": [text] }).to_string(), 400, "invalid_body"),
        (json!({ "key": text, "owner": "user-1" }).to_string(), 400, "invalid_body"),
        (json!({ "key": text, "found_at": "x".repeat(501) }).to_string(), 422, "invalid_value"),
        (json!({ "key": text, "found_at": "two\nlines" }).to_string(), 422, "invalid_value"),
        (json!({ "key": text, "found_at": "x\u{202e}gnp.exe" }).to_string(), 422, "invalid_value"),
        (json!({ "key": null }).to_string(), 400, "invalid_body"),
        (json!({ "keys": text }).to_string(), 400, "invalid_body"),
        (json!({ "keys": [{ "key": text }] }).to_string(), 400, "invalid_body"),
        (json!({ "keys": [] }).to_string(), 422, "invalid_value"),
        (json!({ "key": text, "keys": [text] }).to_string(), 422, "invalid_value"),
        (json!({ "key": text, "keys": [] }).to_string(), 422, "invalid_value"),
        (json!({ "keys": vec![text; 101] }).to_string(), 422, "invalid_value"),
        (json!({ "key": "x".repeat(20_000) }).to_string(), 413, "body_too_large"),
    ] {
        let (seen, problem) = api.post("/v1/leaked-keys", &body, &[]).await;
        assert_eq!((seen, problem["error"].as_str()), (status, Some(error)), "{body}");
        assert!(!problem.to_string().contains(text));
    }
    let longest = json!({ "key": "x", "found_at": "é".repeat(500) }).to_string();
    assert_eq!(api.post("/v1/leaked-keys", &longest, &[]).await.0, 202);
    assert_eq!(api.status(&key).await, KeyStatus::Active);
}

/// Of one owner, whose list of live keys every revocation changes.
#[tokio::test]
async fn a_report_revokes_up_to_100_keys_and_reveals_none() {
    let api = Api::start().await;
    let keys: Vec<_> = (0..100).map(numbered_key).collect();
    for key in &keys {
        make(&api.keys.store, key, |_| {}).await;
    }
    let mut texts: Vec<_> = keys.iter().map(|key| key.expose().to_owned()).collect();
    let longest = json!({ "keys": texts, "found_at": "\u{1f5dd}".repeat(500) }).to_string();
    assert_eq!(api.post("/v1/leaked-keys", &longest, &[]).await, (202, Value::Null));
    for key in &keys {
        assert_eq!(api.status(key).await, KeyStatus::Revoked);
    }
    // Ended keys, an unknown key and another text get the same response.
    texts.truncate(98);
    texts.extend([key(2).expose().to_owned(), "hunter2".to_owned()]);
    let mixed = json!({ "keys": texts, "found_at": PLACE }).to_string();
    assert_eq!(api.post("/v1/leaked-keys", &mixed, &[]).await, (202, Value::Null));
    assert_eq!(api.database.dump().await.matches("system:leaked-keys").count(), 100);
}

#[tokio::test]
async fn a_key_that_fails_doesnt_protect_the_others() {
    let mut api = Api::start().await;
    let store = api.database.store();
    make(&store, &key(1), |_| {}).await;
    api.keys.store = api.database.faulty_store();
    let body = json!({ "keys": [numbered_key(2).expose(), key(1).expose()] }).to_string();
    api.database.inject(InjectedFault::Garbage, 1);
    assert_eq!(api.post("/v1/leaked-keys", &body, &[]).await.0, 503);
    assert_eq!(store.find(key(1).id()).await.unwrap().unwrap().status, KeyStatus::Revoked);
}

#[tokio::test]
async fn signed_github_reports_revoke_keys_and_get_feedback() {
    let api = Api::start().await;
    make(&api.keys.store, &key(1), |_| {}).await;
    let body = json!([
        { "token": key(1).expose(), "type": "vega_key", "url": PLACE, "source": "content" },
        { "token": key(2).expose(), "type": "vega_key", "url": "", "source": "commit" },
        { "token": "some_token", "type": "vega_key", "url": "", "source": "commit" },
        { "token": key(1).expose(), "type": "vega_key", "url": "", "source": "gist_content", "a_new_member": 1 },
    ])
    .to_string();
    let label = |token: &str, label| json!({ "token_raw": token, "token_type": "vega_key", "label": label });
    let expected = json!([
        label(key(1).expose(), "true_positive"),
        label(key(2).expose(), "false_positive"),
        label("some_token", "false_positive"),
        label(key(1).expose(), "true_positive"),
    ]);
    assert_eq!(api.report_of_github(&body).await, (200, expected.clone()));
    assert_eq!(api.status(&key(1)).await, KeyStatus::Revoked);
    let dump = api.database.dump().await;
    assert!(dump.contains(PLACE) && dump.matches("system:leaked-keys").count() == 1);
    assert_eq!(api.report_of_github(&body).await, (200, expected), "a retry is told the same");
    assert_eq!(api.report_of_github("[]").await, (200, json!([])));
}

#[tokio::test]
async fn an_unsigned_github_report_revokes_and_reveals_nothing() {
    let api = Api::start().await;
    make(&api.keys.store, &key(1), |_| {}).await;
    let body = json!([{ "token": key(1).expose(), "type": "vega_key", "url": "", "source": "" }]).to_string();
    let (good, other) = (api.github.sign(&body), Github::new().sign(&body));
    let (identifier, signature) = ("Github-Public-Key-Identifier", "Github-Public-Key-Signature");
    for headers in [
        vec![],
        vec![(identifier, "k1")],
        vec![(signature, &*good)],
        vec![(identifier, "k2"), (signature, &good)],
        vec![(identifier, "k1"), (signature, &other)],
        vec![(identifier, "k1"), (signature, "")],
        vec![(identifier, "k1"), (signature, &good), (signature, &good)],
        vec![(identifier, "k1"), (identifier, "k2"), (signature, &good)],
    ] {
        let (status, problem) = api.post("/v1/leaked-keys/github", &body, &headers).await;
        assert_eq!((status, &problem["error"]), (400, &json!("invalid_signature")), "{headers:?}");
    }
    // signed, and changed on the way
    let changed =
        api.post("/v1/leaked-keys/github", &format!("{body} "), &[(identifier, "k1"), (signature, &good)]).await;
    assert_eq!(changed.0, 400);
    // signed, and not a list of matches
    assert_eq!(api.report_of_github("{}").await.1["error"], "invalid_body");
    let huge = " ".repeat(1024 * 1024 + 1);
    assert_eq!(api.report_of_github(&huge).await.0, 413);
    assert_eq!(api.status(&key(1)).await, KeyStatus::Active);
}

#[tokio::test]
async fn made_up_identifiers_cost_one_request_to_github_in_15_minutes() {
    let api = Api::start().await;
    let asked = || api.github.published.1.load(Ordering::SeqCst);
    for minute in 0..60 {
        assert_eq!(api.signed_report("made-up", "[]", NOW.plus(minute * 60)).await.0, 400);
        assert_eq!(asked(), usize::try_from(minute / 15).unwrap() + 1, "minute {minute}");
    }
    assert_eq!(api.signed_report("k1", "[]", NOW.plus(3600)).await.0, 200);
}

#[tokio::test]
async fn during_a_github_outage_known_signing_keys_still_work() {
    let api = Api::start().await;
    let at = |minute: i64| NOW.plus(minute * 60);
    assert_eq!(api.signed_report("k1", "[]", at(0)).await.0, 200);
    let document = api.github.published.0.lock().unwrap().take();
    for minute in 1..60 {
        assert_eq!(api.signed_report("made-up", "[]", at(minute)).await.0, 400, "minute {minute}");
        assert_eq!(api.signed_report("k1", "[]", at(minute)).await.0, 200, "minute {minute}");
    }
    // After an hour we don't know whether it is a new key of GitHub's: let it try again
    assert_eq!(api.signed_report("made-up", "[]", at(60)).await.0, 503);
    assert_eq!(api.signed_report("k1", "[]", at(60)).await.0, 200);
    *api.github.published.0.lock().unwrap() = document;
    assert_eq!(api.signed_report("made-up", "[]", at(75)).await.0, 400);
}

#[tokio::test]
async fn an_instance_started_without_github_retries_in_30_seconds() {
    let api = Api::start().await;
    let document = api.github.published.0.lock().unwrap().take();
    assert_eq!(api.signed_report("k1", "[]", NOW).await.0, 503);
    *api.github.published.0.lock().unwrap() = document;
    assert_eq!(api.signed_report("k1", "[]", NOW.plus(29)).await.0, 503);
    assert_eq!(api.signed_report("k1", "[]", NOW.plus(30)).await.0, 200);
}

/// Each read takes 0.3 s: one after the other, they would take 30.
#[tokio::test]
async fn a_report_of_many_matches_is_through_before_the_deadline() {
    let mut api = Api::start().await;
    let store = api.database.store();
    make(&store, &key(1), |_| {}).await;
    api.keys.store = api.database.faulty_store();
    let mut matches = vec![json!({ "token": key(2).expose(), "type": "vega_api_key", "url": PLACE }); 99];
    matches.push(json!({ "token": key(1).expose(), "type": "vega_api_key", "url": PLACE }));
    api.database.inject(InjectedFault::Lag, usize::MAX);
    let (status, feedback) = api.report_of_github(&json!(matches).to_string()).await;
    let labels: Vec<_> = feedback.as_array().unwrap().iter().map(|one| one["label"].as_str().unwrap()).collect();
    assert_eq!((status, labels.len(), labels[0], labels[99]), (200, 100, "false_positive", "true_positive"));
    assert_eq!(store.find(key(1).id()).await.unwrap().unwrap().status, KeyStatus::Revoked);
}

#[tokio::test]
async fn without_githubs_keys_reports_are_503_or_404_if_turned_off() {
    let mut api = Api::start().await;
    *api.github.published.0.lock().unwrap() = None;
    assert_eq!(api.report_of_github("[]").await.0, 503);
    api.keys.github = None;
    assert_eq!(api.report_of_github("[]").await.0, 404);
}

#[tokio::test]
async fn without_the_table_a_report_is_a_503_to_retry() {
    let api = Api::start().await;
    api.database.stop();
    assert_eq!(api.report(key(1).expose()).await.0, 503);
    assert_eq!(api.report("some_token").await.0, 202, "which anybody can tell offline");
}

#[test]
fn githubs_keys_are_taken_over_https_only() {
    let problems = |url: &str| {
        let lookup = |name: &str| match name {
            "VEGA_GITHUB_KEYS_URL" => Some(url.to_owned()),
            "VEGA_CORS_ALLOWED_ORIGIN" => None,
            _ => Some("text".into()),
        };
        load("test", lookup, Config::read).map_or_else(|error| error.0, |_| Vec::new())
    };
    for good in ["", "https://api.github.com/meta/public_keys/secret_scanning", "http://127.0.0.1:8612/keys"] {
        assert!(problems(good).is_empty(), "{good}");
    }
    for bad in ["http://api.github.com/keys", "api.github.com", "file:///keys"] {
        assert_eq!(problems(bad), ["VEGA_GITHUB_KEYS_URL: expected an https:// URL"]);
    }
}
