//! Arbitrary input for the code that parses data from attackers: one function per target, for cargo-fuzz
//! (`make fuzz TARGET=jwt`) and, with any Rust toolchain, for a short run as this crate's tests.
//!
//! No input may cause a panic. Each target also checks, without the code under test, that accepted input is valid.
#![allow(clippy::unwrap_used, clippy::panic, clippy::missing_panics_doc, reason = "a finding is a panic")]

use std::cell::OnceCell;

use authorizer::{Authorizer, HttpApiResponse, Policies};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use vega_auth::{
    ApiKey, Authenticator, BearerToken, Credential, Groups, HmacSecret, KeyId, KeyRecord, KeySet, KeyStatus,
    PublishedKeys as _, Timestamp, TokenUse, TokenVerifier, UnverifiedJwt,
};
use vega_key_table::{key_pk, read_answer, write_record};
use vega_testing::vectors::{self, API_KEY, EventVector, Kind, NOW, SECRET};
use vega_testing::{NoIssuer, NoKeys};

const ARN: &str = "arn:aws:execute-api:us-west-1:123456789012:abcdef1234/live/GET/v1/projects";

/// Accepts any bytes.
pub type Target = fn(&[u8]);

/// Every target, with its name.
pub const TARGETS: [(&str, Target); 5] = [
    ("authorization", authorization),
    ("jwt", jwt),
    ("api_key", api_key),
    ("event", event),
    ("key_record", key_record),
];

/// The value of the `Authorization` header.
pub fn authorization(data: &[u8]) {
    let Ok(header) = std::str::from_utf8(data) else { return };
    match Credential::from_header(header) {
        Ok(Credential::Jwt(token)) => {
            let token = token.expose();
            assert!(header.len() == "Bearer ".len() + token.len());
            assert!(header.ends_with(token));
            assert!(token.matches('.').count() == 2);
            assert!(token.is_ascii());
            assert!(!token.contains([' ', ',', ';', '"']));
        }
        Ok(Credential::ApiKey(key)) => assert!(header.ends_with(key.expose())),
        Err(reason) => assert!(!reason.code().is_empty()),
    }
}

/// A raw token or, if the input has a line break, a header and claims that we sign first. The same bytes are also parsed as
/// a key set.
pub fn jwt(data: &[u8]) {
    let _ = KeySet::parse(data);
    let token = match data.iter().position(|byte| *byte == b'\n') {
        Some(at) => vectors::sign_hs256(&data[..at], &data[at + 1..]),
        None => String::from_utf8_lossy(data).into_owned(),
    };
    let secret = HmacSecret::new_from_text(SECRET).unwrap();
    let Ok(parsed) = BearerToken::new(&token).and_then(UnverifiedJwt::parse) else { return };
    let _ = parsed.rs256_kid();
    let Ok(claims) = parsed.verify_hs256(&secret) else { return };
    if let Ok(user) = claims.into_custom_user(TokenUse::Access, Timestamp(NOW)) {
        let said = vectors::claims_of(&token);
        assert_eq!((&said["iss"], &said["client_id"]), (&json!("vega:custom"), &json!("vega-debug")));
        assert_eq!((&said["token_use"], &said["sub"]), (&json!("access"), &json!(user.id)));
        assert!(said["exp"].as_i64().is_some_and(|exp| exp > NOW));
        assert!(said["iat"].is_i64());
        let named = said["cognito:groups"].as_array().cloned().unwrap_or_default();
        assert!(user.groups.iter().all(|group| named.contains(&json!(group.name()))));
        let context = user.to_context();
        let read = vega_auth::CurrentUser::from_context(|name| context.get(name).map(String::as_str));
        assert_eq!(read.unwrap(), user, "the function behind the authorizer sees the same caller");
    }
}

/// An API key.
pub fn api_key(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = text.parse::<KeyId>();
    if let Ok(key) = text.parse::<ApiKey>() {
        assert_eq!((key.expose(), text.len()), (text, ApiKey::LEN));
        assert!(text.contains(key.id().as_str()));
        assert!(key.digest().matches(&key));
        assert_eq!(key.digest().matches(&API_KEY.parse().unwrap()), text == API_KEY);
    }
}

