//! The cache of an issuer's key set, with an unreliable issuer and with invented `kid`s.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::time::Instant;
use vega_auth::{FetchKeySet, KeySet, KeySetCache, Timestamp};

const NOW: Timestamp = Timestamp(1_800_000_000);
const COOL_DOWN: i64 = 30;
const REFRESH: i64 = 15 * 60;
const DAY: i64 = 24 * 60 * 60;

/// Two keys: `test-1` and `test-2`.
const KEY_SET: &str = include_str!("../../../tests/vectors/keys/jwks.json");

/// An issuer whose replies a test chooses.
#[derive(Clone)]
struct Issuer(Arc<Mutex<State>>);

struct State {
    reply: Reply,
    fetches: usize,
}

#[derive(Clone, Debug)]
enum Reply {
    Serve(String),
    Fail,
    /// Fails at the adapter's deadline.
    Hang,
}

impl FetchKeySet for Issuer {
    async fn fetch(&self) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        let reply = {
            let mut state = self.0.lock().unwrap();
            state.fetches += 1;
            state.reply.clone()
        };
        tokio::task::yield_now().await;
        match reply {
            Reply::Serve(text) => Ok(text.into_bytes()),
            Reply::Fail => Err("connection refused".into()),
            Reply::Hang => {
                tokio::time::sleep(Duration::from_millis(1500)).await;
                Err("deadline has elapsed".into())
            }
        }
    }
}

/// The key set with only these keys.
fn with_keys(kids: &[&str]) -> Reply {
    let mut set: Value = serde_json::from_str(KEY_SET).unwrap();
    set["keys"].as_array_mut().unwrap().retain(|key| kids.contains(&key["kid"].as_str().unwrap()));
    Reply::Serve(set.to_string())
}

struct Subject {
    issuer: Issuer,
    cache: KeySetCache<Issuer, KeySet>,
}

impl Subject {
    fn new(reply: Reply) -> Self {
        let issuer = Issuer(Arc::new(Mutex::new(State { reply, fetches: 0 })));
        Self { cache: KeySetCache::new(issuer.clone()), issuer }
    }

    fn reply_with(&self, reply: Reply) {
        self.issuer.0.lock().unwrap().reply = reply;
    }

    fn fetches(&self) -> usize {
        self.issuer.0.lock().unwrap().fetches
    }

    async fn seen(&self, kid: &str, seconds: i64) -> &'static str {
        match self.cache.key(kid, NOW.plus(seconds)).await {
            Ok(Some(_)) => "known",
            Ok(None) => "absent",
            Err(fault) => fault.code(),
        }
    }

    async fn check(&self, kid: &str, seconds: i64, expected: &str) {
        assert_eq!(self.seen(kid, seconds).await, expected, "{kid} after {seconds} s");
    }
}

#[tokio::test]
async fn a_rotation_rejects_nobody_for_longer_than_a_cool_down() {
    let subject = Subject::new(with_keys(&["test-1"]));
    subject.check("test-1", 0, "known").await;
    // Announced and used at once, as no issuer should.
    subject.reply_with(Reply::Serve(KEY_SET.into()));
    subject.check("test-2", COOL_DOWN - 1, "absent").await;
    subject.check("test-2", COOL_DOWN, "known").await;
    subject.check("test-1", COOL_DOWN, "known").await;
    // The first key is withdrawn: it is absent within 15 minutes.
    subject.reply_with(with_keys(&["test-2"]));
    subject.check("test-1", COOL_DOWN + REFRESH - 1, "known").await;
    subject.check("test-1", COOL_DOWN + REFRESH, "absent").await;
    subject.check("test-2", COOL_DOWN + REFRESH, "known").await;
    // Back to the first key long after the last fetch: without any interruption.
    subject.reply_with(with_keys(&["test-1"]));
    subject.check("test-1", 2 * (COOL_DOWN + REFRESH), "known").await;
}

#[tokio::test]
async fn a_removed_key_is_trusted_for_at_most_15_minutes() {
    let subject = Subject::new(Reply::Serve(KEY_SET.into()));
    subject.check("test-1", 0, "known").await;
    subject.reply_with(with_keys(&["test-2"]));
    subject.check("test-1", REFRESH - 1, "known").await;
    subject.check("test-1", REFRESH, "absent").await;
}

