//! The whole decision, from an event to a policy, `Unauthorized` or a fault. Keys come from a real `DynamoDB` API, key sets
//! from a real HTTP server, and tokens are signed by a different library than the one that verifies them.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

mod arbitrary;
mod sources;
mod vectors;

use std::time::Duration;

use authorizer::{Authorizer, HttpApiResponse, Policies};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use vega_auth::{
    ApiKey, Authenticator, Groups, HmacSecret, KeyRecord, KeySecret, KeyStatus, Timestamp, TokenSource, TokenVerifier,
    UserPool,
};
use vega_https_client::HttpKeySet;
use vega_https_client::HttpsClient;
use vega_key_table::KeyReader;
use vega_testing::vectors::{API_KEY, KEY_SET, Kind, POOL, SECRET};
use vega_testing::{InjectedFault, Reply, TestDatabase, TestServer, record};

const NOW: Timestamp = vega_testing::NOW;
const RULES: &str = r#"{"rules":[{"route":"GET /v1/projects","groups":["user"]},{"route":"GET /v1/admin/*","groups":["root"]},{"route":"* /v1/x/*","groups":["user"]}],"scopes":{"x":["* /v1/x/*"]}}"#;
const ARN: &str = "arn:aws:execute-api:us-west-1:123456789012:abcdef1234/live/GET/v1/projects";
const ISSUER_KEY: &[u8] = include_bytes!("../../../../tests/vectors/keys/issuer-1.pem");

struct Gateway {
    authorizer: Authorizer<HttpKeySet, KeyReader>,
    issuer: TestServer,
    database: TestDatabase,
}

impl Gateway {
    async fn custom() -> Self {
        Self::new(Kind::Custom).await
    }

    async fn cognito() -> Self {
        Self::new(Kind::Cognito).await
    }

    async fn new(kind: Kind) -> Self {
        let issuer = TestServer::start(Reply::ok(KEY_SET)).await;
        let tokens = if kind == Kind::Cognito {
            cognito_tokens(&issuer, None)
        } else {
            TokenVerifier::Custom(HmacSecret::new_from_text(SECRET).unwrap())
        };
        let database = TestDatabase::start().await;
        let authenticator = Authenticator { tokens, keys: database.reader() };
        Self {
            authorizer: Authorizer {
                authenticator,
                policies: Policies::new(RULES.parse().unwrap()),
                http_api_response: HttpApiResponse::Policy,
                gateway_caches: false,
            },
            issuer,
            database,
        }
    }

    /// `allow:<id>`, `deny:<id>` or the refusal, and the code in the log.
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
            Ok(response) => {
                let response = serde_json::to_value(response).unwrap();
                let statement = &response["policyDocument"]["Statement"][0];
                let allowed =
                    statement["Effect"] == "Allow" && statement["Resource"].as_array().unwrap().contains(&json!(ARN));
                assert_eq!(line.outcome, if allowed { "allow" } else { "deny" });
                format!("{}:{}", if allowed { "allow" } else { "deny" }, response["context"]["id"].as_str().unwrap())
            }
            Err(refusal) => refusal.to_string(),
        };
        (outcome, line.code.into_owned())
    }

    async fn key(&self, change: impl FnOnce(&mut KeyRecord)) -> ApiKey {
        let key: ApiKey = API_KEY.parse().unwrap();
        let mut record = record(&key, "ada");
        change(&mut record);
        self.database.create(&record).await;
        key
    }
}

fn own_pool() -> UserPool {
    let [region, pool_id, client_id] = POOL;
    UserPool::new(region, pool_id, client_id).unwrap()
}

/// Verifies tokens of these sources, with key sets that haven't been fetched yet.
fn cognito_tokens(issuer: &TestServer, sources: Option<&str>) -> TokenVerifier<HttpKeySet> {
    tokens_of_issuers(issuer, issuer, sources)
}

/// The own pool's key set comes from `own`, and those of the other issuers from `others`.
fn tokens_of_issuers(own: &TestServer, others: &TestServer, sources: Option<&str>) -> TokenVerifier<HttpKeySet> {
    let pool = own_pool();
    let client = HttpsClient::new(None).unwrap();
    TokenVerifier::cognito(TokenSource::read(&pool, sources).unwrap(), |issuer| {
        let server = if issuer == pool.issuer() { own } else { others };
        HttpKeySet::new(client.clone(), issuer.key_set_url(Some(server.url())))
    })
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
    vega_testing::vectors::good_claims(Kind::Cognito)
}

