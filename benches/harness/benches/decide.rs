//! `make bench-decide`: the cost of a decision, from the event's bytes to the response, without Lambda, HTTP or the database.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use authorizer::{Authorizer, HttpApiResponse, Policies};
use divan::Bencher;
use harness::bench::RULES;
use harness::cases::Case;
use harness::credentials::{self, CLIENT, Issuer, POOL};
use serde_json::value::RawValue;
use vega_auth::{
    Authenticator, Fault, FetchKeySet, Groups, KeyId, KeyRecord, KeyRecords, LastUse, Timestamp, TokenSource,
    TokenVerifier, UserPool,
};

fn main() {
    divan::main();
}

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new().expect("a key"));

#[divan::bench(args = Case::ALL)]
fn decide(bencher: Bencher<'_, '_>, case: Case) {
    let authorizer = authorizer();
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

fn authorizer() -> Authorizer<Published, Keys> {
    let pool = UserPool::new("us-west-1", POOL, CLIENT).expect("a pool");
    let tokens =
        TokenVerifier::cognito(TokenSource::read(&pool, None).expect("sources"), |_| Published(ISSUER.key_set()));
    Authorizer {
        authenticator: Authenticator { tokens, keys: Keys },
        policies: Policies::new(RULES.parse().expect("rules")),
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
                groups: Groups::known(["user"]),
                last_use: Some(last_use),
                ..KeyRecord::new(&credentials::key(index), credentials::owner_of(index), now)
            }
        }))
    }

    async fn record_use(&self, _: KeyId, _: &LastUse) -> Result<(), Fault> {
        Ok(())
    }
}
