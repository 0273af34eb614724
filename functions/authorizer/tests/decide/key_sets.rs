//! The issuer's key set under fire: what its endpoint may do to us, and what made-up tokens may make us do to it.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;
use vega_testing::Reply;

use crate::{Gateway, KEY_SET, NOW, UNAUTHORIZED, check, claims, rs256, rs256_of, with};

const COOL_DOWN: i64 = 30;
const REFRESH: i64 = 15 * 60;
const DAY: i64 = 24 * 60 * 60;
const SECOND_KEY: &[u8] = include_bytes!("../../../../tests/vectors/keys/issuer-2.pem");
const DOWN: &str = "temporarily unavailable";

/// The claims of a token that is good `seconds` from now.
fn claims_at(seconds: i64) -> Value {
    let claims = with(claims(), "iat", json!(NOW.0 + seconds - 10));
    with(claims, "exp", json!(NOW.0 + seconds + 10))
}

/// The issuer's key set with only these of its keys.
fn key_set(kids: &[&str]) -> String {
    let mut set: Value = serde_json::from_str(KEY_SET).unwrap();
    set["keys"].as_array_mut().unwrap().retain(|key| kids.contains(&key["kid"].as_str().unwrap()));
    set.to_string()
}

impl Gateway {
    /// Decides about a good token of the first or second key, so many seconds from now. Signed at once, decided later.
    fn presents(&self, kid: &str, seconds: i64) -> impl Future<Output = (String, String)> {
        let key = if kid == "test-1" { crate::ISSUER_KEY } else { SECOND_KEY };
        let token = rs256_of(kid, key, &claims_at(seconds));
        async move { self.decide_at(&token, NOW.plus(seconds)).await }
    }
}

#[track_caller]
fn is_down(seen: (String, String)) {
    check(seen, DOWN, "key_set_unavailable");
}

#[track_caller]
fn is_allowed(seen: (String, String)) {
    check(seen, "allow:ada", "ok");
}

#[track_caller]
fn is_unknown(seen: (String, String)) {
    check(seen, UNAUTHORIZED, "unknown_signing_key");
}

