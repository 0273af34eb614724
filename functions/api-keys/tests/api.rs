//! The HTTP contract of the keys, against a real `DynamoDB` API.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use std::sync::atomic::{AtomicU8, Ordering};

use api_keys::{ApiKeys, Config, Entropy};
use serde_json::{Value, json};
use vega_auth::config::{ConfigError, load};
use vega_auth::{ApiKey, KeyRecords as _, LastUse, Timestamp};
use vega_http::{Handler as _, Settings};
use vega_testing::TestDatabase;

const NOW: Timestamp = Timestamp(1_800_000_000);

struct Api {
    keys: ApiKeys,
    http: Settings,
    database: TestDatabase,
    /// When the token was issued that people come with.
    issued_at: Option<Timestamp>,
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
        let (http, Config { rules, .. }) = config(&[]).unwrap();
        Self { keys: ApiKeys { store: database.store(), limit: 5, rules, entropy }, http, database, issued_at: None }
    }

    /// `user` is a person of group `user`, `root as ada` one of group `root`, and `key of ada` a key of hers.
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
        self.at(NOW, user, method, target, body, headers).await
    }

    async fn at(
        &self,
        now: Timestamp,
        user: &str,
        method: &str,
        target: &str,
        body: Option<String>,
        headers: &[(&str, &str)],
    ) -> Seen {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (resource, id) = resource(path);
        let mut parameters = json!({});
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match &mut parameters[name] {
                Value::Array(values) => values.push(json!(value)),
                none => *none = json!([value]),
            }
        }
        let mut all = json!({ "content-type": "application/json" });
        for (name, value) in headers {
            all[*name] = json!(value);
        }
        let (groups, user) = user.split_once(" as ").unwrap_or(("user", user));
        let authorizer = match user.strip_prefix("key of ") {
            Some(user) => {
                let (user, key_id) = user.split_once(' ').unwrap_or((user, "000000000000"));
                json!({ "id": user, "username": user, "groups": groups, "authenticated_by": "api_key", "key_id": key_id })
            }
            None => json!({
                "id": user, "username": user, "groups": groups, "authenticated_by": "jwt",
                // a token that was issued just now, as far as nobody says otherwise
                "issued_at": self.issued_at.unwrap_or(now).to_string(),
            }),
        };
        let event = json!({
            "httpMethod": method, "path": path, "resource": resource, "headers": all, "multiValueHeaders": {},
            "multiValueQueryStringParameters": parameters, "pathParameters": id.map(|id| json!({ "id": id })),
            "body": body, "isBase64Encoded": false,
            "requestContext": {
                "stage": "live", "requestId": "r-1", "httpMethod": method, "resourcePath": resource,
                "identity": { "sourceIp": "192.0.2.1" }, "authorizer": authorizer
            }
        });
        let request = lambda_http::request::from_str(&event.to_string()).unwrap();
        let response = vega_http::answer(&self.http, self.keys.handle(&request, now).await);
        assert_eq!(response.headers()["cache-control"], "no-store");
        let body = serde_json::from_slice(response.body()).unwrap_or(Value::Null);
        check_documented(method, &resource, &body);
        Seen { status: response.status().as_u16(), headers: response.headers().clone(), body }
    }

    async fn create(&self, user: &str, name: &str) -> Value {
        let seen = self.call(user, "POST", "/v1/api-keys", Some(json!({ "name": name }))).await;
        assert_eq!(seen.status, 201, "{}", seen.body);
        seen.body
    }
}

/// Loads the configuration of a sound environment, but for these variables.
fn config(changes: &[(&str, &str)]) -> Result<(Settings, Config), ConfigError> {
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
    let lookup = |name: &str| {
        let (_, value) = changes.iter().chain(&sound).find(|(known, _)| *known == name)?;
        Some((*value).to_owned())
    };
    load("test", lookup, |environment| {
        let (settings, config) = (Settings::read("test", environment), Config::read(environment));
        Some((settings?, config?))
    })
}

/// The route that API Gateway would choose, and the id in its place.
fn resource(path: &str) -> (String, Option<&str>) {
    let parts: Vec<&str> = path.split('/').collect();
    let at = parts.iter().position(|part| *part == "api-keys").map_or(usize::MAX, |at| at + 1);
    match parts.get(at) {
        None | Some(&"self") => (path.to_owned(), None),
        Some(id) => {
            let open: Vec<&str> =
                parts.iter().enumerate().map(|(i, part)| if i == at { "{id}" } else { part }).collect();
            (open.join("/"), Some(id))
        }
    }
}

fn document() -> Value {
    serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap()
}