#[tokio::test]
async fn a_hundred_concurrent_requests_cost_one_fetch() {
    let subject = Subject::new(Reply::Serve(KEY_SET.into()));
    for (round, seconds) in [(1, 0), (2, REFRESH)] {
        let requests = (0..100).map(|number| subject.seen(["test-1", "test-2"][number % 2], seconds));
        assert!(join_all(requests).await.iter().all(|seen| *seen == "known"));
        assert_eq!(subject.fetches(), round);
    }
}

#[tokio::test(start_paused = true)]
async fn during_a_slow_fetch_a_known_key_serves_all_but_one() {
    let subject = Subject::new(Reply::Serve(KEY_SET.into()));
    subject.check("test-1", 0, "known").await;
    subject.reply_with(Reply::Hang);
    let started = Instant::now();
    let requests = (0..20).map(async |_| {
        subject.check("test-1", REFRESH, "known").await;
        started.elapsed()
    });
    let mut took = join_all(requests).await;
    took.sort_unstable();
    assert!(took[18].is_zero(), "nobody else waits: {took:?}");
    assert!(!took[19].is_zero(), "one waits for the fetch: {took:?}");
    assert_eq!(subject.fetches(), 2);
}

#[tokio::test]
async fn ten_thousand_invented_kids_cost_one_fetch_per_cool_down() {
    let subject = Subject::new(Reply::Serve(KEY_SET.into()));
    subject.check("test-1", 0, "known").await;
    for number in 0..10_000_i64 {
        // A hundred per second.
        subject.check(&format!("invented-{number}"), number / 100, "absent").await;
    }
    assert_eq!(subject.fetches(), 4, "at 0, 30, 60 and 90 s");
    subject.check("test-1", 99, "known").await;
}

#[tokio::test]
async fn an_unreachable_issuer_is_asked_once_per_cool_down() {
    let subject = Subject::new(Reply::Fail);
    for number in 0..1000 {
        subject.check("test-1", number / 10, "key_set_unavailable").await;
    }
    assert_eq!(subject.fetches(), 4, "at 0, 30, 60 and 90 s");
}

#[tokio::test(start_paused = true)]
async fn a_failed_fetch_keeps_the_known_keys_for_a_day() {
    let texts = ["", "<html>", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"kid":"test-1"}]}"#, "[[[[[[", "\u{0}"];
    let too_large = format!("{KEY_SET}{}", " ".repeat(70_000));
    let unusable = texts.map(str::to_owned).into_iter().chain([too_large]).map(Reply::Serve);
    for reply in unusable.chain([Reply::Fail, Reply::Hang]) {
        let subject = Subject::new(Reply::Serve(KEY_SET.into()));
        subject.check("test-1", 0, "known").await;
        subject.reply_with(reply);
        // A fetch is due and fails; then the cool-down applies.
        subject.check("test-1", REFRESH, "known").await;
        subject.check("test-1", REFRESH + 1, "known").await;
        subject.check("other", REFRESH + 1, "key_set_unavailable").await;
        subject.check("test-1", DAY - 1, "known").await;
        // After a day without the issuer we don't know any more.
        subject.check("test-1", DAY, "key_set_unavailable").await;
        subject.reply_with(Reply::Serve(KEY_SET.into()));
        subject.check("test-1", DAY - 2 + COOL_DOWN, "key_set_unavailable").await;
        subject.check("test-1", DAY - 1 + COOL_DOWN, "known").await;
    }
}

#[tokio::test]
async fn an_outage_at_the_first_start_ends_without_a_restart() {
    let subject = Subject::new(Reply::Fail);
    assert_eq!(subject.cache.warm_up(NOW).await.unwrap_err().code(), "key_set_unavailable");
    // The first request tries again; then the cool-down applies.
    subject.check("test-1", 1, "key_set_unavailable").await;
    subject.reply_with(Reply::Serve(KEY_SET.into()));
    subject.check("test-1", COOL_DOWN, "key_set_unavailable").await;
    subject.check("test-1", 1 + COOL_DOWN, "known").await;
    assert_eq!(subject.fetches(), 3);
}

#[tokio::test]
async fn a_clock_set_back_extends_neither_trust_nor_cool_down() {
    let subject = Subject::new(Reply::Serve(KEY_SET.into()));
    // The clock ran a day ahead when the set was fetched.
    subject.check("test-1", DAY, "known").await;
    subject.reply_with(with_keys(&["test-2"]));
    subject.check("test-1", 0, "absent").await;
    subject.check("test-2", 0, "known").await;
    assert_eq!(subject.fetches(), 2);
    // A second or two between two readings of the clock don't count as set back.
    subject.check("test-2", -2, "known").await;
    assert_eq!(subject.fetches(), 2);
}
