//! The whole decision: a REST REQUEST event in, and a policy, `Unauthorized` or a fault out. Keys come from a real
//! `DynamoDB` API, tokens are signed by another library than the one that verifies them.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use authorizer::{Authorizer, HttpAnswer, Refusal};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use proptest::prelude::*;
use serde_json::{Value, json};
use vega_auth::{
    ApiKey, Authenticator, DIGEST_VERSION, FetchKeySet, Groups, HmacSecret, KeyRecord, KeySecret, KeyStatus,
    SigningKeys, Timestamp, TokenVerifier, UserPool,
};
use vega_store::testing::{TestDatabase, Trouble};
use vega_store::{Actor, EventKind, Store};

const NOW: Timestamp = Timestamp(1_800_000_000);
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const RULES: &str = r#"{"rules":[{"route":"GET /v1/projects","groups":["user"]},{"route":"GET /v1/admin/*","groups":["root"]},{"route":"* /v1/x/*","groups":["user"]}],"scopes":{"x":["* /v1/x/*"]}}"#;
const ARN: &str = "arn:aws:execute-api:us-west-1:123456789012:abcdef1234/live/GET/v1/projects";
const ISSUER: &str = "https://cognito-idp.us-west-1.amazonaws.com/us-west-1_Test";
/// Made for these tests with `openssl genrsa`; it opens nothing.
const PEM: &str = include_str!("keys/test-only-rsa.pem");
const JWKS: &str = include_str!("keys/test-only-jwks.json");

/// An issuer whose key set a test can change or take away.
#[derive(Clone, Default)]
struct Issuer {
    jwks: Arc<Mutex<String>>,
    is_down: Arc<AtomicBool>,
    fetches: Arc<AtomicUsize>,
}

impl FetchKeySet for Issuer {
    async fn fetch(&self) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        if self.is_down.load(Ordering::SeqCst) {
            return Err("connection refused".into());
        }
        Ok(self.jwks.lock().unwrap().clone().into_bytes())
    }
}

struct Gateway {
    authorizer: Authorizer<Issuer, Store>,
    issuer: Issuer,
    database: TestDatabase,
}

impl Gateway {
    async fn custom() -> Self {
        let secret = HmacSecret::new_from_text(SECRET).unwrap();
        Self::new(TokenVerifier::Custom(secret), Issuer::default()).await
    }

    async fn cognito() -> Self {
        let issuer = Issuer { jwks: Arc::new(Mutex::new(JWKS.into())), ..Issuer::default() };
        let pool = UserPool::new("us-west-1", "us-west-1_Test", "client1").unwrap();
        Self::new(TokenVerifier::Cognito(pool, SigningKeys::new(issuer.clone())), issuer).await
    }

    async fn new(tokens: TokenVerifier<Issuer>, issuer: Issuer) -> Self {
        let database = TestDatabase::start().await;
        let callers = Authenticator { tokens, keys: database.store() };
        Self {
            authorizer: Authorizer {
                callers,
                rules: RULES.parse().unwrap(),
                http_answer: HttpAnswer::Policy,
                is_cached: false,
            },
            issuer,
            database,
        }
    }

    /// `allow`, `deny` or the refusal, and the code in the log.
    async fn decide(&self, token: &str) -> (String, String) {
        self.decide_event(event(&format!("Bearer {token}")), NOW, &[token]).await
    }

    async fn decide_at(&self, token: &str, now: Timestamp) -> (String, String) {
        self.decide_event(event(&format!("Bearer {token}")), now, &[token]).await
    }

    async fn decide_event(&self, event: Value, now: Timestamp, secrets: &[&str]) -> (String, String) {
        let (decision, line) = self.authorizer.decide(event, now).await;
        for secret in secrets.iter().filter(|secret| secret.len() > 20) {
            assert!(!line.to_string().contains(*secret), "a credential in the log");
        }
        let outcome = match decision {
            Ok(answer) => {
                let answer = serde_json::to_value(answer).unwrap();
                let statement = &answer["policyDocument"]["Statement"][0];
                let allowed =
                    statement["Effect"] == "Allow" && statement["Resource"].as_array().unwrap().contains(&json!(ARN));
                assert_eq!(line["outcome"], if allowed { "allow" } else { "deny" });
                format!("{}:{}", if allowed { "allow" } else { "deny" }, answer["context"]["id"].as_str().unwrap())
            }
            Err(refusal) => refusal.to_string(),
        };
        (outcome, line["code"].as_str().unwrap().to_owned())
    }

    async fn key(&self, change: impl FnOnce(&mut KeyRecord)) -> ApiKey {
        let key = ApiKey::new("7Gh2kQ9XbT4m".parse().unwrap(), &KeySecret::from_entropy(&mut [7; 32]));
        let mut record = KeyRecord {
            id: key.id(),
            owner: "ada".into(),
            owner_username: "ada".into(),
            digest: key.digest(),
            digest_version: DIGEST_VERSION,
            status: KeyStatus::Active,
            name: "ci".into(),
            description: String::new(),
            groups: Groups::known(["user"]),
            scopes: vec![],
            cidrs: vec![],
            created_at: NOW,
            expires_at: None,
            revoked_at: None,
            revoked_reason: None,
            rotated_from: None,
            rotated_to: None,
            version: 1,
            last_use: None,
        };
        change(&mut record);
        let actor =
            Actor { id: "ada".into(), username: "ada".into(), address: String::new(), request_id: String::new() };
        self.authorizer.callers.keys.create(&record, 10, &actor).await.unwrap();
        key
    }
}