/// Each problem that a test meets has the text that docs/openapi.json shows, unless the text depends on the request.
#[track_caller]
fn check_documented(method: &str, resource: &str, problem: &Value) {
    const DEPEND_ON_THE_REQUEST: [&str; 6] =
        ["body_too_large", "forbidden", "invalid_body", "invalid_query", "invalid_value", "temporarily_unavailable"];
    let Some(error) = problem["error"].as_str().filter(|error| !DEPEND_ON_THE_REQUEST.contains(error)) else { return };
    let document = document();
    let response = &document["paths"][resource][method.to_lowercase()]["responses"][problem["status"].to_string()];
    let response = match response["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => response,
    };
    let example = &response["content"]["application/problem+json"]["examples"][error]["value"];
    if example.is_null() {
        return; // which errors an operation has is held to the sources: tests/test_documents.py
    }
    // The number or the id in the example is another.
    let words = |problem: &Value| {
        let text = problem["detail"].as_str().unwrap_or_default();
        let is_word = |word: &&str| word.len() < 12 && !word.contains(|letter: char| letter.is_ascii_digit());
        text.split(' ').filter(is_word).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(words(example), words(problem), "{method} {resource} {error}");
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
    let user = api.keys.store.find(key.id()).await.unwrap().unwrap().authenticate(&key, None, NOW).unwrap();
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
    let last = LastUse { at: NOW, address: "192.0.2.7".into(), user_agent: "curl/8".into(), moved_at: None };
    api.database.reader().record_use(key["id"].as_str().unwrap().parse().unwrap(), &last).await.unwrap();
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
    assert_eq!(config(&[]).unwrap().1.limit, 100);
    for limit in ["1", "1000"] {
        assert_eq!(config(&[("VEGA_KEY_LIMIT", limit)]).unwrap().1.limit.to_string(), limit);
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
        let document = document();
        let example =
            &document["paths"]["/v1/scopes"]["get"]["responses"]["200"]["content"]["application/json"]["example"];
        assert_eq!(example["items"][0], items[1], "the documented example");
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
    for query in
        ["status=gone", "limit=0", "limit=101", "cursor=x", "owner=bob", "sort=id", "sort=--name", "limit=1&limit=2"]
    {
        assert_eq!(api.call("ada", "GET", &format!("/v1/api-keys?{query}"), None).await.status, 400, "{query}");
    }
}

/// All pages of a list, of two items each.
async fn pages(api: &Api, target: &str) -> Vec<Value> {
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.call("ada", "GET", &format!("{target}limit=2&cursor={cursor}"), None).await;
        assert_eq!(page.status, 200, "{}", page.body);
        let items = page.body["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        seen.extend(items.iter().cloned());
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = next.into(),
            None => return seen,
        }
    }
}

#[tokio::test]
async fn the_list_is_sorted_as_asked_and_its_pages_hold_every_key_once() {
    let api = Api::start().await;
    for (name, days, used) in [("b", 3, Some(2)), ("A", 1, None), ("c.d", 2, Some(1)), ("é", 0, Some(3))] {
        let body = match days {
            0 => json!({ "name": name, "expires_at": null }),
            days => json!({ "name": name, "expires_in_days": days }),
        };
        let key = api.call("ada", "POST", "/v1/api-keys", Some(body)).await.body;
        if let Some(minutes) = used {
            let last = LastUse {
                at: NOW.plus(minutes * 60),
                address: String::new(),
                user_agent: String::new(),
                moved_at: None,
            };
            api.database.reader().record_use(key["id"].as_str().unwrap().parse().unwrap(), &last).await.unwrap();
        }
    }
    for (sort, expected) in [
        ("name", ["A", "b", "c.d", "é"]),
        ("-name", ["é", "c.d", "b", "A"]),
        ("expires_at", ["A", "c.d", "b", "é"]),
        ("-expires_at", ["é", "b", "c.d", "A"]),
        ("last_used_at", ["A", "c.d", "b", "é"]),
        ("-last_used_at", ["é", "b", "c.d", "A"]),
    ] {
        let keys = pages(&api, &format!("/v1/api-keys?sort={sort}&")).await;
        assert_eq!(keys.iter().map(|key| key["name"].as_str().unwrap()).collect::<Vec<_>>(), expected, "{sort}");
    }
    // made in one second: by id
    let ids = async |sort: &str| -> Vec<String> {
        pages(&api, &format!("/v1/api-keys?sort={sort}&")).await.iter().map(|key| key["id"].to_string()).collect()
    };
    let mut ascending = ids("created_at").await;
    assert!(ascending.is_sorted());
    ascending.reverse();
    assert_eq!(ids("-created_at").await, ascending);
    assert_eq!(pages(&api, "/v1/api-keys?").await, pages(&api, "/v1/api-keys?sort=-created_at&").await);
}

#[tokio::test]
async fn a_cursor_is_good_for_its_owner_and_query_alone() {
    let api = Api::start().await;
    for user in ["ada", "ada", "bob", "bob"] {
        api.create(user, "ci").await;
    }
    let cursor = api.call("ada", "GET", "/v1/api-keys?limit=1&q=ci", None).await.body["next_cursor"].clone();
    let cursor = cursor.as_str().unwrap();
    for (user, query, status) in [
        ("ada", "q=ci", 200),
        ("ada", "q=ci&limit=7", 200),
        ("bob", "q=ci", 400),
        ("ada", "q=c", 400),
        ("ada", "q=ci&sort=name", 400),
        ("ada", "q=ci&status=active", 400),
        ("ada", "", 400),
    ] {
        let seen = api.call(user, "GET", &format!("/v1/api-keys?cursor={cursor}&{query}"), None).await;
        assert_eq!(seen.status, status, "{user} {query}: {}", seen.body);
    }
}

#[tokio::test]
async fn every_change_of_a_key_leaves_an_event_that_says_who_from_where_why_and_what() {
    let api = Api::start().await;
    let key = api.create("ada", "ci").await;
    let path = path(&key);
    for (body, reason) in [
        (json!({ "name": "new" }), ""),
        (json!({ "status": "disabled" }), "lost+laptop"),
        (json!({ "status": "active", "description": "found it" }), ""),
        (json!({ "status": "active" }), "changes+nothing"),
    ] {
        let seen = api.call("ada", "PATCH", &format!("{path}?reason={reason}"), Some(body)).await;
        assert_eq!(seen.status, 200, "{}", seen.body);
    }
    assert_eq!(api.call("ada", "DELETE", &format!("{path}?reason=x\u{202e}gnp.exe"), None).await.status, 400);
    assert_eq!(api.call("ada", "DELETE", &format!("{path}?reason=gone"), None).await.status, 204);
    assert_eq!(api.call("ada", "DELETE", &format!("{path}?reason=again"), None).await.status, 204);
    let events = pages(&api, &format!("{path}/events?")).await;
    let kinds: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["revoked", "enabled", "changed", "disabled", "changed", "created"]);
    assert_eq!(
        events[0],
        json!({
            "at": "2027-01-15T08:00:00Z", "event": "revoked", "key_id": key["id"], "actor": "ada", "actor_username": "ada",
            "address": "192.0.2.1", "request_id": "r-1", "reason": "gone",
            "before": {
                "name": "new", "description": "found it", "status": "active", "groups": ["user"], "scopes": [], "cidrs": [],
                "expires_at": key["expires_at"], "rotated_from": null, "rotated_to": null, "version": 4
            },
            "after": {
                "name": "new", "description": "found it", "status": "revoked", "groups": ["user"], "scopes": [], "cidrs": [],
                "expires_at": key["expires_at"], "rotated_from": null, "rotated_to": null, "version": 5
            }
        })
    );
    assert_eq!((&events[3]["reason"], &events[5]["before"]), (&json!("lost+laptop"), &Value::Null));
    assert_eq!(events.iter().filter(|event| event["reason"].is_null()).count(), 4);
    let shown = api.call("ada", "GET", &path, None).await.body;
    assert_eq!((&shown["revoked_reason"], &shown["revoked_at"]), (&json!("gone"), &json!("2027-01-15T08:00:00Z")));
    let text = json!(events).to_string();
    assert!(!text.contains("digest") && !text.contains(&key["key"].as_str().unwrap()[16..59]));
}