fn custom_claims() -> Value {
    vega_testing::vectors::good_claims(Kind::Custom)
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
    let header = Header { kid: Some("test-1".into()), typ: None, ..Header::new(Algorithm::RS256) };
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_rsa_pem(ISSUER_KEY).unwrap()).unwrap()
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
async fn no_changed_character_of_a_credential_is_accepted() {
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

#[tokio::test]
async fn a_valid_key_is_accepted_and_its_use_recorded() {
    let gateway = Gateway::custom().await;
    let key = gateway.key(|_| {}).await;
    check(gateway.decide(key.expose()).await, "allow:ada", "ok");
    let dump = gateway.database.dump().await;
    assert!(dump.contains("192.0.2.1"), "{dump}");
    assert!(dump.contains("curl/8"), "{dump}");
}

/// The owner's program calls every other second, and a thief for 50 s in between.
#[tokio::test]
async fn a_thief_who_uses_a_busy_key_for_50_seconds_is_recorded() {
    let mut gateway = Gateway::custom().await;
    let key = gateway.key(|_| {}).await;
    gateway.authorizer.authenticator.keys = gateway.database.faulty_reader();
    let mut seen_from = Vec::new();
    for second in 0..180 {
        let address = match second {
            _ if second % 2 == 0 => "192.0.2.1",
            61..=111 => "198.51.100.7",
            _ => continue,
        };
        let mut event = event(&format!("Bearer {}", key.expose()));
        event["requestContext"]["identity"]["sourceIp"] = json!(address);
        check(gateway.decide_event(event, NOW.plus(second), &[]).await, "allow:ada", "ok");
        let reads_and_writes = gateway.database.requests();
        let recorded = gateway.database.item(&format!("K#{}", key.id()), "U").await;
        if seen_from.last().is_none_or(|(_, from)| !recorded.contains(from)) {
            seen_from.push((second, if recorded.contains("198.51.100.7") { "198.51.100.7" } else { "192.0.2.1" }));
        }
        assert!(
            reads_and_writes <= usize::try_from(second).unwrap() + 1 + 6,
            "one write a minute, and one more for the other network"
        );
    }
    assert_eq!(seen_from, [(0, "192.0.2.1"), (61, "198.51.100.7"), (122, "192.0.2.1")]);
}

#[tokio::test]
async fn a_key_is_limited_to_its_scopes_and_told_what_is_missing() {
    for (scopes, gateway_caches, outcome, code, denied_as) in [
        (&["read"][..], false, "allow:ada", "ok", "forbidden"),
        (&["x", "read"], false, "allow:ada", "ok", "forbidden"),
        (&["x"], false, "deny:ada", "insufficient_scope", "insufficient_scope"),
        (&["gone"], false, "deny:ada", "insufficient_scope", "insufficient_scope"),
        // A cached response is applied to other routes: its reason is true of each.
        (&["x"], true, "deny:ada", "insufficient_scope", "forbidden"),
    ] {
        let mut gateway = Gateway::custom().await;
        gateway.authorizer.gateway_caches = gateway_caches;
        let key = gateway.key(|record| record.scopes = scopes.iter().map(|name| name.parse().unwrap()).collect()).await;
        check(gateway.decide(key.expose()).await, outcome, code);
        let response = gateway.authorizer.decide(event(&format!("Bearer {}", key.expose())), NOW).await.0.unwrap();
        let response = serde_json::to_value(response).unwrap();
        assert_eq!(
            (&response["context"]["denied_as"], &response["context"]["scopes"]),
            (&json!(denied_as), &json!(scopes.join(",")))
        );
    }
    // A group is missing, whatever the scopes.
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
async fn a_caller_has_only_groups_that_the_rules_list() {
    let mut gateway = Gateway::custom().await;
    let rules = r#"{"groups":["sales,EMEA","user"],"rules":[{"route":"GET /v1/projects","groups":["sales,EMEA"]}]}"#;
    gateway.authorizer.policies = Policies::new(rules.parse().unwrap());
    let key = gateway.key(|record| record.groups = Groups::named(["root", "sales,EMEA", "EMEA"])).await;
    let claims = with(custom_claims(), "cognito:groups", json!(["EMEA", "sales,EMEA", "root", "sales", "two words"]));
    for token in [key.expose(), &hs256(&claims, SECRET)] {
        check(gateway.decide(token).await, "allow:ada", "ok");
        let response = gateway.authorizer.decide(event(&format!("Bearer {token}")), NOW).await.0.unwrap();
        assert_eq!(serde_json::to_value(response).unwrap()["context"]["groups"], "sales,EMEA");
    }
    for groups in [json!(["sales", "EMEA"]), json!(["sales", "EMEA", "user"]), json!(["Sales,EMEA"]), json!([])] {
        let token = hs256(&with(custom_claims(), "cognito:groups", groups), SECRET);
        check(gateway.decide(&token).await, "deny:ada", "forbidden");
    }
}

#[tokio::test]
async fn a_key_with_networks_is_rejected_from_elsewhere() {
    let gateway = Gateway::custom().await;
    let networks = ["192.0.2.0/30", "2001:db8::/32"];
    let key = gateway.key(|record| record.cidrs = networks.map(|text| text.parse().unwrap()).to_vec()).await;
    let token = format!("Bearer {}", key.expose());
    let from = |address: Value| {
        let mut event = event(&token);
        event["requestContext"]["identity"]["sourceIp"] = address;
        // The client can write this header, so it is ignored.
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
    let response = serde_json::to_value(gateway.authorizer.decide(http.clone(), NOW).await.0.unwrap()).unwrap();
    let condition = json!({ "IpAddress": { "aws:SourceIp": networks } });
    assert_eq!(response["policyDocument"]["Statement"][0]["Condition"], condition);
    // A simple response can't be limited to addresses.
    let mut gateway = gateway;
    gateway.authorizer.http_api_response = HttpApiResponse::Simple;
    check(gateway.decide_event(http, NOW, &[]).await, UNAUTHORIZED, "address_not_allowed");
}

#[tokio::test]
async fn unreadable_restrictions_are_a_fault_and_never_an_allow() {
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
    gateway.database.revoke(key.id()).await;
    check(gateway.decide(key.expose()).await, UNAUTHORIZED, "key_revoked");
}

#[tokio::test]
async fn a_rejected_key_is_named_if_its_secret_was_right() {
    type Change = fn(&mut KeyRecord);
    let changes: [(Change, &str, &str); 5] = [
        (|record| record.expires_at = Some(NOW), "key_expired", "wrong_secret"),
        (|record| record.status = KeyStatus::Revoked, "key_revoked", "wrong_secret"),
        (|record| record.status = KeyStatus::Disabled, "key_disabled", "wrong_secret"),
        (|record| record.cidrs = vec!["203.0.113.0/24".parse().unwrap()], "address_not_allowed", "wrong_secret"),
        (|record| record.digest_version += 1, "unsupported_record", "unsupported_record"),
    ];
    for (change, code, code_of_guess) in changes {
        let gateway = Gateway::custom().await;
        let key = gateway.key(change).await;
        let guess = ApiKey::new(key.id(), &KeySecret::from_entropy(&mut [7; 32]));
        let mut named = Vec::new();
        for (presented, code) in [(&key, code), (&guess, code_of_guess)] {
            let header = format!("Bearer {}", presented.expose());
            let (decision, line) = gateway.authorizer.decide(event(&header), NOW).await;
            assert_eq!((decision.unwrap_err().to_string().as_str(), &*line.code), (UNAUTHORIZED, code));
            assert!(line.user_id.is_none() && line.via.is_none(), "nobody is authenticated");
            named.push(line.key_id);
        }
        let expected = (code != code_of_guess).then(|| key.id());
        assert_eq!(named, [expected, None], "{code}");
    }
}

#[tokio::test]
async fn an_unreachable_database_is_a_fault_only_for_keys() {
    let gateway = Gateway::custom().await;
    let key = gateway.key(|_| {}).await;
    gateway.database.stop();
    check(gateway.decide(key.expose()).await, "temporarily unavailable", "store_unavailable");
    check(gateway.decide(&hs256(&custom_claims(), SECRET)).await, "allow:ada", "ok");
}

#[tokio::test]
async fn a_faulty_database_admits_nobody_and_recovers() {
    for fault in InjectedFault::ALL {
        let mut gateway = Gateway::custom().await;
        let key = gateway.key(|_| {}).await;
        gateway.authorizer.authenticator.keys = gateway.database.faulty_reader();
        gateway.database.inject(fault, usize::MAX);
        tokio::time::pause(); // Time advances whenever every task waits.
        let started = tokio::time::Instant::now();
        check(gateway.decide(key.expose()).await, "temporarily unavailable", "store_unavailable");
        assert!(started.elapsed() < Duration::from_secs(3), "{fault:?}: {:?}", started.elapsed());
        tokio::time::resume();
        assert!(gateway.database.requests() <= 3, "{fault:?}: {} tries", gateway.database.requests());
        check(gateway.decide(&hs256(&custom_claims(), SECRET)).await, "allow:ada", "ok");
        gateway.database.clear_faults();
        check(gateway.decide(key.expose()).await, "allow:ada", "ok");
    }
}

#[tokio::test]
async fn a_transient_fault_is_retried() {
    for fault in [
        InjectedFault::DropConnection,
        InjectedFault::Throttle,
        InjectedFault::Fail,
        InjectedFault::Hang,
        InjectedFault::Lag,
    ] {
        let mut gateway = Gateway::custom().await;
        let key = gateway.key(|_| {}).await;
        gateway.authorizer.authenticator.keys = gateway.database.faulty_reader();
        gateway.database.inject(fault, 1);
        check(gateway.decide(key.expose()).await, "allow:ada", "ok");
    }
}

#[tokio::test]
async fn every_second_request_can_fail_without_a_rejection() {
    for fault in [InjectedFault::DropConnection, InjectedFault::Throttle, InjectedFault::Fail] {
        let mut gateway = Gateway::custom().await;
        let key = gateway.key(|_| {}).await;
        gateway.authorizer.authenticator.keys = gateway.database.faulty_reader();
        gateway.database.inject_every_second(fault);
        for request in 0..5 {
            check(gateway.decide_at(key.expose(), NOW.plus(request)).await, "allow:ada", "ok");
        }
    }
}

#[tokio::test]
async fn an_unexpected_item_or_response_admits_nobody() {
    for (from, to, outcome, code) in [
        (API_KEY, API_KEY, "allow:ada", "ok"),
        (r#""S":"K#7Gh2kQ9XbT4m""#, r#""S":"K#000000000000""#, "temporarily unavailable", "record_unreadable"),
        (r#""digest":"#, r#""digits":"#, "temporarily unavailable", "record_unreadable"),
        (r#"{"S":"active"}"#, r#"{"N":"1"}"#, "temporarily unavailable", "record_unreadable"),
        (r#"{"S":"active"}"#, r#"{"S":"superb"}"#, "temporarily unavailable", "record_unreadable"),
        (r#"{"L":[{"S":"user"}]}"#, r#"{"L":[{"S":"us er"}]}"#, "temporarily unavailable", "record_unreadable"),
        (r#"{"L":[{"S":"user"}]}"#, r#"{"L":[{"S":"admin"}]}"#, "deny:ada", "forbidden"),
        (r#"{"S":"A"}"#, r#"{"S":"a"}"#, UNAUTHORIZED, "unknown_key"),
        (r#""Items":"#, r#""Things":"#, "temporarily unavailable", "store_unavailable"),
        (r#"{"Items":"#, r#"{"items":"#, "temporarily unavailable", "store_unavailable"),
        (r#""Items":[{"#, r#""Items":[],"x":[{"#, UNAUTHORIZED, "unknown_key"),
        (r#"{"Items":[{"#, "[[{", "temporarily unavailable", "store_unavailable"),
    ] {
        let mut gateway = Gateway::custom().await;
        let key = gateway.key(|_| {}).await;
        gateway.authorizer.authenticator.keys = gateway.database.faulty_reader();
        gateway.database.inject(InjectedFault::Alter(from, to), 1);
        check(gateway.decide(key.expose()).await, outcome, code);
    }
}

#[tokio::test]
async fn a_missing_doubled_or_query_credential_is_rejected() {
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
async fn an_unknown_event_is_a_fault_and_never_an_allow() {
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
async fn every_form_of_event_gets_the_same_decision() {
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
    // Two headers, as an HTTP API joins them.
    for event in other_forms(&format!("Bearer {good},Bearer {good}")) {
        check(gateway.decide_event(event, NOW, &[&good]).await, UNAUTHORIZED, "not_bearer");
    }
}

#[tokio::test]
async fn an_http_api_set_to_simple_gets_the_simple_response() {
    let mut gateway = Gateway::cognito().await;
    gateway.authorizer.http_api_response = HttpApiResponse::Simple;
    for (groups, expected) in [(json!(["user"]), true), (json!([]), false)] {
        let [_, event] = other_forms(&format!("Bearer {}", rs256(&with(claims(), "cognito:groups", groups))));
        let response = serde_json::to_value(gateway.authorizer.decide(event, NOW).await.0.unwrap()).unwrap();
        assert_eq!((&response["isAuthorized"], &response["context"]["id"]), (&json!(expected), &json!("ada")));
        assert_eq!(response.as_object().unwrap().len(), 2);
    }
    // The other forms have only one response.
    let response = gateway.authorizer.decide(event(&format!("Bearer {}", rs256(&claims()))), NOW).await.0.unwrap();
    assert!(serde_json::to_value(response).unwrap()["policyDocument"].is_object());
}

#[tokio::test]
async fn a_web_socket_can_connect_if_a_rule_allows_it() {
    let mut gateway = Gateway::cognito().await;
    gateway.authorizer.policies =
        Policies::new(r#"{"rules":[{"route":"$connect","groups":["user"]}]}"#.parse().unwrap());
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
        let response = serde_json::to_value(gateway.authorizer.decide(connect, NOW).await.0.unwrap()).unwrap();
        let statement = &response["policyDocument"]["Statement"][0];
        assert_eq!((&statement["Effect"], &statement["Resource"]), (&json!(effect), &json!([resource])));
    }
}