fn event(authorization: &str) -> Value {
    json!({
        "type": "REQUEST", "methodArn": ARN, "resource": "/v1/projects", "path": "/v1/projects", "httpMethod": "GET",
        "headers": { "Authorization": authorization, "Host": "localhost" },
        "multiValueHeaders": { "Authorization": [authorization], "Host": ["localhost"] },
        "queryStringParameters": null, "pathParameters": null, "stageVariables": null,
        "requestContext": {
            "requestId": "r-1", "resourcePath": "/v1/projects", "httpMethod": "GET", "stage": "live",
            "identity": { "sourceIp": "192.0.2.1", "userAgent": "curl/8" }
        }
    })
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "ada", "username": "ada", "client_id": "client1", "token_use": "access",
        "iat": NOW.0 - 10, "exp": NOW.0 + 10, "cognito:groups": ["user"], "scope": "aws.cognito.signin.user.admin"
    })
}

fn custom_claims() -> Value {
    let mut claims = claims();
    claims["iss"] = json!("vega:custom");
    claims["client_id"] = json!("vega-debug");
    claims
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    match value {
        Value::Null => {
            claims.as_object_mut().unwrap().remove(name);
        }
        value => claims[name] = value,
    }
    claims
}

fn rs256(claims: &Value) -> String {
    rs256_with(json!({ "alg": "RS256", "kid": "test-1" }), &claims.to_string())
}

/// Signs any header over any claims with the issuer's key.
fn rs256_with(header: Value, claims: &str) -> String {
    signed(&header.to_string(), claims)
}