/// An authorizer event from API Gateway, or from somebody in its place.
pub fn event(data: &[u8]) {
    thread_local!(static RUNTIME: OnceCell<(Runtime, Authorizer<NoIssuer, NoKeys>)> = const { OnceCell::new() });
    let Ok(event) = serde_json::from_slice::<Value>(data) else { return };
    let text = event.to_string();
    RUNTIME.with(|cell| {
        let (runtime, authorizer) = cell.get_or_init(|| {
            let tokens = TokenVerifier::Custom(HmacSecret::new_from_text(SECRET).unwrap());
            let rules = r#"{"rules":[{"route":"GET /v1/projects","groups":["user"]}]}"#;
            let policies = Policies::new(rules.parse().unwrap());
            let authenticator = Authenticator { tokens, keys: NoKeys };
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            (
                runtime,
                Authorizer {
                    authenticator,
                    policies,
                    http_api_response: HttpApiResponse::Policy,
                    gateway_caches: false,
                },
            )
        });
        let (decision, line) = runtime.block_on(authorizer.decide(event, Timestamp(NOW)));
        let line = line.to_string();
        let good = good_tokens();
        assert!(!line.contains(API_KEY), "a credential in the log");
        assert!(good.iter().all(|token| !line.contains(token)), "a credential in the log");
        match decision {
            Ok(_) => assert!(good.iter().any(|token| text.contains(token)), "allowed without a valid token: {text}"),
            Err(_) => assert!(line.contains(r#""outcome":"reject""#) || line.contains(r#""outcome":"fault""#)),
        }
    });
}

/// `DynamoDB`'s response to the authorizer's Query for a key, decoded by the authorizer's own code.
pub fn key_record(data: &[u8]) {
    let key: ApiKey = API_KEY.parse().unwrap();
    let Ok(Some(record)) = read_answer(data, key.id()) else { return };
    if record.authenticate(&key, None, Timestamp(NOW)).is_ok() {
        assert!(record.cidrs.is_empty(), "the event has no address");
        assert!(record.status == KeyStatus::Active);
        assert!(record.id == key.id());
        assert!(record.digest.matches(&key));
        assert!(record.expires_at.is_none_or(|end| end.0 > NOW));
        let answer: Value = serde_json::from_slice(data).unwrap();
        assert!(answer["Items"].as_array().unwrap().iter().any(|item| item["owner"]["S"] == json!(record.owner)));
    }
}

/// The vectors in the target's own form, as a starting point.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let kinds = [Kind::Custom, Kind::Cognito, Kind::ApiKey];
    let all = || kinds.into_iter().flat_map(|kind| kind.vectors().into_iter().map(move |vector| (kind, vector)));
    let texts: Vec<String> = match target {
        "authorization" => all().map(|(kind, vector)| vector.authorization(kind)).collect(),
        "jwt" => all()
            .filter(|(kind, _)| *kind != Kind::ApiKey)
            .flat_map(|(kind, vector)| [vector.parts(kind).join("\n"), vector.token(kind), vector.key_set()])
            .collect(),
        "api_key" => Kind::ApiKey
            .vectors()
            .iter()
            .filter_map(|vector| Some(vector.authorization(Kind::ApiKey).strip_prefix("Bearer ")?.to_owned()))
            .collect(),
        "event" => all()
            .filter(|(kind, _)| *kind != Kind::Cognito)
            .flat_map(|(kind, vector)| events(&vector.authorization(kind)))
            .chain(EventVector::all().iter().map(EventVector::text))
            .collect(),
        "key_record" => vec![json!({ "Items": [record(), last_use()], "Count": 2 }).to_string()],
        other => panic!("no target {other}"),
    };
    // Long ones take time, and only their length matters.
    texts.into_iter().filter(|text| text.len() < 16 * 1024).map(String::into_bytes).collect()
}

/// The tokens of those vectors that are accepted at some instant.
fn good_tokens() -> &'static [String] {
    static GOOD: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    GOOD.get_or_init(|| {
        let vectors = Kind::Custom.vectors();
        let good = vectors.iter().filter(|vector| !vector.expect.starts_with("reject") || vector.now() != NOW);
        good.map(|vector| vector.token(Kind::Custom)).collect()
    })
}

