//! The HTTP contract of the keys, against a real `DynamoDB` API.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

mod admin;
mod api_keys;
mod scopes;

use std::sync::atomic::{AtomicU8, Ordering};

use ::api_keys::{ApiKeys, Entropy};
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
        let (http, keys) = config(&[]).unwrap();
        Self { keys: ApiKeys { store: database.store(), limit: 5, entropy, ..keys }, http, database, issued_at: None }
    }

    /// `user` is a person of group `user`, `root as ada` one of group `root`, `key of ada` a key of hers, `machine client:ci` a
    /// machine and `other_pool us-west-1_Other:ada` a person of another pool.
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
                "id": user.rsplit(' ').next(), "username": user, "groups": groups,
                "authenticated_by": user.split_once(' ').map_or("jwt", |(kind, _)| kind),
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
fn config(changes: &[(&str, &str)]) -> Result<(Settings, ApiKeys), ConfigError> {
    let sound = [
        ("VEGA_KEYS_TABLE", "keys"),
        ("LAMBDA_TASK_ROOT", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rules")),
        ("AWS_REGION", "us-west-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ];
    let lookup = |name: &str| {
        let (_, value) = changes.iter().chain(&sound).find(|(known, _)| *known == name)?;
        Some((*value).to_owned())
    };
    load("test", lookup, |environment| {
        let (settings, keys) = (Settings::read("test", environment), ApiKeys::read(environment, |_| Ok(())));
        Some((settings?, keys?))
    })
}

/// The route that API Gateway would choose, and the id in its place.
fn resource(path: &str) -> (String, Option<&str>) {
    let parts: Vec<&str> = path.split('/').collect();
    let at = parts.iter().position(|part| *part == "api-keys").map_or(usize::MAX, |at| at + 1);
    match parts.get(at) {
        None | Some(&"self" | &"enable") => (path.to_owned(), None),
        Some(id) => {
            let open: Vec<&str> =
                parts.iter().enumerate().map(|(i, part)| if i == at { "{id}" } else { part }).collect();
            (open.join("/"), Some(id))
        }
    }
}

fn document() -> Value {
    serde_json::from_str(include_str!("../../../../docs/openapi.json")).unwrap()
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
    let examples = &response["content"]["application/problem+json"]["examples"];
    let examples = examples.as_object().into_iter().flatten().filter(|(name, _)| name.split('.').next() == Some(error));
    // The number or the id in the example is another.
    let words = |problem: &Value| {
        let text = problem["detail"].as_str().unwrap_or_default();
        let is_word = |word: &&str| word.len() < 12 && !word.contains(|letter: char| letter.is_ascii_digit());
        text.split(' ').filter(is_word).map(str::to_owned).collect::<Vec<_>>()
    };
    let examples: Vec<_> = examples.map(|(_, example)| words(&example["value"])).collect();
    // which errors an operation has is held to the sources: tests/test_documents.py
    assert!(examples.is_empty() || examples.contains(&words(problem)), "{method} {resource} {problem}");
}

fn path(key: &Value) -> String {
    format!("/v1/api-keys/{}", key["id"].as_str().unwrap())
}

#[test]
fn an_invalid_configuration_is_rejected_with_every_problem() {
    assert_eq!(config(&[]).unwrap().1.limit, 100);
    for limit in ["1", "1000"] {
        assert_eq!(config(&[("VEGA_KEY_LIMIT", limit)]).unwrap().1.limit.to_string(), limit);
    }
    for limit in ["0", "1001", "-1", "many"] {
        let wrong = config(&[("VEGA_KEY_LIMIT", limit), ("VEGA_KEYS_TABLE", ""), ("AWS_REGION", "")]).err().unwrap();
        let says =
            ["VEGA_KEY_LIMIT: expected a number from 1 to 1000", "VEGA_KEYS_TABLE is not set", "AWS_REGION is not set"];
        assert_eq!(wrong.0, says);
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

/// Whether the key opens anything at this instant.
async fn is_good(api: &Api, key: &Value, now: Timestamp) -> bool {
    let key: ApiKey = key["key"].as_str().unwrap().parse().unwrap();
    api.keys.store.find(key.id()).await.unwrap().unwrap().authenticate(&key, None, now).is_ok()
}

async fn rotate(api: &Api, now: Timestamp, key: &Value, body: &str) -> Seen {
    api.at(now, "ada", "POST", &format!("{}/rotate", path(key)), Some(body.into()), &[]).await
}

const REPEAT: &str = "0f1c8d52-6a7e-4b57-9d4e-2f6d3c1b9a80";

const OPERATOR: &str = "operator as oscar";
const ROOT: &str = "root user as rita";