/// Everything that an endpoint can do instead of serving a key set.
fn wrong_replies() -> Vec<Reply> {
    let texts = ["", "<html>", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"kid":"test-1"}]}"#, "[[[[[[", "\u{0}"];
    let statuses = ["204 No Content", "404 Not Found", "429 Too Many Requests", "500 Internal Server Error"];
    let good = || format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{KEY_SET}", KEY_SET.len()).into_bytes();
    let mut all: Vec<Reply> = texts.iter().map(Reply::ok).collect();
    all.extend(statuses.map(|status| Reply::status(status, KEY_SET)));
    all.extend([
        Reply::ok(format!("{}{}", KEY_SET, " ".repeat(70_000))),
        Reply::Redirect(KEY_SET.into()),
        Reply::Flood,
        Reply::Truncate(good()),
        Reply::Stall(good()),
        Reply::Hang,
        Reply::Close,
    ]);
    all
}

#[tokio::test]
async fn a_rotation_refuses_nobody_and_a_second_one_within_a_cool_down_for_the_rest_of_it_only() {
    let gateway = Gateway::cognito().await;
    gateway.issuer.reply_with(Reply::ok(key_set(&["test-1"])));
    is_allowed(gateway.presents("test-1", 0).await);
    // announced and used at once, as no issuer should
    gateway.issuer.reply_with(Reply::ok(KEY_SET));
    is_unknown(gateway.presents("test-2", COOL_DOWN - 1).await);
    is_allowed(gateway.presents("test-2", COOL_DOWN).await);
    is_allowed(gateway.presents("test-1", COOL_DOWN).await);
    // the first key is withdrawn: what it signed is refused within 15 minutes
    gateway.issuer.reply_with(Reply::ok(key_set(&["test-2"])));
    is_allowed(gateway.presents("test-1", COOL_DOWN + REFRESH - 1).await);
    is_unknown(gateway.presents("test-1", COOL_DOWN + REFRESH).await);
    is_allowed(gateway.presents("test-2", COOL_DOWN + REFRESH).await);
    // and back again, long after the last fetch: nobody notices
    gateway.issuer.reply_with(Reply::ok(key_set(&["test-1"])));
    is_allowed(gateway.presents("test-1", 2 * (COOL_DOWN + REFRESH)).await);
}

#[tokio::test]
async fn a_key_that_the_issuer_removed_is_trusted_for_15_minutes_at_most() {
    let gateway = Gateway::cognito().await;
    is_allowed(gateway.presents("test-1", 0).await);
    gateway.issuer.reply_with(Reply::ok(key_set(&["test-2"])));
    is_allowed(gateway.presents("test-1", REFRESH - 1).await);
    is_unknown(gateway.presents("test-1", REFRESH).await);
}

#[tokio::test]
async fn a_hundred_requests_at_once_cost_one_fetch() {
    let gateway = Gateway::cognito().await;
    for (round, seconds) in [(1, 0), (2, REFRESH)] {
        let requests: Vec<_> =
            (0..100).map(|number| gateway.presents(["test-1", "test-2"][number % 2], seconds)).collect();
        for seen in join_all(requests).await {
            is_allowed(seen);
        }
        assert_eq!(gateway.issuer.requests().len(), round);
    }
}

#[tokio::test]
async fn while_a_slow_fetch_goes_on_a_known_key_serves_and_only_one_request_waits() {
    let gateway = Gateway::cognito().await;
    is_allowed(gateway.presents("test-1", 0).await);
    gateway.issuer.reply_with(Reply::Hang);
    let requests: Vec<_> = (0..20).map(|_| gateway.presents("test-1", REFRESH)).collect();
    tokio::time::pause(); // it runs ahead whenever all wait
    let started = Instant::now();
    let timed = requests.into_iter().map(|request| async {
        is_allowed(request.await);
        started.elapsed()
    });
    let mut took = join_all(timed).await;
    took.sort_unstable();
    assert!(took[18].is_zero() && !took[19].is_zero(), "one waits for the end of the fetch: {took:?}");
    assert_eq!(gateway.issuer.requests().len(), 2);
}

#[tokio::test]
async fn ten_thousand_made_up_kids_cost_one_fetch_a_cool_down() {
    let gateway = Gateway::cognito().await;
    is_allowed(gateway.presents("test-1", 0).await);
    let [_, body, signature] = rs256(&claims()).split('.').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap();
    for number in 0..10_000_i64 {
        let header = crate::base64(format!(r#"{{"alg":"RS256","kid":"made-up-{number}"}}"#).as_bytes());
        // a hundred a second
        let seen = gateway.decide_at(&format!("{header}.{body}.{signature}"), NOW.plus(number / 100)).await;
        is_unknown(seen);
    }
    assert_eq!(gateway.issuer.requests().len(), 4, "at 0, 30, 60 and 90 s");
    is_allowed(gateway.presents("test-1", 99).await);
}

#[tokio::test]
async fn an_issuer_that_is_down_is_asked_once_a_cool_down_too() {
    let gateway = Gateway::cognito().await;
    gateway.issuer.reply_with(Reply::status("500 Internal Server Error", KEY_SET));
    let token = rs256(&claims());
    for number in 0..1000 {
        is_down(gateway.decide_at(&token, NOW.plus(number / 10)).await);
    }
    assert_eq!(gateway.issuer.requests().len(), 4, "at 0, 30, 60 and 90 s");
}

#[tokio::test]
async fn whatever_an_endpoint_answers_instead_of_a_key_set_harms_nobody_whose_key_is_known() {
    for reply in wrong_replies() {
        let gateway = Gateway::cognito().await;
        is_allowed(gateway.presents("test-1", 0).await);
        gateway.issuer.reply_with(reply.clone());
        tokio::time::pause(); // it runs ahead whenever all wait
        let started = Instant::now();
        // the set is due, then known to be overdue
        is_allowed(gateway.presents("test-1", REFRESH).await);
        is_allowed(gateway.presents("test-1", REFRESH + 1).await);
        let other = rs256_of("other", SECOND_KEY, &claims_at(REFRESH + 1));
        is_down(gateway.decide_at(&other, NOW.plus(REFRESH + 1)).await);
        is_allowed(gateway.presents("test-1", DAY - 1).await);
        // a day without the issuer: we don't know any more
        is_down(gateway.presents("test-1", DAY).await);
        assert!(started.elapsed() < Duration::from_secs(5), "{reply:?} holds two fetches up: {:?}", started.elapsed());
        tokio::time::resume();
        gateway.issuer.reply_with(Reply::ok(KEY_SET));
        is_down(gateway.presents("test-1", DAY - 2 + COOL_DOWN).await);
        is_allowed(gateway.presents("test-1", DAY - 1 + COOL_DOWN).await);
    }
}

#[tokio::test]
async fn a_first_start_during_an_outage_answers_503_and_recovers_by_itself() {
    for reply in [Reply::Close, Reply::status("503 Service Unavailable", KEY_SET), Reply::Redirect(KEY_SET.into())] {
        let gateway = Gateway::cognito().await;
        gateway.issuer.reply_with(reply);
        let vega_auth::TokenVerifier::Cognito(_, keys) = &gateway.authorizer.authenticator.tokens else { panic!() };
        assert_eq!(keys.warm_up(NOW).await.unwrap_err().code(), "key_set_unavailable");
        // the first request tries again, and then there is a pause
        is_down(gateway.presents("test-1", 1).await);
        gateway.issuer.reply_with(Reply::ok(KEY_SET));
        is_down(gateway.presents("test-1", COOL_DOWN).await);
        is_allowed(gateway.presents("test-1", 1 + COOL_DOWN).await);
        assert_eq!(gateway.issuer.requests().len(), 3);
    }
}

#[tokio::test]
async fn a_clock_that_goes_backwards_prolongs_no_trust_and_no_pause() {
    let gateway = Gateway::cognito().await;
    // the clock ran a day ahead when the set was fetched
    is_allowed(gateway.presents("test-1", DAY).await);
    gateway.issuer.reply_with(Reply::ok(key_set(&["test-2"])));
    is_unknown(gateway.presents("test-1", 0).await);
    is_allowed(gateway.presents("test-2", 0).await);
    assert_eq!(gateway.issuer.requests().len(), 2);
    // a second or two between two readings of it are no such thing
    is_allowed(gateway.presents("test-2", -2).await);
    assert_eq!(gateway.issuer.requests().len(), 2);
}
