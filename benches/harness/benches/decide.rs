//! `make bench-decide`: the cost of a decision, from the event's bytes to the response, without Lambda, HTTP or the database.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use authorizer::{Authorizer, HttpApiResponse, Policies};
use divan::Bencher;
use harness::bench::RULES;
use harness::cases::Case;
use harness::credentials::{self, CLIENT, Issuer, POOL};
use serde_json::json;
use serde_json::value::RawValue;
use vega_auth::{
    AccessRules, Authenticator, Fault, FetchKeySet, Groups, KeyId, KeyRecord, KeyRecords, LastUse, Timestamp,
    TokenSource, TokenVerifier, UserPool,
};

fn main() {
    divan::main();
}

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new().expect("a key"));

#[divan::bench(args = Case::ALL)]
fn decide(bencher: Bencher<'_, '_>, case: Case) {
    bench(bencher, case, RULES);
}

/// The same decision among ten rules, and among those of GitHub's REST API.
#[divan::bench(args = [10, 1223])]
fn decide_among(bencher: Bencher<'_, '_>, rules: usize) {
    bench(bencher, Case::SameJwt, &rules_of_github(rules));
}

/// Reads and checks a rules file, as the authorizer does when it starts.
#[divan::bench(args = [10, 1223])]
fn read_rules(bencher: Bencher<'_, '_>, rules: usize) {
    let json = rules_of_github(rules);
    bencher.bench_local(|| json.parse::<AccessRules>().expect("rules"));
}

/// This number of rules: one for the route that the benchmark calls, the others for GitHub's operations; and 40 scopes.
fn rules_of_github(count: usize) -> String {
    let operations = include_str!("../../../tests/vectors/github-operations.txt").lines();
    // Two operations have a route that API Gateway can't have, or has already.
    let route = |line: &str| {
        let segment = |(at, segment): (usize, &str)| {
            if segment.starts_with('{') { format!("{{p{at}}}") } else { segment.to_owned() }
        };
        line.split('/').enumerate().map(segment).collect::<Vec<_>>().join("/")
    };
    let routes: std::collections::BTreeSet<String> = operations.map(route).take(count - 1).collect();
    let rules: Vec<_> = routes
        .iter()
        .map(String::as_str)
        .chain(["GET /v1/projects"])
        .map(|route| json!({ "route": route, "groups": ["root", "user"] }))
        .collect();
    let scopes: serde_json::Map<_, _> = (0..40)
        .map(|number| (format!("scope-{number}"), routes.iter().skip(number).step_by(40).cloned().collect::<Vec<_>>()))
        .filter(|(_, routes)| !routes.is_empty())
        .map(|(name, routes)| (name, json!(routes)))
        .collect();
    json!({ "cache": "none", "rules": rules, "scopes": scopes }).to_string()
}

fn bench(bencher: Bencher<'_, '_>, case: Case, rules: &str) {
    let authorizer = authorizer(rules);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let now = Timestamp(credentials::now().cast_signed());
    let number = AtomicU64::new(0);
    bencher
        .with_inputs(|| case.request(&ISSUER, number.fetch_add(1, Ordering::Relaxed)).expect("a request"))
        .bench_local_values(|(event, caller)| {
            // As lambda_runtime passes it.
            let event: Box<RawValue> = serde_json::from_slice(&event).expect("an event");
            let (decision, line) = runtime.block_on(authorizer.decide(&*event, now));
            assert_eq!(decision.is_ok(), caller.is_some());
            (decision.map(|response| serde_json::to_vec(&response)), line.to_string())
        });
}

fn authorizer(rules: &str) -> Authorizer<Published, Keys> {
    let pool = UserPool::new("us-west-1", POOL, CLIENT).expect("a pool");
    let tokens =
        TokenVerifier::cognito(TokenSource::read(&pool, None).expect("sources"), |_| Published(ISSUER.key_set()));
    Authorizer {
        authenticator: Authenticator { tokens, keys: Keys },
        policies: Policies::new(rules.parse().expect("rules")),
        http_api_response: HttpApiResponse::Policy,
        gateway_caches: false,
    }
}

struct Published(String);

impl FetchKeySet for Published {
    async fn fetch(&self) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.clone().into())
    }
}

/// Every possible key, used just now: a busy key costs one read per request and no write.
struct Keys;

impl KeyRecords for Keys {
    async fn find(&self, id: KeyId, _: Timestamp) -> Result<Option<KeyRecord>, Fault> {
        let index = credentials::index_of(id.as_str());
        Ok(index.map(|index| {
            let now = Timestamp(credentials::now().cast_signed());
            let last_use =
                LastUse { at: now, address: "192.0.2.1".into(), user_agent: "curl/8.5.0".into(), moved_at: None };
            KeyRecord {
                groups: Groups::named(["user"]),
                last_use: Some(last_use),
                ..KeyRecord::new(&credentials::key(index), credentials::owner_of(index), now)
            }
        }))
    }

    async fn record_use(&self, _: KeyId, _: &LastUse) -> Result<(), Fault> {
        Ok(())
    }
}