fn events(authorization: &str) -> [String; 3] {
    [
        json!({
            "type": "REQUEST", "methodArn": ARN, "headers": { "Authorization": authorization },
            "multiValueHeaders": { "Authorization": [authorization] }, "queryStringParameters": { "q": "x" },
            "requestContext": { "requestId": "r", "identity": { "sourceIp": "192.0.2.1", "userAgent": "curl" } }
        }),
        json!({ "type": "TOKEN", "methodArn": ARN, "authorizationToken": authorization }),
        json!({
            "version": "2.0", "type": "REQUEST", "routeArn": ARN, "identitySource": [authorization],
            "headers": { "authorization": authorization },
            "requestContext": { "requestId": "r", "http": { "method": "GET", "sourceIp": "192.0.2.1" } }
        }),
    ]
    .map(|event| event.to_string())
}

fn record() -> Value {
    let record = KeyRecord {
        owner_username: "ada".into(),
        name: "ci".into(),
        groups: Groups::named(["user"]),
        expires_at: Some(Timestamp(NOW + 60)),
        ..KeyRecord::new(&API_KEY.parse().unwrap(), "ada", Timestamp(NOW - 10_000))
    };
    serde_json::to_value(write_record(&record)).unwrap()
}

fn last_use() -> Value {
    let key: ApiKey = API_KEY.parse().unwrap();
    json!({
        "pk": { "S": key_pk(key.id()) }, "sk": { "S": "U" }, "used_at": { "N": "1799990000" },
        "address": { "S": "192.0.2.1" }, "user_agent": { "S": "curl" }
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use proptest::test_runner::{TestCaseError, TestRunner};
    use tokio::time::Instant;

    use super::*;

    /// A change to a seed: position, byte, length and kind.
    type Edit = (prop::sample::Index, u8, usize, u8);

    fn edited(mut bytes: Vec<u8>, other: &[u8], edits: &[Edit]) -> Vec<u8> {
        for (place, byte, length, kind) in edits {
            let at = place.index(bytes.len() + 1);
            let end = (at + length).min(bytes.len());
            match kind % 6 {
                0 => bytes.insert(at, *byte),
                1 => drop(bytes.drain(at..end)),
                2 => bytes.splice(at..end, other.iter().copied().skip(at).take(*length)).for_each(drop),
                3 => bytes.extend_from_within(at..end),
                4 => bytes.truncate(at),
                _ => {
                    if let Some(changed) = bytes.get_mut(at) {
                        *changed = *byte;
                    }
                }
            }
        }
        bytes
    }

    #[track_caller]
    fn check(name: &str, cases: u32) {
        let (_, target) = TARGETS[TARGETS.iter().position(|(target, _)| *target == name).unwrap()];
        let seeds = seeds(name);
        for seed in &seeds {
            target(seed);
        }
        let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..40_usize, any::<u8>()), 1..6);
        let seed = || prop::sample::select(seeds.clone());
        let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
        TestRunner::new(config)
            .run(&(seed(), seed(), edits), |(seed, other, edits)| {
                let bytes = edited(seed, &other, &edits);
                let started = Instant::now();
                target(&bytes);
                let took = started.elapsed();
                if took < Duration::from_secs(2) { Ok(()) } else { Err(TestCaseError::fail(format!("{took:?}"))) }
            })
            .unwrap();
    }

    #[test]
    fn no_header_causes_a_panic_or_passes_for_another() {
        check("authorization", 5_000);
    }

    #[test]
    fn no_token_or_key_set_causes_a_panic_or_passes_for_another() {
        check("jwt", 5_000);
    }

    #[test]
    fn no_text_causes_a_panic_or_passes_for_a_key() {
        check("api_key", 5_000);
    }

    #[test]
    fn no_event_is_allowed_or_logged_with_a_credential() {
        check("event", 5_000);
    }

    #[test]
    fn the_unchanged_record_is_read_and_accepted() {
        let key: ApiKey = API_KEY.parse().unwrap();
        let record = read_answer(&seeds("key_record")[0], key.id()).unwrap().unwrap();
        assert!(record.last_use.is_some());
        assert!(record.authenticate(&key, None, Timestamp(NOW)).is_ok());
    }

    #[test]
    fn no_record_causes_a_panic_or_accepts_another_key() {
        check("key_record", 5_000);
    }
}
