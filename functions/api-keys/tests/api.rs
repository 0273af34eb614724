//! The HTTP contract of the keys, against a real `DynamoDB` API.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use std::sync::atomic::{AtomicU8, Ordering};

use api_keys::{ApiKeys, Config, Entropy};
use serde_json::{Value, json};
use vega_auth::{ApiKey, FindKey as _, LastUse, Timestamp};
use vega_store::testing::TestDatabase;

const NOW: Timestamp = Timestamp(1_800_000_000);

struct Api {
    keys: ApiKeys,
    http: vega_http::Settings,
    database: TestDatabase,
}

/// An answer, or a problem, as far as a client tells them apart.
struct Seen {
    status: u16,
    body: Value,
    headers: http::HeaderMap,
}

impl Api {
    async fn start() -> Self {
        #[expect(clippy::disallowed_methods, reason = "as main does")]
        Self::start_with(getrandom::fill).await
    }

    async fn start_with(entropy: Entropy) -> Self {
        let database = TestDatabase::start().await;
        let Config { http, rules, .. } = config(&[]).unwrap();
        Self { keys: ApiKeys { store: database.store(), limit: 5, rules, entropy }, http, database }
    }

    async fn call(&self, user: &str, method: &str, target: &str, body: Option<Value>) -> Seen {
        self.send(user, method, target, body.map(|body| body.to_string()), &[]).await
    }

    async fn send(
        &self,
        user: &str,
        method: &str,
        target: &str,
        body: Option<String>,
        headers: &[(&str, &str)],
    ) -> Seen {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let id = path.strip_prefix("/v1/api-keys/");
        let resource = if id.is_some() { "/v1/api-keys/{id}" } else { path };
        let query: Value = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), json!([value])))
            .collect::<serde_json::Map<_, _>>()
            .into();
        let mut all = json!({ "content-type": "application/json" });
        for (name, value) in headers {
            all[*name] = json!(value);
        }
        let authorizer = match user.strip_prefix("key of ") {
            Some(user) => {
                json!({ "id": user, "username": user, "groups": "user", "authenticated_by": "api_key", "key_id": "000000000000" })
            }
            None => json!({ "id": user, "username": user, "groups": "user", "authenticated_by": "jwt" }),
        };
        let event = json!({
            "httpMethod": method, "path": path, "resource": resource, "headers": all, "multiValueHeaders": {},
            "multiValueQueryStringParameters": query, "pathParameters": id.map(|id| json!({ "id": id })),
            "body": body, "isBase64Encoded": false,
            "requestContext": {
                "stage": "live", "requestId": "r-1", "httpMethod": method, "resourcePath": resource,
                "identity": { "sourceIp": "192.0.2.1" }, "authorizer": authorizer
            }
        });
        let request = lambda_http::request::from_str(&event.to_string()).unwrap();
        let response = vega_http::answer(&self.http, self.keys.handle(&request, NOW).await);
        assert_eq!(response.headers()["cache-control"], "no-store");
        Seen {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: serde_json::from_slice(response.body()).unwrap_or(Value::Null),
        }
    }

    async fn create(&self, user: &str, name: &str) -> Value {
        let seen = self.call(user, "POST", "/v1/api-keys", Some(json!({ "name": name }))).await;
        assert_eq!(seen.status, 201, "{}", seen.body);
        seen.body
    }
}