#[tokio::test]
async fn the_trail_of_a_key_says_that_it_expired_from_that_very_second_on() {
    let api = Api::start().await;
    let body = json!({ "name": "ci", "expires_at": NOW.plus(60).to_string() });
    let key = api.call("ada", "POST", "/v1/api-keys", Some(body)).await.body;
    let events = async |now: Timestamp, query: &str| {
        let seen = api.at(now, "ada", "GET", &format!("{}/events?{query}", path(&key)), None, &[]).await;
        let kinds = seen.body["items"].as_array().unwrap().iter().map(|event| event["event"].to_string());
        (kinds.collect::<Vec<_>>().join(" "), seen.body)
    };
    assert_eq!(events(NOW.plus(59), "").await.0, r#""created""#);
    let (kinds, body) = events(NOW.plus(60), "").await;
    assert_eq!(kinds, r#""expired" "created""#);
    let expired = &body["items"][0];
    assert_eq!((&expired["at"], &expired["actor"]), (&json!("2027-01-15T08:01:00Z"), &Value::Null));
    assert_eq!((&expired["before"]["status"], &expired["after"]["status"]), (&json!("active"), &json!("expired")));
    let (kinds, body) = events(NOW.plus(61), "limit=1").await;
    assert_eq!(kinds, r#""expired""#);
    let cursor = body["next_cursor"].as_str().unwrap().to_owned();
    let (kinds, body) = events(NOW.plus(61), &format!("limit=1&cursor={cursor}")).await;
    assert_eq!((kinds.as_str(), &body["next_cursor"]), (r#""created""#, &Value::Null));
    // it can't be changed any more, but still be revoked
    let seen = api.at(NOW.plus(60), "ada", "PATCH", &path(&key), Some(r#"{"name":"new"}"#.into()), &[]).await;
    assert_eq!((seen.status, &seen.body["error"]), (409, &json!("key_expired")));
    let seen = api.at(NOW.plus(70), "ada", "DELETE", &path(&key), None, &[]).await;
    assert_eq!(seen.status, 204);
    let (kinds, body) = events(NOW.plus(80), "").await;
    assert_eq!((kinds.as_str(), &body["items"][0]["before"]["status"]), (r#""revoked" "created""#, &json!("expired")));
}

#[tokio::test]
async fn the_trail_of_a_key_is_its_owners_alone_and_outlives_it() {
    let api = Api::start().await;
    let (key, other) = (api.create("ada", "one").await, api.create("ada", "two").await);
    let events = format!("{}/events", path(&key));
    for target in [events.as_str(), "/v1/api-keys/zzzzzzzzzzzz/events", "/v1/api-keys/no-id/events"] {
        let seen = api.call("eve", "GET", target, None).await;
        assert_eq!((seen.status, &seen.body["error"]), (404, &json!("not_found")));
    }
    api.call("ada", "PATCH", &path(&key), Some(json!({ "name": "new" }))).await;
    let cursor = api.call("ada", "GET", &format!("{events}?limit=1"), None).await.body["next_cursor"].clone();
    let others = format!("{}/events?cursor={}", path(&other), cursor.as_str().unwrap());
    for query in [others, format!("{events}?cursor=x"), format!("{events}?limit=0"), format!("{events}?q=x")] {
        assert_eq!(api.call("ada", "GET", &query, None).await.body["error"], "invalid_query", "{query}");
    }
    api.database.purge(key["id"].as_str().unwrap().parse().unwrap()).await;
    assert_eq!(api.call("ada", "GET", &path(&key), None).await.status, 404);
    assert_eq!(pages(&api, &format!("{events}?")).await.len(), 2);
}

#[tokio::test]
async fn a_key_can_look_at_itself_and_revoke_itself_and_nothing_else() {
    let api = Api::start().await;
    let (key, other) = (api.create("ada", "ci").await, api.create("ada", "other").await);
    let id = key["id"].as_str().unwrap();
    let itself = format!("key of ada {id}");
    let seen = api.call(&itself, "GET", "/v1/api-keys/self", None).await;
    assert_eq!((seen.status, &seen.headers["etag"]), (200, &"\"1\"".parse().unwrap()));
    assert_eq!(seen.body, api.call("ada", "GET", &path(&key), None).await.body);
    for (method, target) in [
        ("GET", path(&key)),
        ("DELETE", path(&key)),
        ("DELETE", path(&other)),
        ("PATCH", path(&key)),
        ("GET", format!("{}/events", path(&key))),
    ] {
        let seen = api.call(&itself, method, &target, Some(json!({ "name": "x" }))).await;
        assert_eq!((seen.status, &seen.body["error"]), (403, &json!("forbidden")), "{method} {target}");
    }
    for method in ["GET", "DELETE"] {
        let person = api.call("ada", method, "/v1/api-keys/self", None).await;
        assert_eq!((person.status, &person.body["error"]), (403, &json!("forbidden")));
        // a context that names a key of somebody else's, which the authorizer never writes
        assert_eq!(api.call(&format!("key of eve {id}"), method, "/v1/api-keys/self", None).await.status, 404);
    }
    let target = "/v1/api-keys/self?reason=in+a+public+log";
    for _ in 0..2 {
        assert_eq!(api.call(&itself, "DELETE", target, None).await.status, 204);
    }
    assert_eq!(api.call("ada", "GET", &path(&key), None).await.body["revoked_reason"], "in+a+public+log");
    assert_eq!(api.call("ada", "GET", &path(&other), None).await.body["status"], "active");
    let event = &pages(&api, &format!("{}/events?", path(&key))).await[0];
    assert_eq!((&event["actor"], &event["actor_username"]), (&json!(format!("api_key:{id}")), &json!("ada")));
}

/// Whether the key opens anything at this instant.
async fn is_good(api: &Api, key: &Value, now: Timestamp) -> bool {
    let key: ApiKey = key["key"].as_str().unwrap().parse().unwrap();
    api.keys.store.find(key.id()).await.unwrap().unwrap().authenticate(&key, None, now).is_ok()
}

async fn rotate(api: &Api, now: Timestamp, key: &Value, body: &str) -> Seen {
    api.at(now, "ada", "POST", &format!("{}/rotate", path(key)), Some(body.into()), &[]).await
}

#[tokio::test]
async fn a_rotated_key_is_good_until_its_deadline_and_not_at_it() {
    let api = Api::start().await;
    let body = json!({ "name": "ci", "description": "pipeline", "expires_in_days": 7 });
    let old = api.call("ada", "POST", "/v1/api-keys", Some(body)).await.body;
    let seen = rotate(&api, NOW, &old, r#"{"overlap_seconds":60}"#).await;
    let new = &seen.body;
    assert_eq!((seen.status, &seen.headers["etag"]), (201, &"\"1\"".parse().unwrap()));
    assert_eq!(seen.headers["location"], path(new).as_str());
    assert_ne!((&old["id"], &old["key"]), (&new["id"], &new["key"]));
    for member in ["name", "description", "groups", "expires_at"] {
        assert_eq!(old[member], new[member], "{member}");
    }
    assert_eq!((&new["rotated_from"], &new["rotated_to"], &new["version"]), (&old["id"], &Value::Null, &json!(1)));
    let shown = api.call("ada", "GET", &path(&old), None).await.body;
    assert_eq!((&shown["rotated_to"], &shown["version"]), (&new["id"], &json!(2)));
    assert_eq!((&shown["expires_at"], &shown["status"]), (&json!("2027-01-15T08:01:00Z"), &json!("active")));
    assert!(is_good(&api, &old, NOW.plus(59)).await && !is_good(&api, &old, NOW.plus(60)).await);
    let week = 7 * 24 * 60 * 60;
    assert!(is_good(&api, new, NOW.plus(week - 1)).await && !is_good(&api, new, NOW.plus(week)).await);
    let events = pages(&api, &format!("{}/events?", path(&old))).await;
    assert_eq!((&events[0]["event"], &events[0]["after"]["rotated_to"]), (&json!("rotated"), &new["id"]));
    let [created] = &pages(&api, &format!("{}/events?", path(new))).await[..] else { panic!("one event") };
    assert_eq!((&created["event"], &created["after"]["rotated_from"]), (&json!("created"), &old["id"]));
    assert_eq!(created["request_id"], events[0]["request_id"]);
}

#[tokio::test]
async fn the_overlap_is_a_day_unless_asked_otherwise_and_a_week_at_most() {
    let api = Api::start().await;
    for (body, lives_for) in [("", 86_400), ("{}", 86_400), (r#"{"overlap_seconds":604800}"#, 604_800)] {
        let key = api.create("ada", "ci").await;
        assert_eq!(rotate(&api, NOW, &key, body).await.status, 201, "{body}");
        let shown = api.call("ada", "GET", &path(&key), None).await.body;
        assert_eq!(shown["expires_at"], NOW.plus(lives_for).to_string());
        api.call("ada", "DELETE", &path(&key), None).await;
        api.call("ada", "DELETE", &format!("/v1/api-keys/{}", shown["rotated_to"].as_str().unwrap()), None).await;
    }
    let key = api.create("ada", "ci").await;
    for (body, status) in [
        (r#"{"overlap_seconds":-1}"#, 422),
        (r#"{"overlap_seconds":604801}"#, 422),
        (r#"{"overlap_seconds":null}"#, 400),
        (r#"{"overlap_seconds":1.5}"#, 400),
        (r#"{"expires_at":null}"#, 400),
        ("[]", 400),
    ] {
        assert_eq!(rotate(&api, NOW, &key, body).await.status, status, "{body}");
    }
    assert_eq!(api.call("ada", "GET", &path(&key), None).await.body["version"], 1);
}

#[tokio::test]
async fn only_a_good_key_without_a_successor_can_be_rotated() {
    let api = Api::start().await;
    let refused = async |now: Timestamp, key: &Value| {
        let seen = rotate(&api, now, key, r#"{"overlap_seconds":0}"#).await;
        (seen.status, seen.body["error"].as_str().unwrap_or_default().to_owned())
    };
    let key = api.create("ada", "ci").await;
    api.call("ada", "PATCH", &path(&key), Some(json!({ "status": "disabled" }))).await;
    assert_eq!(refused(NOW, &key).await, (409, "key_disabled".into()));
    api.call("ada", "DELETE", &path(&key), None).await;
    assert_eq!(refused(NOW, &key).await, (409, "key_revoked".into()));
    let body = json!({ "name": "ci", "expires_at": NOW.plus(60).to_string() });
    let key = api.call("ada", "POST", "/v1/api-keys", Some(body)).await.body;
    assert_eq!(refused(NOW.plus(60), &key).await, (409, "key_expired".into()));
    let new = rotate(&api, NOW.plus(59), &key, r#"{"overlap_seconds":604800}"#).await.body;
    assert_eq!(new["expires_at"], key["expires_at"]);
    assert!(!is_good(&api, &new, NOW.plus(60)).await, "a successor never outlives the original");
    // once more, in the overlap and long after: the successor can be rotated, the old one can't
    let key = api.create("ada", "ci").await;
    let new = rotate(&api, NOW, &key, r#"{"overlap_seconds":60}"#).await.body;
    for now in [NOW, NOW.plus(59), NOW.plus(60)] {
        assert_eq!(refused(now, &key).await, (409, "key_rotated".into()));
    }
    api.call("ada", "DELETE", &path(&key), None).await;
    assert_eq!(refused(NOW, &key).await, (409, "key_rotated".into()));
    assert_eq!(rotate(&api, NOW, &new, r#"{"overlap_seconds":0}"#).await.status, 201);
    assert_eq!(refused(NOW, &api.create("eve", "ci").await).await, (404, "not_found".into()));
}

#[tokio::test]
async fn a_rotation_without_overlap_works_at_the_limit_and_one_with_overlap_does_not() {
    let api = Api::start().await;
    let mut keys = Vec::new();
    for number in 0..5 {
        keys.push(api.create("ada", &format!("key {number}")).await);
    }
    let seen = rotate(&api, NOW, &keys[0], r#"{"overlap_seconds":1}"#).await;
    assert_eq!((seen.status, &seen.body["error"]), (409, &json!("key_limit_reached")));
    assert_eq!(api.call("ada", "GET", &path(&keys[0]), None).await.body["version"], 1, "nothing was changed");
    let mut key = keys.remove(0);
    for _ in 0..7 {
        let new = rotate(&api, NOW, &key, r#"{"overlap_seconds":0}"#).await;
        assert_eq!(new.status, 201, "{}", new.body);
        assert!(!is_good(&api, &key, NOW).await && is_good(&api, &new.body, NOW).await);
        assert_eq!(api.call("ada", "GET", &path(&key), None).await.body["status"], "expired");
        let seen = api.call("ada", "POST", "/v1/api-keys", Some(json!({ "name": "one more" }))).await;
        assert_eq!(seen.body["error"], "key_limit_reached");
        key = new.body;
    }
    assert_eq!(pages(&api, "/v1/api-keys?status=active&").await.len(), 5);
    assert_eq!(pages(&api, "/v1/api-keys?status=expired&").await.len(), 7);
}

#[tokio::test]
async fn of_two_keys_that_overlap_both_count_until_the_deadline() {
    let api = Api::start().await;
    let key = api.create("ada", "ci").await;
    assert_eq!(rotate(&api, NOW, &key, r#"{"overlap_seconds":60}"#).await.status, 201);
    for _ in 0..3 {
        api.create("ada", "ci").await;
    }
    let create =
        async |now| api.at(now, "ada", "POST", "/v1/api-keys", Some(r#"{"name":"ci"}"#.into()), &[]).await.status;
    assert_eq!(create(NOW.plus(59)).await, 409);
    assert_eq!(create(NOW.plus(60)).await, 201);
    assert_eq!(create(NOW.plus(60)).await, 409);
    let list = api.at(NOW.plus(60), "ada", "GET", "/v1/api-keys?status=expired", None, &[]).await.body;
    assert_eq!((&list["items"][0]["id"], list["items"].as_array().unwrap().len()), (&key["id"], 1));
}

#[tokio::test]
async fn of_rotations_at_once_exactly_one_gives_a_successor() {
    let api = Api::start().await;
    for overlap in ["0", "60"] {
        let key = api.create("ada", "ci").await;
        let body = format!(r#"{{"overlap_seconds":{overlap}}}"#);
        let (one, two, three) = tokio::join!(
            rotate(&api, NOW, &key, &body),
            rotate(&api, NOW, &key, &body),
            rotate(&api, NOW, &key, &body)
        );
        let mut made: Vec<Value> = Vec::new();
        for seen in [one, two, three] {
            match seen.status {
                201 => made.push(seen.body["id"].clone()),
                _ => assert_eq!((seen.status, &seen.body["error"]), (409, &json!("key_rotated"))),
            }
        }
        assert_eq!(made.len(), 1);
        assert_eq!(api.call("ada", "GET", &path(&key), None).await.body["rotated_to"], made[0]);
    }
    assert_eq!(pages(&api, "/v1/api-keys?").await.len(), 4, "two keys, two successors");
}

#[tokio::test]
async fn a_rotation_of_a_version_that_is_gone_is_refused() {
    let api = Api::start().await;
    let key = api.create("ada", "ci").await;
    api.call("ada", "PATCH", &path(&key), Some(json!({ "name": "new" }))).await;
    let target = format!("{}/rotate", path(&key));
    for (version, status) in [("\"1\"", 412), ("\"2\"", 201)] {
        let seen = api.send("ada", "POST", &target, Some("{}".into()), &[("if-match", version)]).await;
        assert_eq!(seen.status, status);
    }
}

const REPEAT: &str = "0f1c8d52-6a7e-4b57-9d4e-2f6d3c1b9a80";

#[tokio::test]
async fn a_request_that_is_repeated_gets_the_same_answer_for_15_minutes_and_does_nothing() {
    let api = Api::start().await;
    let body = r#"{"name":"ci"}"#;
    let post = async |now: Timestamp, user: &str, target: &str, body: &str| {
        api.at(now, user, "POST", target, Some(body.into()), &[("idempotency-key", REPEAT)]).await
    };
    let first = post(NOW, "ada", "/v1/api-keys", body).await;
    assert_eq!(first.status, 201);
    api.call("ada", "PATCH", &path(&first.body), Some(json!({ "name": "renamed" }))).await;
    for _ in 0..4 {
        api.create("ada", "up to the limit").await;
    }
    for now in [NOW, NOW.plus(1), NOW.plus(899)] {
        let again = post(now, "ada", "/v1/api-keys", body).await;
        assert_eq!((again.status, &again.body, &again.headers), (201, &first.body, &first.headers));
    }
    assert_eq!(pages(&api, "/v1/api-keys?").await.len(), 5);
    // another body, another owner, another route
    let other = post(NOW.plus(899), "ada", "/v1/api-keys", r#"{"name":"other"}"#).await;
    assert_eq!((other.status, &other.body["error"]), (422, &json!("idempotency_key_reused")));
    let bobs = post(NOW, "bob", "/v1/api-keys", body).await;
    assert_eq!(bobs.status, 201);
    assert_ne!(bobs.body["id"], first.body["id"]);
    let target = format!("{}/rotate", path(&first.body));
    let rotated = post(NOW, "ada", &target, r#"{"overlap_seconds":0}"#).await;
    assert_eq!((rotated.status, &rotated.body["rotated_from"]), (201, &first.body["id"]));
    let again = post(NOW.plus(899), "ada", &target, r#"{"overlap_seconds":0}"#).await;
    assert_eq!((again.status, &again.body, &again.headers), (201, &rotated.body, &rotated.headers));
    assert_eq!(post(NOW.plus(899), "ada", &target, "{}").await.status, 422);
    // then it is a new request
    assert_eq!(post(NOW.plus(900), "ada", &target, r#"{"overlap_seconds":0}"#).await.body["error"], "key_rotated");
    api.call("ada", "DELETE", &path(&rotated.body), None).await;
    let new = post(NOW.plus(900), "ada", "/v1/api-keys", body).await;
    assert_eq!(new.status, 201);
    assert_ne!(new.body["id"], first.body["id"]);
    assert_eq!(post(NOW.plus(1799), "ada", "/v1/api-keys", body).await.body, new.body);
}

#[tokio::test]
async fn what_is_kept_for_a_repetition_is_opened_by_nobody_who_reads_the_table() {
    let api = Api::start().await;
    let headers = [("idempotency-key", REPEAT)];
    let made = api.send("ada", "POST", "/v1/api-keys", Some(r#"{"name":"ci"}"#.into()), &headers).await.body;
    let dump = api.database.dump().await;
    assert!(dump.contains("I#ada#") && dump.contains("sealed"));
    let secret = &made["key"].as_str().unwrap()[16..59];
    for hidden in [secret, REPEAT] {
        let bytes = format!("{:?}", hidden.as_bytes());
        assert!(!dump.contains(hidden) && !dump.contains(bytes.trim_matches(['[', ']'])));
    }
}

#[tokio::test]
async fn an_idempotency_key_is_one_of_16_to_255_visible_characters() {
    let api = Api::start().await;
    let create = async |headers: &[(&str, &str)]| {
        let seen = api.send("ada", "POST", "/v1/api-keys", Some(r#"{"name":"ci"}"#.into()), headers).await;
        (seen.status, seen.body["error"].as_str().unwrap_or("none").to_owned())
    };
    let (short, long) = ("x".repeat(15), "x".repeat(256));
    for key in ["", short.as_str(), long.as_str(), "sixteen characters", "sixteen-charactérs"] {
        assert_eq!(create(&[("idempotency-key", key)]).await, (400, "invalid_idempotency_key".into()), "{key}");
    }
    for key in ["x".repeat(16), "y".repeat(255)] {
        assert_eq!(create(&[("idempotency-key", &key)]).await, (201, "none".into()));
    }
    assert_eq!(pages(&api, "/v1/api-keys?").await.len(), 2);
}

#[tokio::test]
async fn of_one_request_sent_many_times_at_once_one_key_is_made() {
    let api = Api::start().await;
    let send =
        || api.send("ada", "POST", "/v1/api-keys", Some(r#"{"name":"ci"}"#.into()), &[("idempotency-key", REPEAT)]);
    let (a, b, c, d) = tokio::join!(send(), send(), send(), send());
    let mut made = std::collections::HashSet::new();
    for seen in [a, b, c, d] {
        if seen.status == 201 {
            made.insert(seen.body["key"].to_string());
        } else {
            assert_eq!((seen.status, &seen.body["error"]), (409, &json!("idempotency_in_progress")));
            assert!(seen.headers.contains_key("retry-after"));
        }
    }
    assert_eq!(made.len(), 1);
    assert!(made.contains(&send().await.body["key"].to_string()), "a little later it is answered");
    assert_eq!(pages(&api, "/v1/api-keys?").await.len(), 1);
}

const OPERATOR: &str = "operator as oscar";
const ROOT: &str = "root,user as rita";

#[tokio::test]
async fn only_people_of_root_and_operator_look_after_the_keys_of_others() {
    let api = Api::start().await;
    let key = api.create("ada", "ci").await;
    let one = format!("/v1/admin/api-keys/{}", key["id"].as_str().unwrap());
    for user in ["eve", "user as ada", "root as key of ada", "operator as key of oscar"] {
        for (method, target) in [
            ("GET", "/v1/admin/api-keys?owner=ada"),
            ("DELETE", "/v1/admin/api-keys?owner=ada"),
            ("DELETE", one.as_str()),
        ] {
            let seen = api.call(user, method, target, None).await;
            assert_eq!((seen.status, &seen.body["error"]), (403, &json!("forbidden")), "{user} {method} {target}");
        }
    }
    assert_eq!(api.call("ada", "GET", &path(&key), None).await.body["status"], "active");
    for admin in [OPERATOR, ROOT] {
        let seen = api.call(admin, "GET", "/v1/admin/api-keys?owner=ada", None).await;
        assert_eq!((seen.status, seen.body["items"].as_array().unwrap().len()), (200, 1));
        assert_eq!(
            seen.body["items"][0],
            api.call("ada", "GET", &path(&key), None).await.body,
            "no more than she sees"
        );
    }
    let two = api.create("ada", "two").await;
    let list = async |query: &str| api.call(OPERATOR, "GET", &format!("/v1/admin/api-keys?{query}"), None).await;
    assert_eq!(list("owner=ada&q=two").await.body["items"][0]["id"], two["id"]);
    assert_eq!(list("owner=nobody").await.body, json!({ "items": [], "next_cursor": null }));
    let cursor = list("owner=ada&limit=1").await.body["next_cursor"].as_str().unwrap().to_owned();
    assert_eq!(list(&format!("owner=ada&limit=1&cursor={cursor}")).await.body["items"].as_array().unwrap().len(), 1);
    let long = "x".repeat(257);
    for query in
        ["", "owner=", "q=two", "owner=ada&owner=bob", &format!("owner={long}"), &format!("owner=bob&cursor={cursor}")]
    {
        assert_eq!(list(query).await.body["error"], "invalid_query", "{query}");
    }
}

#[tokio::test]
async fn an_administrator_revokes_anybodys_key_and_the_owner_sees_who_and_why() {
    let api = Api::start().await;
    let key = api.create("ada", "ci").await;
    let target = format!("/v1/admin/api-keys/{}", key["id"].as_str().unwrap());
    for reason in ["?reason=incident+7", "?reason=later", ""] {
        assert_eq!(api.call(OPERATOR, "DELETE", &format!("{target}{reason}"), None).await.status, 204);
    }
    let shown = api.call("ada", "GET", &path(&key), None).await.body;
    assert_eq!((&shown["status"], &shown["revoked_reason"]), (&json!("revoked"), &json!("incident+7")));
    let events = pages(&api, &format!("{}/events?", path(&key))).await;
    assert_eq!(events.len(), 2);
    assert_eq!((&events[0]["event"], &events[0]["actor"]), (&json!("revoked"), &json!("oscar")));
    for none in ["zzzzzzzzzzzz", "no-id"] {
        let seen = api.call(OPERATOR, "DELETE", &format!("/v1/admin/api-keys/{none}"), None).await;
        assert_eq!((seen.status, &seen.body["error"]), (404, &json!("not_found")));
    }
}

#[tokio::test]
async fn nobody_but_root_revokes_a_key_of_group_root() {
    let api = Api::start().await;
    let roots = api.create(ROOT, "deploys it all").await;
    let plain = api.call(ROOT, "POST", "/v1/api-keys", Some(json!({ "name": "x", "groups": ["user"] }))).await.body;
    let one = |key: &Value| format!("/v1/admin/api-keys/{}", key["id"].as_str().unwrap());
    for target in [one(&roots), "/v1/admin/api-keys?owner=rita".into()] {
        let seen = api.call(OPERATOR, "DELETE", &target, None).await;
        assert_eq!((seen.status, &seen.body["error"]), (403, &json!("forbidden")), "{target}");
    }
    for key in [&roots, &plain] {
        assert_eq!(api.call("rita", "GET", &path(key), None).await.body["status"], "active", "nothing was changed");
    }
    assert_eq!(api.call(OPERATOR, "DELETE", &one(&plain), None).await.status, 204);
    let seen = api.call(ROOT, "DELETE", "/v1/admin/api-keys?owner=rita", None).await;
    assert_eq!((seen.status, seen.body), (200, json!({ "revoked": 1 })));
}

#[tokio::test]
async fn an_administrator_can_block_what_older_tokens_do_with_keys() {
    let mut api = Api::start().await;
    let key = api.create("ada", "ci").await;
    let off = api.create("ada", "off").await;
    api.call("ada", "PATCH", &path(&off), Some(json!({ "status": "disabled" }))).await;
    let all = |query: &str| format!("/v1/admin/api-keys?owner=ada{query}");
    for query in ["&block_older_tokens=yes", "&block_older_tokens=true&block_older_tokens=true"] {
        assert_eq!(api.call(OPERATOR, "DELETE", &all(query), None).await.body["error"], "invalid_query");
    }
    for query in ["", "&block_older_tokens=false", "&block_older_tokens="] {
        assert_eq!(api.call(OPERATOR, "DELETE", &all(query), None).await.status, 200);
        api.create("ada", "one more").await;
    }
    let narrowed = json!({ "name": "narrow", "scopes": ["read"], "groups": [] });
    let narrow = api.call("ada", "POST", "/v1/api-keys", Some(narrowed)).await.body;
    api.keys.store.bar("ada", NOW).await.unwrap();
    // each way to more is refused by its code, and a way to less is not
    let create = Some(json!({ "name": "new" }));
    for (method, target, body) in [
        ("POST", "/v1/api-keys".to_owned(), create.clone()),
        ("POST", format!("{}/rotate", path(&narrow)), None),
        ("PATCH", path(&narrow), Some(json!({ "scopes": [] }))),
        ("PATCH", path(&narrow), Some(json!({ "groups": ["user"] }))),
    ] {
        let seen = api.call("ada", method, &target, body).await;
        assert_eq!((seen.status, &seen.body["error"]), (403, &json!("token_outdated")), "{method} {target}");
    }
    let off = api.call("ada", "PATCH", &path(&narrow), Some(json!({ "status": "disabled" }))).await;
    assert_eq!((off.status, &off.body["status"]), (200, &json!("disabled")));
    let on = api.call("ada", "PATCH", &path(&narrow), Some(json!({ "status": "active" }))).await;
    assert_eq!((on.status, &on.body["error"]), (403, &json!("token_outdated")));
    // at once with revoking all, also of somebody who has no key
    let blocking = "&block_older_tokens=true";
    assert_eq!(api.call(OPERATOR, "DELETE", &all(blocking), None).await.body, json!({ "revoked": 2 }));
    let of_bob = format!("/v1/admin/api-keys?owner=bob{blocking}");
    assert_eq!(api.call(OPERATOR, "DELETE", &of_bob, None).await.body, json!({ "revoked": 0 }));
    for owner in ["ada", "bob"] {
        assert_eq!(api.call(owner, "POST", "/v1/api-keys", create.clone()).await.body["error"], "token_outdated");
    }
    assert!(!is_good(&api, &key, NOW).await);
    // who may not revoke blocks nothing
    api.create(ROOT, "deploys it all").await;
    let of_rita = format!("/v1/admin/api-keys?owner=rita{blocking}");
    assert_eq!(api.call(OPERATOR, "DELETE", &of_rita, None).await.status, 403);
    api.create(ROOT, "deploys more").await;
    // signing in again is the way back
    api.issued_at = Some(NOW.plus(1));
    api.create("ada", "back").await;
}

#[tokio::test]
async fn all_keys_of_an_owner_are_revoked_at_once_and_none_are_left_the_second_time() {
    let mut api = Api::start().await;
    api.keys.limit = 200;
    let mut keys = Vec::new();
    for number in 0..70 {
        keys.push(api.create("ada", &format!("key {number}")).await);
    }
    let others = api.create("bob", "bob's").await;
    let body = json!({ "name": "short", "expires_at": NOW.plus(1).to_string() });
    let expired = api.call("ada", "POST", "/v1/api-keys", Some(body)).await.body;
    api.call("ada", "PATCH", &path(&keys[0]), Some(json!({ "status": "disabled" }))).await;
    api.call("ada", "DELETE", &path(&keys[1]), None).await;
    let target = "/v1/admin/api-keys?owner=ada&reason=gone";
    for revoked in [69, 0] {
        let seen = api.at(NOW.plus(1), OPERATOR, "DELETE", target, None, &[]).await;
        assert_eq!((seen.status, seen.body), (200, json!({ "revoked": revoked })));
    }
    for key in &keys {
        assert!(!is_good(&api, key, NOW).await);
        let events = api.call("ada", "GET", &format!("{}/events", path(key)), None).await.body;
        assert_eq!(
            (&events["items"][0]["event"], &events["items"][0]["request_id"]),
            (&json!("revoked"), &json!("r-1"))
        );
    }
    let last = api.call("ada", "GET", &format!("{}/events", path(&keys[69])), None).await.body;
    assert_eq!((&last["items"][0]["actor"], &last["items"][0]["reason"]), (&json!("oscar"), &json!("gone")));
    assert!(is_good(&api, &others, NOW).await);
    assert_eq!(api.call("ada", "GET", &path(&expired), None).await.body["revoked_at"], Value::Null);
    for query in ["reason=x", "owner=ada&q=x"] {
        let seen = api.call(OPERATOR, "DELETE", &format!("/v1/admin/api-keys?{query}"), None).await;
        assert_eq!(seen.body["error"], "invalid_query");
    }
}

#[tokio::test]
async fn no_change_outruns_the_revocation_of_all_keys() {
    let api = Api::start().await;
    for _ in 0..5 {
        let (one, two) = (api.create("ada", "one").await, api.create("ada", "two").await);
        let (one, two) = (path(&one), path(&two));
        let (all, change, alone) = tokio::join!(
            api.call(OPERATOR, "DELETE", "/v1/admin/api-keys?owner=ada", None),
            api.call("ada", "PATCH", &one, Some(json!({ "name": "renamed" }))),
            api.call("ada", "DELETE", &two, None),
        );
        assert_eq!((all.status, alone.status), (200, 204), "{}", all.body);
        assert!([200, 409, 412].contains(&change.status));
        assert!(pages(&api, "/v1/api-keys?status=active&").await.is_empty());
    }
}

#[tokio::test]
async fn a_reason_is_short_plain_text_and_the_first_one_is_kept() {
    let api = Api::start().await;
    let key = api.create("ada", "ci").await;
    let (longest, long) = ("é".repeat(200), "é".repeat(201));
    for query in [format!("reason={long}"), "reason=a\u{7}b".into(), "raeson=x".into(), "reason=x&reason=y".into()] {
        for (method, body) in [("DELETE", None), ("PATCH", Some(json!({ "name": "new" })))] {
            let seen = api.call("ada", method, &format!("{}?{query}", path(&key)), body).await;
            assert_eq!((seen.status, &seen.body["error"]), (400, &json!("invalid_query")), "{method} {query}");
        }
    }
    assert_eq!(api.call("ada", "GET", &path(&key), None).await.body["version"], 1);
    for reason in [longest.as_str(), "later"] {
        assert_eq!(api.call("ada", "DELETE", &format!("{}?reason={reason}", path(&key)), None).await.status, 204);
    }
    assert_eq!(api.call("ada", "GET", &path(&key), None).await.body["revoked_reason"], longest.as_str());
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
