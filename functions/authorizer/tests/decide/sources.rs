//! Several user pools, clients and machines: every Cognito vector again for each of them, and what must not be mixed up.

use vega_testing::vectors::{SOURCES, Source, Vector};

use super::*;
use crate::vectors::outcome;

/// The vector's outcome for a token of this source: the caller's id contains the pool or the client.
fn expected(source: Source, vector: &Vector) -> String {
    match vector.expect.split_once(':') {
        Some((outcome @ ("allow" | "deny"), _)) if source.is_machine => format!("{outcome}:client:{}", source.client),
        Some((outcome @ ("allow" | "deny"), id)) if source.pool_id() != POOL[1] => {
            format!("{outcome}:{}:{id}", source.pool_id())
        }
        _ => vector.expect.clone(),
    }
}

#[tokio::test]
async fn every_cognito_vector_holds_for_each_issuer_client_and_kind() {
    let mut gateway = Gateway::cognito().await;
    let (mut seen, mut served) = (0, None);
    for source in Source::all() {
        for vector in source.vectors() {
            let key_set = vector.key_set();
            if served.as_ref() != Some(&key_set) {
                gateway.issuer.reply_with(Reply::ok(&key_set));
                gateway.authorizer.authenticator.tokens = cognito_tokens(&gateway.issuer, Some(SOURCES));
                served = Some(key_set);
            }
            let authorization = vector.authorization(Kind::Cognito);
            let decision =
                gateway.decide_event(event(&authorization), Timestamp(vector.now()), &[&authorization]).await;
            assert_eq!(outcome(decision), expected(source, &vector), "{}, {source:?}", vector.name);
            seen += 1;
        }
    }
    assert!(seen > 3000, "{seen}");
}

/// A valid token for every combination of a configured issuer, client and kind: only the configured ones are accepted.
#[tokio::test]
async fn no_other_combination_of_issuer_client_and_kind_is_accepted() {
    let mut gateway = Gateway::cognito().await;
    gateway.authorizer.authenticator.tokens = cognito_tokens(&gateway.issuer, Some(SOURCES));
    let all = Source::all();
    let mut accepted = 0;
    for issuer in
        all.iter().map(|source| source.issuer).chain(["https://cognito-idp.us-west-2.amazonaws.com/us-west-2_No"])
    {
        for client in all.iter().map(|source| source.client).chain(["stranger"]) {
            for is_machine in [false, true] {
                let source = Source { issuer, client, is_machine };
                let token = source.vectors()[0].token(Kind::Cognito);
                let (outcome, code) = gateway.decide(&token).await;
                let is = |other: &&Source| other.issuer == issuer && other.client == client;
                let expected = match all.iter().find(is) {
                    _ if all.iter().all(|other| other.issuer != issuer) => "issuer",
                    Some(configured) if configured.is_machine == is_machine => "ok",
                    Some(configured) if configured.is_machine => "person",
                    _ if is_machine => "machine",
                    _ => "client",
                };
                assert_eq!(code, expected, "{source:?}");
                assert_eq!(outcome.starts_with("allow"), code == "ok", "{source:?}");
                accepted += usize::from(code == "ok");
            }
        }
    }
    assert!(accepted >= all.len());
}

#[tokio::test]
async fn an_issuers_key_signs_for_no_other_issuer() {
    let own = TestServer::start(Reply::ok(KEY_SET)).await;
    let stranger = json!({ "keys": [serde_json::from_str::<Value>(KEY_SET).unwrap()["keys"][1]] });
    let other = TestServer::start(Reply::ok(stranger.to_string())).await;
    let mut gateway = Gateway::cognito().await;
    gateway.authorizer.authenticator.tokens = tokens_of_issuers(&own, &other, Some(SOURCES));
    assert!(gateway.authorizer.authenticator.tokens.warm_up(NOW).await.is_empty());
    for source in Source::all().iter().filter(|source| !source.is_machine) {
        let is_own = source.issuer == own_pool().issuer().as_str();
        let (_, code) = gateway.decide(&source.vectors()[0].token(Kind::Cognito)).await;
        assert_eq!(code, if is_own { "ok" } else { "unknown_signing_key" }, "{source:?}");
    }
}

#[tokio::test]
async fn key_sets_are_fetched_at_once_and_a_failure_concerns_one_issuer() {
    let silent = TestServer::start(Reply::Hang).await;
    let other = TestServer::start(Reply::ok(KEY_SET)).await;
    let mut gateway = Gateway::cognito().await;
    gateway.authorizer.authenticator.tokens = tokens_of_issuers(&other, &silent, Some(SOURCES));
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    let issuers: std::collections::HashSet<_> = Source::all().iter().map(|source| source.issuer).collect();
    assert_eq!(gateway.authorizer.authenticator.tokens.warm_up(NOW).await.len(), issuers.len() - 1);
    assert!(started.elapsed() < Duration::from_secs(2), "one after the other: {:?}", started.elapsed());
    tokio::time::resume();
    let own = Source::all().into_iter().find(|source| source.issuer == own_pool().issuer().as_str()).unwrap();
    check(gateway.decide(&own.vectors()[0].token(Kind::Cognito)).await, "allow:ada", "ok");
}