/// Loads the configuration of a sound environment, but for these variables.
fn config(changes: &[(&str, &str)]) -> Result<Config, vega_auth::config::ConfigError> {
    let sound = [
        ("VEGA_KEYS_TABLE", "keys"),
        (
            "VEGA_ACCESS_RULES",
            r#"{"rules":[{"route":"* /v1/*","groups":"any"}],"scopes":{"deploy":["POST /v1/deployments/*","GET /v1/x"]}}"#,
        ),
        ("AWS_REGION", "us-west-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ];
    Config::load(|name| {
        let (_, value) = changes.iter().chain(&sound).find(|(known, _)| *known == name)?;
        Some((*value).to_owned())
    })
}

fn path(key: &Value) -> String {
    format!("/v1/api-keys/{}", key["id"].as_str().unwrap())
}

#[tokio::test]
async fn a_new_key_is_shown_whole_once_and_stored_only_as_its_digest() {
    let api = Api::start().await;
    let seen = api.call("ada", "POST", "/v1/api-keys", Some(json!({ "name": "ci", "expires_in_days": 7 }))).await;
    let text = seen.body["key"].as_str().unwrap();
    let key: ApiKey = text.parse().unwrap();
    assert_eq!(seen.body["id"], key.id().as_str());
    assert_eq!(seen.headers["location"], path(&seen.body).as_str());
    assert_eq!(seen.headers["etag"], "\"1\"");
    assert_eq!((&seen.body["status"], &seen.body["groups"]), (&json!("active"), &json!(["user"])));
    let user = api.keys.store.find(key.id()).await.unwrap().unwrap().principal(&key, None, NOW).unwrap();
    assert_eq!(user.id, "ada");
    let secret = &text[16..59];
    let shown = api.call("ada", "GET", &path(&seen.body), None).await.body.to_string()
        + &api.call("ada", "GET", "/v1/api-keys", None).await.body.to_string();
    assert!(!shown.contains(secret) && !shown.contains("digest"), "{shown}");
    assert!(!api.database.dump().await.contains(secret));
}

#[tokio::test]
async fn another_owners_key_looks_like_none_to_every_method() {
    let api = Api::start().await;
    let key = api.create("ada", "ci").await;
    for (method, body) in [("GET", None), ("PATCH", Some(json!({ "name": "mine" }))), ("DELETE", None)] {
        let theirs = api.call("eve", method, &path(&key), body.clone()).await;
        let none = api.call("eve", method, "/v1/api-keys/zzzzzzzzzzzz", body.clone()).await;
        let nonsense = api.call("eve", method, "/v1/api-keys/no-id", body).await;
        assert_eq!((theirs.status, &theirs.body), (404, &none.body));
        assert_eq!(none.body, nonsense.body);
    }
    assert_eq!(api.call("ada", "GET", &path(&key), None).await.body["name"], "ci");
}

#[tokio::test]
async fn a_key_never_manages_keys() {
    let api = Api::start().await;
    let key = api.create("ada", "ci").await;
    for (method, target) in [("POST", "/v1/api-keys"), ("GET", "/v1/api-keys"), ("DELETE", path(&key).as_str())] {
        let seen = api.call("key of ada", method, target, Some(json!({ "name": "x" }))).await;
        assert_eq!((seen.status, &seen.body["error"]), (403, &json!("forbidden")));
    }
}

#[tokio::test]
async fn revoking_is_for_good_and_may_be_repeated() {
    let api = Api::start().await;
    let key = api.create("ada", "ci").await;
    for _ in 0..2 {
        assert_eq!(api.call("ada", "DELETE", &path(&key), None).await.status, 204);
    }
    // the repetition of a request whose answer was lost
    let seen = api.send("ada", "DELETE", &path(&key), None, &[("if-match", "\"1\"")]).await;
    assert_eq!(seen.status, 204);
    let seen = api.call("ada", "GET", &path(&key), None).await;
    assert_eq!((&seen.body["status"], &seen.body["version"]), (&json!("revoked"), &json!(2)));
    let seen = api.call("ada", "PATCH", &path(&key), Some(json!({ "status": "active" }))).await;
    assert_eq!((seen.status, &seen.body["error"]), (409, &json!("key_revoked")));
}

#[tokio::test]
async fn a_revocation_is_not_outrun_by_another_or_by_a_change() {
    let api = Api::start().await;
    for _ in 0..5 {
        let path = path(&api.create("ada", "ci").await);
        let (one, two, change) = tokio::join!(
            api.call("ada", "DELETE", &path, None),
            api.call("ada", "DELETE", &path, None),
            api.call("ada", "PATCH", &path, Some(json!({ "name": "renamed" })))
        );
        assert_eq!((one.status, two.status), (204, 204));
        assert!([200, 409, 412].contains(&change.status), "{}", change.status);
        assert_eq!(api.call("ada", "GET", &path, None).await.body["status"], "revoked");
    }
    let key = api.create("ada", "ci").await;
    let seen = api.send("ada", "DELETE", &path(&key), None, &[("if-match", "\"7\"")]).await;
    assert_eq!((seen.status, &seen.body["error"]), (412, &json!("version_mismatch")));
    assert_eq!(api.call("ada", "GET", &path(&key), None).await.body["status"], "active");
}

#[tokio::test]
async fn a_patch_may_be_called_one_and_must_be_an_object() {
    let api = Api::start().await;
    let path = path(&api.create("ada", "ci").await);
    let patch = |body: &'static str, media_type| {
        let (api, path) = (&api, &path);
        async move { api.send("ada", "PATCH", path, Some(body.into()), &[("content-type", media_type)]).await }
    };
    let seen = patch(r#"{"name":"new","description":"x"}"#, "application/merge-patch+json").await;
    assert_eq!((seen.status, &seen.body["name"], &seen.body["version"]), (200, &json!("new"), &json!(2)));
    for body in [r#"["mine"]"#, "[]", "null", r#""mine""#, r#"{"name":null}"#, r#"{"owner":"eve"}"#] {
        let seen = patch(body, "application/json").await;
        assert_eq!((seen.status, &seen.body["error"]), (400, &json!("invalid_body")), "{body}");
    }
    let seen = patch("{}", "application/json").await;
    assert_eq!((seen.status, &seen.body["name"], &seen.body["version"]), (200, &json!("new"), &json!(2)));
}

#[tokio::test]
async fn the_last_use_is_shown_once_there_is_one() {
    let api = Api::start().await;
    let key = api.create("ada", "ci").await;
    assert_eq!(key["last_used_at"], Value::Null);
    let last = LastUse { at: NOW, address: "192.0.2.7".into(), user_agent: "curl/8".into() };
    api.keys.store.note_use(key["id"].as_str().unwrap().parse().unwrap(), &last).await.unwrap();
    let one = api.call("ada", "GET", &path(&key), None).await.body;
    assert_eq!(one["last_used_at"], "2027-01-15T08:00:00Z");
    assert_eq!((&one["last_used_address"], &one["last_used_user_agent"]), (&json!("192.0.2.7"), &json!("curl/8")));
    assert_eq!(api.call("ada", "GET", "/v1/api-keys", None).await.body["items"], json!([one]));
}

#[tokio::test]
async fn an_id_that_is_taken_is_made_again() {
    static DRAWN: AtomicU8 = AtomicU8::new(0);
    // each key draws its id, then its secret: the first and the second key draw the same id
    let api = Api::start_with(|bytes| {
        let drawn = DRAWN.fetch_add(1, Ordering::SeqCst);
        bytes.fill(if drawn == 2 { 0 } else { drawn });
        Ok(())
    })
    .await;
    let (one, two) = (api.create("ada", "one").await, api.create("bob", "two").await);
    assert_eq!(DRAWN.load(Ordering::SeqCst), 6, "three keys were drawn");
    assert_ne!(one["id"], two["id"]);
    assert_eq!(api.call("ada", "GET", &path(&one), None).await.body["name"], "one");
    assert_eq!(api.call("bob", "GET", &path(&two), None).await.body["name"], "two");
}

#[tokio::test]
async fn without_random_bytes_there_is_no_key() {
    let api = Api::start_with(|_| Err(getrandom::Error::UNSUPPORTED)).await;
    let seen = api.call("ada", "POST", "/v1/api-keys", Some(json!({ "name": "ci" }))).await;
    assert_eq!((seen.status, &seen.body["error"]), (503, &json!("temporarily_unavailable")));
    assert_eq!(api.database.dump().await, "");
}

#[test]
fn a_configuration_that_cannot_be_right_is_refused_with_all_its_problems() {
    assert_eq!(config(&[]).unwrap().limit, 100);
    for limit in ["1", "1000"] {
        assert_eq!(config(&[("VEGA_KEY_LIMIT", limit)]).unwrap().limit.to_string(), limit);
    }
    for limit in ["0", "1001", "-1", "many"] {
        let wrong = config(&[("VEGA_KEY_LIMIT", limit), ("VEGA_KEYS_TABLE", ""), ("AWS_REGION", "")]).unwrap_err();
        let says =
            ["VEGA_KEYS_TABLE is not set", "VEGA_KEY_LIMIT: expected a number from 1 to 1000", "AWS_REGION is not set"];
        assert_eq!(wrong.0, says);
    }
}

#[tokio::test]
async fn a_change_of_a_version_that_is_gone_is_refused() {
    let api = Api::start().await;
    let key = api.create("ada", "ci").await;
    let rename = |name: &str| Some(json!({ "name": name }).to_string());
    let first = api.send("ada", "PATCH", &path(&key), rename("one"), &[("if-match", "\"1\"")]).await;
    assert_eq!((first.status, &first.headers["etag"]), (200, &"\"2\"".parse().unwrap()));
    for stale in ["\"1\"", "2", "W/\"2\"", ""] {
        let seen = api.send("ada", "PATCH", &path(&key), rename("two"), &[("if-match", stale)]).await;
        assert_eq!((seen.status, &seen.body["error"]), (412, &json!("version_mismatch")), "{stale}");
    }
    assert_eq!(api.send("ada", "PATCH", &path(&key), rename("two"), &[("if-match", "*")]).await.status, 200);
}

#[tokio::test]
async fn a_key_keeps_its_scopes_and_networks_and_they_can_be_changed() {
    let api = Api::start().await;
    let wanted = json!({ "name": "ci", "scopes": ["read", "deploy"], "cidrs": ["2001:DB8::/32", "203.0.113.0/24"] });
    let seen = api.call("ada", "POST", "/v1/api-keys", Some(wanted)).await;
    let (scopes, cidrs) = (json!(["deploy", "read"]), json!(["203.0.113.0/24", "2001:db8::/32"]));
    assert_eq!((seen.status, &seen.body["scopes"], &seen.body["cidrs"]), (201, &scopes, &cidrs));
    let path = path(&seen.body);
    let patch = json!({ "scopes": ["read"], "cidrs": ["198.51.100.0/24"] });
    let seen = api.call("ada", "PATCH", &path, Some(patch)).await;
    assert_eq!((&seen.body["scopes"], &seen.body["cidrs"]), (&json!(["read"]), &json!(["198.51.100.0/24"])));
    let seen = api.call("ada", "PATCH", &path, Some(json!({ "scopes": [] }))).await;
    assert_eq!((&seen.body["scopes"], &seen.body["cidrs"]), (&json!([]), &json!(["198.51.100.0/24"])));
    assert_eq!(api.call("ada", "GET", &path, None).await.body, seen.body);
    for wrong in [json!({ "scopes": ["gone"] }), json!({ "cidrs": ["198.51.100.1/24"] })] {
        let refused = api.call("ada", "PATCH", &path, Some(wrong)).await;
        assert_eq!((refused.status, &refused.body["error"]), (422, &json!("invalid_value")));
    }
    assert_eq!(api.call("ada", "GET", &path, None).await.body, seen.body);
    let dump = api.database.dump().await;
    assert!(dump.contains(r#"\"scopes\":[\"read\"]"#) && dump.contains(r#"\"cidrs\":[\"198.51.100.0/24\"]"#), "{dump}");
}

#[tokio::test]
async fn everybody_who_is_signed_in_can_read_which_scopes_there_are() {
    let api = Api::start().await;
    for user in ["ada", "key of ada"] {
        let seen = api.call(user, "GET", "/v1/scopes", None).await;
        let items = json!([
            { "name": "deploy", "routes": ["POST /v1/deployments/*", "GET /v1/x"] },
            { "name": "read", "routes": ["GET /*", "HEAD /*"] }
        ]);
        assert_eq!((seen.status, &seen.body["items"]), (200, &items));
    }
}

#[tokio::test]
async fn a_disabled_key_can_be_enabled_again() {
    let api = Api::start().await;
    let key = api.create("ada", "ci").await;
    for status in ["disabled", "active"] {
        let seen = api.call("ada", "PATCH", &path(&key), Some(json!({ "status": status }))).await;
        assert_eq!((seen.status, &seen.body["status"]), (200, &json!(status)));
    }
}

#[tokio::test]
async fn the_list_is_filtered_searched_and_paged() {
    let api = Api::start().await;
    for name in ["one", "two", "three"] {
        api.create("ada", name).await;
    }
    let revoked = api.create("ada", "old").await;
    api.call("ada", "DELETE", &path(&revoked), None).await;
    let names = async |query: &str| -> Vec<String> {
        let seen = api.call("ada", "GET", &format!("/v1/api-keys?{query}"), None).await;
        seen.body["items"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("status=revoked").await, ["old"]);
    assert_eq!(names("q=TW").await, ["two"]);
    assert_eq!(names(&format!("q={}", &revoked["id"].as_str().unwrap()[..8])).await, ["old"]);
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = api.call("ada", "GET", &format!("/v1/api-keys?limit=1&cursor={cursor}"), None).await.body;
        seen.extend(page["items"].as_array().unwrap().iter().map(|key| key["id"].to_string()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen.len(), 4);
    assert_eq!(seen.iter().collect::<std::collections::HashSet<_>>().len(), 4, "no key twice");
    for query in ["status=gone", "limit=0", "limit=101", "cursor=x", "owner=bob"] {
        assert_eq!(api.call("ada", "GET", &format!("/v1/api-keys?{query}"), None).await.status, 400, "{query}");
    }
}

#[tokio::test]
async fn the_limit_is_told_by_its_number() {
    let api = Api::start().await;
    for _ in 0..5 {
        api.create("ada", "ci").await;
    }
    let seen = api.call("ada", "POST", "/v1/api-keys", Some(json!({ "name": "one more" }))).await;
    assert_eq!((seen.status, &seen.body["error"]), (409, &json!("key_limit_reached")));
    assert!(seen.body["detail"].as_str().unwrap().contains('5'));
}

#[tokio::test]
async fn a_bad_body_changes_nothing() {
    let api = Api::start().await;
    let long = json!({ "name": "x".repeat(10_000) }).to_string();
    let huge = json!({ "name": "ci", "description": "x".repeat(20_000) }).to_string();
    for (body, status, code) in [
        ("{", 400, "invalid_body"),
        ("[]", 400, "invalid_body"),
        (r#"["ci","",null,null]"#, 400, "invalid_body"),
        (r#"{"name":"ci","owner":"bob"}"#, 400, "invalid_body"),
        (r#"{"name":"ci","name":"ci"}"#, 400, "invalid_body"),
        (r#"{"name":""}"#, 422, "invalid_value"),
        (long.as_str(), 422, "invalid_value"),
        (huge.as_str(), 413, "body_too_large"),
    ] {
        let seen = api.send("ada", "POST", "/v1/api-keys", Some(body.into()), &[]).await;
        assert_eq!((seen.status, &seen.body["error"]), (status, &json!(code)), "{}", &body[..body.len().min(40)]);
    }
    let seen = api.send("ada", "POST", "/v1/api-keys", Some("{}".into()), &[("content-type", "text/plain")]).await;
    assert_eq!(seen.status, 415);
    assert_eq!(api.database.dump().await, "");
}

#[tokio::test]
async fn without_its_database_it_says_so_and_no_more() {
    let api = Api::start().await;
    api.database.stop();
    for (method, target, body) in [
        ("POST", "/v1/api-keys", Some(json!({ "name": "ci" }))),
        ("GET", "/v1/api-keys", None),
        ("GET", "/v1/api-keys/000000000000", None),
        ("PATCH", "/v1/api-keys/000000000000", Some(json!({ "name": "ci" }))),
        ("DELETE", "/v1/api-keys/000000000000", None),
    ] {
        let seen = api.call("ada", method, target, body).await;
        assert_eq!((seen.status, &seen.body["error"]), (503, &json!("temporarily_unavailable")), "{method}");
        assert!(seen.headers.contains_key("retry-after") && !seen.body.to_string().contains("127.0.0.1"));
    }
}