fn signed(header: &str, claims: &str) -> String {
    let input = format!("{}.{}", base64(header.as_bytes()), base64(claims.as_bytes()));
    let key = EncodingKey::from_rsa_pem(PEM.as_bytes()).unwrap();
    let signature = jsonwebtoken::crypto::sign(input.as_bytes(), &key, Algorithm::RS256).unwrap();
    format!("{input}.{signature}")
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

fn hs256(claims: &Value, secret: &str) -> String {
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

const UNAUTHORIZED: &str = "Unauthorized";

#[track_caller]
fn check(seen: (String, String), outcome: &str, code: &str) {
    assert_eq!((seen.0.as_str(), seen.1.as_str()), (outcome, code));
}

#[tokio::test]
async fn a_good_token_of_the_pool_gets_through_until_the_second_it_expires() {
    let gateway = Gateway::cognito().await;
    check(gateway.decide(&rs256(&claims())).await, "allow:ada", "ok");
    check(gateway.decide_at(&rs256(&claims()), NOW.plus(9)).await, "allow:ada", "ok");
    check(gateway.decide_at(&rs256(&claims()), NOW.plus(10)).await, UNAUTHORIZED, "expired");
}

#[tokio::test]
async fn every_claim_that_differs_from_a_good_one_is_refused() {
    let gateway = Gateway::cognito().await;
    for (name, value, code) in [
        ("iss", json!(format!("{ISSUER}/")), "issuer"),
        ("iss", json!("https://cognito-idp.us-west-1.amazonaws.com/us-west-1_Other"), "issuer"),
        ("iss", json!("https://cognito-idp.us-west-1.amazonaws.com/us-west-1_Tes"), "issuer"),
        ("iss", json!("https://cognito-idp.eu-west-1.amazonaws.com/us-west-1_Test"), "issuer"),
        ("iss", json!("vega:custom"), "issuer"),
        ("iss", Value::Null, "malformed_jwt"),
        ("client_id", json!("client2"), "client"),
        ("client_id", json!("CLIENT1"), "client"),
        ("client_id", json!(["client1"]), "malformed_jwt"),
        ("client_id", Value::Null, "malformed_jwt"),
        ("token_use", json!("id"), "token_use"),
        ("token_use", json!("refresh"), "token_use"),
        ("token_use", json!("Access"), "malformed_jwt"),
        ("token_use", Value::Null, "malformed_jwt"),
        ("exp", json!(NOW.0), "expired"),
        ("exp", json!(-1), "expired"),
        ("exp", json!(i64::MAX), "expired"),
        ("exp", json!((NOW.0 + 10).to_string()), "malformed_jwt"),
        ("exp", json!(1_900_000_000.5), "malformed_jwt"),
        ("exp", Value::Null, "malformed_jwt"),
        ("nbf", json!(NOW.0 + 31), "not_yet_valid"),
        ("iat", json!(NOW.0 + 31), "not_yet_valid"),
        ("iat", Value::Null, "malformed_jwt"),
        ("sub", json!(""), "subject"),
        ("sub", json!("x".repeat(600)), "subject"),
        ("sub", json!("a\nb"), "subject"),
        ("sub", Value::Null, "malformed_jwt"),
        ("username", json!(""), "subject"),
        ("cognito:groups", json!("user"), "malformed_jwt"),
    ] {
        check(gateway.decide(&rs256(&with(claims(), name, value))).await, UNAUTHORIZED, code);
    }
    let with_aud = with(with(claims(), "client_id", Value::Null), "aud", json!("client1"));
    check(gateway.decide(&rs256(&with_aud)).await, UNAUTHORIZED, "malformed_jwt");
    let overflow = claims().to_string().replace(&(NOW.0 + 10).to_string(), "1e400");
    check(
        gateway.decide(&rs256_with(json!({ "alg": "RS256", "kid": "test-1" }), &overflow)).await,
        UNAUTHORIZED,
        "malformed_jwt",
    );
    check(gateway.decide(&rs256(&with(claims(), "nbf", json!(NOW.0 + 30)))).await, "allow:ada", "ok");
}

#[tokio::test]
async fn a_group_counts_only_as_a_whole_name() {
    let gateway = Gateway::cognito().await;
    for groups in
        [json!(["root,user"]), json!(["User"]), json!(["\"user\""]), json!(["us\u{435}r"]), json!([]), Value::Null]
    {
        check(gateway.decide(&rs256(&with(claims(), "cognito:groups", groups))).await, "deny:ada", "forbidden");
    }
}

#[tokio::test]
async fn only_rs256_with_a_known_key_and_a_plain_header_is_taken() {
    let gateway = Gateway::cognito().await;
    let good = claims().to_string();
    for (header, code) in [
        (json!({ "alg": "none", "kid": "test-1" }), "algorithm"),
        (json!({ "alg": "None", "kid": "test-1" }), "algorithm"),
        (json!({ "alg": "rs256", "kid": "test-1" }), "algorithm"),
        (json!({ "alg": "HS256", "kid": "test-1" }), "algorithm"),
        (json!({ "alg": "PS256", "kid": "test-1" }), "algorithm"),
        (json!({ "alg": "ES256", "kid": "test-1" }), "algorithm"),
        (json!({ "alg": "RS512", "kid": "test-1" }), "algorithm"),
        (json!({ "kid": "test-1" }), "algorithm"),
        (json!({ "alg": "RS256" }), "unknown_signing_key"),
        (json!({ "alg": "RS256", "kid": "" }), "unknown_signing_key"),
        (json!({ "alg": "RS256", "kid": "../test-1" }), "unknown_signing_key"),
        (json!({ "alg": "RS256", "kid": "x' OR '1'='1" }), "unknown_signing_key"),
        (json!({ "alg": "RS256", "kid": "x".repeat(2000) }), "unknown_signing_key"),
        (json!({ "alg": "RS256", "kid": ["test-1"] }), "malformed_jwt"),
        (json!({ "alg": "RS256", "kid": "test-1", "crit": ["exp"] }), "header_member"),
        (json!({ "alg": "RS256", "kid": "test-1", "crit": null }), "header_member"),
        (json!({ "alg": "RS256", "kid": "test-1", "b64": false }), "header_member"),
        (json!({ "alg": "RS256", "kid": "test-1", "zip": "DEF" }), "header_member"),
        (json!({ "alg": "RS256", "kid": "test-1", "jwk": {} }), "header_member"),
        (json!({ "alg": "RS256", "kid": "test-1", "jku": "https://evil.example" }), "header_member"),
        (json!({ "alg": "RS256", "kid": "test-1", "x5u": "https://evil.example" }), "header_member"),
        (json!({ "alg": "RS256", "kid": "test-1", "x5c": [] }), "header_member"),
        (json!({ "alg": "RS256", "kid": "test-1", "typ": "JWE" }), "header_member"),
    ] {
        check(gateway.decide(&rs256_with(header, &good)).await, UNAUTHORIZED, code);
    }
    check(
        gateway.decide(&rs256_with(json!({ "alg": "RS256", "kid": "test-1", "typ": "JWT" }), &good)).await,
        "allow:ada",
        "ok",
    );
    // the public key, used as the secret of an HMAC
    check(gateway.decide(&hs256(&claims(), JWKS)).await, UNAUTHORIZED, "algorithm");
}

#[tokio::test]
async fn a_member_that_stands_twice_is_refused() {
    let gateway = Gateway::cognito().await;
    let header = r#"{"alg":"RS256","kid":"test-1"}"#;
    let doubled = claims().to_string().replacen('{', r#"{"sub":"root","#, 1);
    check(gateway.decide(&signed(header, &doubled)).await, UNAUTHORIZED, "malformed_jwt");
    let unknown = claims().to_string().replacen('{', r#"{"x":1,"x":2,"#, 1);
    check(gateway.decide(&signed(header, &unknown)).await, UNAUTHORIZED, "malformed_jwt");
    let header = r#"{"alg":"none","alg":"RS256","kid":"test-1"}"#;
    check(gateway.decide(&signed(header, &claims().to_string())).await, UNAUTHORIZED, "malformed_jwt");
    check(gateway.decide(&signed(r#"["RS256"]"#, &claims().to_string())).await, UNAUTHORIZED, "malformed_jwt");
}

#[tokio::test]
async fn a_token_that_was_touched_is_refused() {
    let gateway = Gateway::cognito().await;
    let good = rs256(&claims());
    let [header, body, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let forged = base64(with(claims(), "sub", json!("root")).to_string().as_bytes());
    for (token, code) in [
        (format!("{header}.{forged}.{signature}"), "signature"),
        (format!("{header}.{body}."), "signature"),
        (format!("{header}.{body}.{}", base64(&[0; 256])), "signature"),
        (format!("{header}.{body}.{signature}="), "malformed_jwt"),
        (format!("{header}.{body}.{}", &signature[..signature.len() - 1]), "malformed_jwt"),
        (format!("{header}.{body}.{}", signature.replace('-', "+").replace('_', "/") + "+"), "malformed_jwt"),
        (format!(".{body}.{signature}"), "malformed_jwt"),
        ("..".to_owned(), "malformed_jwt"),
        (format!("{good}.x"), "unknown_form"),
        (format!("{header}.{body}"), "unknown_form"),
    ] {
        check(gateway.decide(&token).await, UNAUTHORIZED, code);
    }
}

#[tokio::test]
async fn no_single_changed_character_of_a_good_token_or_key_gets_through() {
    let gateway = Gateway::custom().await;
    let key = gateway.key(|_| {}).await;
    for good in [hs256(&custom_claims(), SECRET), key.expose().to_owned()] {
        check(gateway.decide(&good).await, "allow:ada", "ok");
        for at in 0..good.len() {
            for replacement in ["", "A", "B", "z", "0", "_", "-", ".", "=", "+", " ", "\u{430}"] {
                let mut changed = good.clone();
                changed.replace_range(at..=at, replacement);
                if changed != good {
                    assert_eq!(gateway.decide(&changed).await.0, UNAUTHORIZED, "{at} {replacement:?}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever API Gateway, or somebody in its place, may send: no panic, no allow, and an answer at once.
    #[test]
    fn no_made_up_event_gets_through_or_makes_it_panic(event in made_up_event()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (decision, line) = runtime.block_on(authorizer_without_keys().decide(event, NOW));
        prop_assert!(decision.is_err());
        prop_assert!(line["outcome"] == "reject" || line["outcome"] == "fault");
    }

    #[test]
    fn no_text_in_the_place_of_a_token_gets_through_or_makes_it_panic(token in "(vk_)?[ -~]{0,300}|[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (decision, _) = runtime.block_on(authorizer_without_keys().decide(event(&format!("Bearer {token}")), NOW));
        prop_assert!(decision.is_err());
    }

    /// JSON of any shape in the place of header and claims, rightly signed.
    #[test]
    fn no_signed_json_of_another_shape_gets_through_or_makes_it_panic(header in json_value(), claims in json_value()) {
        let input = format!("{}.{}", base64(header.to_string().as_bytes()), base64(claims.to_string().as_bytes()));
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let signature = jsonwebtoken::crypto::sign(input.as_bytes(), &key, Algorithm::HS256).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let event = event(&format!("Bearer {input}.{signature}"));
        prop_assert!(runtime.block_on(authorizer_without_keys().decide(event, NOW)).0.is_err());
    }
}

/// A store in which there is nothing.
struct NoKeys;

impl vega_auth::FindKey for NoKeys {
    async fn find(&self, _: vega_auth::KeyId) -> Result<Option<KeyRecord>, vega_auth::Fault> {
        Ok(None)
    }
}

impl authorizer::NoteUse for NoKeys {
    async fn note_use(&self, _: vega_auth::KeyId, _: &vega_auth::LastUse) -> Result<(), vega_auth::Fault> {
        Ok(())
    }
}

fn authorizer_without_keys() -> Authorizer<Issuer, NoKeys> {
    let tokens = TokenVerifier::Custom(HmacSecret::new_from_text(SECRET).unwrap());
    let callers = Authenticator { tokens, keys: NoKeys };
    Authorizer { callers, rules: RULES.parse().unwrap(), http_answer: HttpAnswer::Policy, is_cached: false }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(vec![
            "HS256",
            "none",
            "access",
            "vega:custom",
            "vega-debug",
            "REQUEST",
            "TOKEN",
            "2.0",
            ARN
        ])
        .prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    let names = prop::sample::select(vec![
        "alg",
        "kid",
        "typ",
        "crit",
        "iss",
        "sub",
        "username",
        "client_id",
        "token_use",
        "exp",
        "iat",
        "x",
    ]);
    leaf.prop_recursive(4, 32, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::hash_map(names.clone().prop_map(str::to_owned), inner, 0..8)
                .prop_map(|members| Value::from(members.into_iter().collect::<serde_json::Map<_, _>>())),
        ]
    })
}

fn made_up_event() -> impl Strategy<Value = Value> {
    let names = vec![
        "type",
        "version",
        "methodArn",
        "routeArn",
        "authorizationToken",
        "headers",
        "multiValueHeaders",
        "requestContext",
        "queryStringParameters",
        "identitySource",
    ];
    prop::collection::hash_map(prop::sample::select(names).prop_map(str::to_owned), json_value(), 0..8)
        .prop_map(|members| Value::from(members.into_iter().collect::<serde_json::Map<_, _>>()))
}

#[tokio::test]
async fn the_custom_provider_takes_its_own_access_tokens_and_no_others() {
    let gateway = Gateway::custom().await;
    check(gateway.decide(&hs256(&custom_claims(), SECRET)).await, "allow:ada", "ok");
    check(
        gateway.decide(&hs256(&custom_claims(), "another secret of thirty-two bytes")).await,
        UNAUTHORIZED,
        "signature",
    );
    for (name, value, code) in [
        ("token_use", json!("refresh"), "token_use"),
        ("iss", json!(ISSUER), "issuer"),
        ("client_id", json!("client1"), "client"),
        ("exp", json!(NOW.0), "expired"),
    ] {
        check(gateway.decide(&hs256(&with(custom_claims(), name, value), SECRET)).await, UNAUTHORIZED, code);
    }
    check(gateway.decide(&rs256(&custom_claims())).await, UNAUTHORIZED, "algorithm");
}

#[tokio::test]
async fn a_good_key_gets_through_and_its_use_is_noted() {
    let gateway = Gateway::custom().await;
    let key = gateway.key(|_| {}).await;
    check(gateway.decide(key.expose()).await, "allow:ada", "ok");
    let dump = gateway.database.dump().await;
    assert!(dump.contains("192.0.2.1") && dump.contains("curl/8"), "{dump}");
}

#[tokio::test]
async fn a_key_is_refused_for_each_reason_there_is() {
    type Case = (fn(&mut KeyRecord), &'static str);
    let cases: [Case; 5] = [
        (|record| record.expires_at = Some(NOW), "key_expired"),
        (|record| record.status = KeyStatus::Disabled, "key_disabled"),
        (|record| record.status = KeyStatus::Revoked, "key_revoked"),
        (|record| record.cidrs = vec!["198.51.100.0/24".parse().unwrap()], "address_not_allowed"),
        (
            |record| record.digest = ApiKey::new(record.id, &KeySecret::from_entropy(&mut [8; 32])).digest(),
            "wrong_secret",
        ),
    ];
    for (change, code) in cases {
        let gateway = Gateway::custom().await;
        let key = gateway.key(change).await;
        check(gateway.decide(key.expose()).await, UNAUTHORIZED, code);
    }
    let gateway = Gateway::custom().await;
    let key = gateway.key(|_| {}).await;
    let unknown = ApiKey::new("000000000000".parse().unwrap(), &KeySecret::from_entropy(&mut [7; 32]));
    check(gateway.decide(unknown.expose()).await, UNAUTHORIZED, "unknown_key");
    let changed = key.expose().replace("Gh2", "gh2");
    check(gateway.decide(&changed).await, UNAUTHORIZED, "checksum");
}

#[tokio::test]
async fn a_key_with_scopes_may_call_what_one_of_them_has_and_the_log_says_what_is_missing() {
    for (scopes, is_cached, outcome, code, told) in [
        (&["read"][..], false, "allow:ada", "ok", "forbidden"),
        (&["x", "read"], false, "allow:ada", "ok", "forbidden"),
        (&["x"], false, "deny:ada", "insufficient_scope", "insufficient_scope"),
        (&["gone"], false, "deny:ada", "insufficient_scope", "insufficient_scope"),
        // a reused answer meets other routes: it tells what is true of each
        (&["x"], true, "deny:ada", "insufficient_scope", "forbidden"),
    ] {
        let mut gateway = Gateway::custom().await;
        gateway.authorizer.is_cached = is_cached;
        let key = gateway.key(|record| record.scopes = scopes.iter().map(|name| name.parse().unwrap()).collect()).await;
        check(gateway.decide(key.expose()).await, outcome, code);
        let answer = gateway.authorizer.decide(event(&format!("Bearer {}", key.expose())), NOW).await.0.unwrap();
        let answer = serde_json::to_value(answer).unwrap();
        assert_eq!(
            (&answer["context"]["denied_as"], &answer["context"]["scopes"]),
            (&json!(told), &json!(scopes.join(",")))
        );
    }
    // a group is missing, whatever the scopes
    let gateway = Gateway::custom().await;
    let key = gateway
        .key(|record| {
            record.scopes = vec!["read".parse().unwrap()];
            record.groups = Groups::NONE;
        })
        .await;
    check(gateway.decide(key.expose()).await, "deny:ada", "forbidden");
}

#[tokio::test]
async fn a_key_with_networks_is_refused_from_other_addresses_and_where_none_is_told() {
    let gateway = Gateway::custom().await;
    let networks = ["192.0.2.0/30", "2001:db8::/32"];
    let key = gateway.key(|record| record.cidrs = networks.map(|text| text.parse().unwrap()).to_vec()).await;
    let token = format!("Bearer {}", key.expose());
    let from = |address: Value| {
        let mut event = event(&token);
        event["requestContext"]["identity"]["sourceIp"] = address;
        // what a client can write counts for nothing
        event["headers"]["X-Forwarded-For"] = json!("192.0.2.1");
        event["multiValueHeaders"]["X-Forwarded-For"] = json!(["192.0.2.1"]);
        event
    };
    for (address, outcome, code) in [
        (json!("192.0.2.3"), "allow:ada", "ok"),
        (json!("::ffff:192.0.2.3"), "allow:ada", "ok"),
        (json!("2001:db8::7"), "allow:ada", "ok"),
        (json!("192.0.2.4"), UNAUTHORIZED, "address_not_allowed"),
        (json!("2001:db9::7"), UNAUTHORIZED, "address_not_allowed"),
        (json!("192.0.2.3, 192.0.2.4"), UNAUTHORIZED, "address_not_allowed"),
        (json!("192.0.2.3:443"), UNAUTHORIZED, "address_not_allowed"),
        (json!(""), UNAUTHORIZED, "address_not_allowed"),
        (Value::Null, UNAUTHORIZED, "address_not_allowed"),
    ] {
        check(gateway.decide_event(from(address), NOW, &[key.expose()]).await, outcome, code);
    }
    let [without_address, http] = other_forms(&token);
    check(gateway.decide_event(without_address, NOW, &[]).await, UNAUTHORIZED, "address_not_allowed");
    check(gateway.decide_event(http.clone(), NOW, &[]).await, "allow:ada", "ok");
    let answer = serde_json::to_value(gateway.authorizer.decide(http.clone(), NOW).await.0.unwrap()).unwrap();
    let condition = json!({ "IpAddress": { "aws:SourceIp": networks } });
    assert_eq!(answer["policyDocument"]["Statement"][0]["Condition"], condition);
    // a simple answer can't say for which addresses it holds
    let mut gateway = gateway;
    gateway.authorizer.http_answer = HttpAnswer::Simple;
    check(gateway.decide_event(http, NOW, &[]).await, UNAUTHORIZED, "address_not_allowed");
}

#[tokio::test]
async fn a_key_whose_restrictions_cannot_be_read_is_a_fault_and_never_an_allow() {
    for attribute in ["scopes", "cidrs"] {
        let gateway = Gateway::custom().await;
        let key = gateway.key(|_| {}).await;
        gateway.database.garble(key.id(), attribute).await;
        check(gateway.decide(key.expose()).await, "temporarily unavailable", "record_unreadable");
    }
}

#[tokio::test]
async fn a_revoked_key_fails_on_the_next_request() {
    let gateway = Gateway::custom().await;
    let key = gateway.key(|_| {}).await;
    check(gateway.decide(key.expose()).await, "allow:ada", "ok");
    let store = gateway.database.store();
    let record = vega_auth::FindKey::find(&store, key.id()).await.unwrap().unwrap();
    let actor = Actor { id: "ada".into(), username: "ada".into(), address: String::new(), request_id: String::new() };
    store.revoke(&record, EventKind::Revoked, None, &actor, NOW).await.unwrap();
    check(gateway.decide(key.expose()).await, UNAUTHORIZED, "key_revoked");
}

#[tokio::test]
async fn a_database_that_is_gone_is_a_fault_for_keys_and_nothing_to_tokens() {
    let gateway = Gateway::custom().await;
    let key = gateway.key(|_| {}).await;
    gateway.database.stop();
    check(gateway.decide(key.expose()).await, "temporarily unavailable", "store_unavailable");
    check(gateway.decide(&hs256(&custom_claims(), SECRET)).await, "allow:ada", "ok");
}

#[tokio::test]
async fn no_trouble_with_the_database_lets_anybody_in_or_takes_long_and_it_is_over_when_it_is_over() {
    for trouble in Trouble::ALL {
        let mut gateway = Gateway::custom().await;
        let key = gateway.key(|_| {}).await;
        gateway.authorizer.callers.keys = gateway.database.troubled_store();
        gateway.database.trouble(Some((trouble, usize::MAX)));
        let started = tokio::time::Instant::now();
        check(gateway.decide(key.expose()).await, "temporarily unavailable", "store_unavailable");
        assert!(started.elapsed() < Duration::from_secs(3), "{trouble:?}: {:?}", started.elapsed());
        assert!(gateway.database.requests() <= 3, "{trouble:?}: {} tries", gateway.database.requests());
        check(gateway.decide(&hs256(&custom_claims(), SECRET)).await, "allow:ada", "ok");
        gateway.database.trouble(None);
        check(gateway.decide(key.expose()).await, "allow:ada", "ok");
    }
}

#[tokio::test]
async fn a_passing_trouble_is_not_noticed() {
    for trouble in [Trouble::Drops, Trouble::Throttles, Trouble::Fails, Trouble::Hangs] {
        let mut gateway = Gateway::custom().await;
        let key = gateway.key(|_| {}).await;
        gateway.authorizer.callers.keys = gateway.database.troubled_store();
        gateway.database.trouble(Some((trouble, 1)));
        check(gateway.decide(key.expose()).await, "allow:ada", "ok");
    }
}

#[tokio::test]
async fn an_issuer_that_is_down_harms_nobody_whose_key_is_known_and_recovers_by_itself() {
    let gateway = Gateway::cognito().await;
    gateway.issuer.is_down.store(true, Ordering::SeqCst);
    check(gateway.decide(&rs256(&claims())).await, "temporarily unavailable", "key_set_unavailable");
    gateway.issuer.is_down.store(false, Ordering::SeqCst);
    let later =
        |seconds: i64| with(with(claims(), "exp", json!(NOW.0 + seconds + 10)), "iat", json!(NOW.0 + seconds - 1));
    check(gateway.decide_at(&rs256(&later(29)), NOW.plus(29)).await, "temporarily unavailable", "key_set_unavailable");
    check(gateway.decide_at(&rs256(&later(30)), NOW.plus(30)).await, "allow:ada", "ok");
    gateway.issuer.is_down.store(true, Ordering::SeqCst);
    check(gateway.decide_at(&rs256(&later(7200)), NOW.plus(7200)).await, "allow:ada", "ok");
    // a day without the issuer: we don't know any more
    check(
        gateway.decide_at(&rs256(&later(86_430)), NOW.plus(86_430)).await,
        "temporarily unavailable",
        "key_set_unavailable",
    );
}

#[tokio::test]
async fn ten_thousand_made_up_kids_cost_one_fetch_a_cool_down() {
    let gateway = Gateway::cognito().await;
    check(gateway.decide(&rs256(&claims())).await, "allow:ada", "ok");
    let [_, body, signature] = rs256(&claims()).split('.').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap();
    for number in 0..10_000 {
        let header = base64(format!(r#"{{"alg":"RS256","kid":"made-up-{number}"}}"#).as_bytes());
        let seen = gateway.decide_at(&format!("{header}.{body}.{signature}"), NOW.plus(1 + number / 5000)).await;
        check(seen, UNAUTHORIZED, "unknown_signing_key");
    }
    assert_eq!(gateway.issuer.fetches.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_key_that_the_issuer_removed_is_trusted_for_15_minutes_at_most() {
    let gateway = Gateway::cognito().await;
    check(gateway.decide(&rs256(&claims())).await, "allow:ada", "ok");
    *gateway.issuer.jwks.lock().unwrap() = JWKS.replace("test-1", "test-2");
    let token = rs256(&with(claims(), "exp", json!(NOW.0 + 3600)));
    check(gateway.decide_at(&token, NOW.plus(899)).await, "allow:ada", "ok");
    check(gateway.decide_at(&token, NOW.plus(900)).await, UNAUTHORIZED, "unknown_signing_key");
}

#[tokio::test]
async fn a_key_set_that_is_broken_replaces_nothing_and_a_key_that_cannot_verify_is_skipped() {
    let gateway = Gateway::cognito().await;
    check(gateway.decide(&rs256(&claims())).await, "allow:ada", "ok");
    let token = rs256(&with(claims(), "exp", json!(NOW.0 + 3600)));
    for broken in ["", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"kid":"test-1"}]}"#] {
        *gateway.issuer.jwks.lock().unwrap() = broken.into();
        check(gateway.decide_at(&token, NOW.plus(1000)).await, "allow:ada", "ok");
    }
    let jwk: Value = serde_json::from_str::<Value>(JWKS).unwrap()["keys"][0].clone();
    for (name, value) in [
        ("use", json!("enc")),
        ("alg", json!("RS512")),
        ("kty", json!("EC")),
        ("key_ops", json!(["encrypt"])),
        ("d", json!("AQAB")),
        ("e", json!("Aw")),
        ("n", json!(base64(&[0xff; 128]))),
    ] {
        let gateway = Gateway::cognito().await;
        *gateway.issuer.jwks.lock().unwrap() = json!({ "keys": [with(jwk.clone(), name, value)] }).to_string();
        check(gateway.decide(&rs256(&claims())).await, "temporarily unavailable", "key_set_unavailable");
    }
    let gateway = Gateway::cognito().await;
    *gateway.issuer.jwks.lock().unwrap() =
        json!({ "keys": [jwk.clone(), jwk, { "kty": "EC", "kid": "ec" }] }).to_string();
    check(gateway.decide(&rs256(&claims())).await, "temporarily unavailable", "key_set_unavailable");
}

#[tokio::test]
async fn a_credential_that_is_missing_doubled_or_in_the_query_is_refused() {
    let gateway = Gateway::custom().await;
    let good = hs256(&custom_claims(), SECRET);
    let mut none = event("");
    none["headers"] = json!({});
    none["multiValueHeaders"] = json!({});
    check(gateway.decide_event(none, NOW, &[]).await, UNAUTHORIZED, "no_credential");
    check(gateway.decide_event(event(""), NOW, &[]).await, UNAUTHORIZED, "no_credential");
    check(gateway.decide_event(event("Basic Zm9v"), NOW, &[]).await, UNAUTHORIZED, "not_bearer");
    check(
        gateway.decide_event(event(&format!("Bearer {}", "x".repeat(1_000_000))), NOW, &[]).await,
        UNAUTHORIZED,
        "too_long",
    );
    let mut doubled = event(&format!("Bearer {good}"));
    doubled["multiValueHeaders"]["authorization"] = json!([format!("Bearer {good}")]);
    check(gateway.decide_event(doubled, NOW, &[&good]).await, UNAUTHORIZED, "many_credentials");
    let mut query = event(&format!("Bearer {good}"));
    query["queryStringParameters"] = json!({ "access_token": good });
    check(gateway.decide_event(query, NOW, &[&good]).await, UNAUTHORIZED, "credential_in_query");
}

#[tokio::test]
async fn an_event_of_another_kind_is_a_fault_and_never_an_allow() {
    let gateway = Gateway::custom().await;
    let good = format!("Bearer {}", hs256(&custom_claims(), SECRET));
    for (name, value) in [
        ("type", json!("TOKEN")),
        ("version", json!("1.0")),
        ("type", Value::Null),
        ("methodArn", Value::Null),
        ("methodArn", json!("arn:aws:execute-api:us-west-1:1:*/live/GET/x")),
    ] {
        let seen = gateway.decide_event(with(event(&good), name, value), NOW, &[&good]).await;
        check(seen, "temporarily unavailable", "event_unknown");
    }
    check(gateway.decide_event(json!([1]), NOW, &[]).await, "temporarily unavailable", "event_unreadable");
    check(gateway.decide_event(json!({ "headers": 7 }), NOW, &[]).await, "temporarily unavailable", "event_unreadable");
}

/// The same call as [`event`], in the other forms.
fn other_forms(authorization: &str) -> [Value; 2] {
    [
        json!({ "type": "TOKEN", "methodArn": ARN, "authorizationToken": authorization }),
        json!({
            "version": "2.0", "type": "REQUEST", "routeArn": ARN, "identitySource": [authorization],
            "routeKey": "GET /v1/projects", "rawPath": "/v1/projects", "rawQueryString": "", "cookies": [],
            "headers": { "authorization": authorization, "host": "localhost" },
            "requestContext": {
                "accountId": "123456789012", "apiId": "abcdef1234", "requestId": "r-1", "routeKey": "GET /v1/projects",
                "stage": "live", "http": { "method": "GET", "path": "/v1/projects", "sourceIp": "192.0.2.1", "userAgent": "curl/8" }
            }
        }),
    ]
}

#[tokio::test]
async fn every_form_of_event_is_decided_alike() {
    let gateway = Gateway::cognito().await;
    let (good, expired) = (rs256(&claims()), rs256(&with(claims(), "exp", json!(NOW.0))));
    let stranger = rs256(&with(claims(), "cognito:groups", json!([])));
    for (token, outcome, code) in
        [(&good, "allow:ada", "ok"), (&expired, UNAUTHORIZED, "expired"), (&stranger, "deny:ada", "forbidden")]
    {
        for event in other_forms(&format!("Bearer {token}")) {
            check(gateway.decide_event(event, NOW, &[token]).await, outcome, code);
        }
    }
    for event in other_forms("") {
        check(gateway.decide_event(event, NOW, &[]).await, UNAUTHORIZED, "no_credential");
    }
    // two headers, as an HTTP API joins them
    for event in other_forms(&format!("Bearer {good},Bearer {good}")) {
        check(gateway.decide_event(event, NOW, &[&good]).await, UNAUTHORIZED, "not_bearer");
    }
}

#[tokio::test]
async fn an_http_api_gets_the_simple_answer_where_it_is_set_to_expect_it() {
    let mut gateway = Gateway::cognito().await;
    gateway.authorizer.http_answer = HttpAnswer::Simple;
    for (groups, expected) in [(json!(["user"]), true), (json!([]), false)] {
        let [_, event] = other_forms(&format!("Bearer {}", rs256(&with(claims(), "cognito:groups", groups))));
        let answer = serde_json::to_value(gateway.authorizer.decide(event, NOW).await.0.unwrap()).unwrap();
        assert_eq!((&answer["isAuthorized"], &answer["context"]["id"]), (&json!(expected), &json!("ada")));
        assert_eq!(answer.as_object().unwrap().len(), 2);
    }
    // the other forms have but one answer
    let answer = gateway.authorizer.decide(event(&format!("Bearer {}", rs256(&claims()))), NOW).await.0.unwrap();
    assert!(serde_json::to_value(answer).unwrap()["policyDocument"].is_object());
}

#[tokio::test]
async fn a_web_socket_may_connect_where_a_rule_says_so() {
    let mut gateway = Gateway::cognito().await;
    gateway.authorizer.rules = r#"{"rules":[{"route":"$connect","groups":["user"]}]}"#.parse().unwrap();
    let arn = "arn:aws:execute-api:us-west-1:123456789012:abcdef1234/live/$connect";
    for (groups, effect, resource) in
        [(json!(["user"]), "Allow", arn.to_owned()), (json!([]), "Deny", arn.replace("$connect", "*"))]
    {
        let mut connect = event(&format!("Bearer {}", rs256(&with(claims(), "cognito:groups", groups))));
        connect["methodArn"] = json!(arn);
        connect["requestContext"] = json!({
            "requestId": "r-1", "routeKey": "$connect", "eventType": "CONNECT", "connectionId": "c", "stage": "live",
            "identity": { "sourceIp": "192.0.2.1" }
        });
        let answer = serde_json::to_value(gateway.authorizer.decide(connect, NOW).await.0.unwrap()).unwrap();
        let statement = &answer["policyDocument"]["Statement"][0];
        assert_eq!((&statement["Effect"], &statement["Resource"]), (&json!(effect), &json!([resource])));
    }
}

#[test]
fn api_gateway_needs_the_word_unauthorized_exactly() {
    assert_eq!(Refusal::Unauthorized.to_string(), "Unauthorized");
    assert!(!Refusal::Unavailable.to_string().contains("Unauthorized"));
}
