//! Every vector of `tests/vectors` through the whole authorizer, in every form of event; and every token that we accept
//! through another library.

use jsonwebtoken::{DecodingKey, Validation};
use serde_json::Value;
use serde_json::value::RawValue;
use vega_auth::{Groups, KeyRecord, KeyStatus, Timestamp};
use vega_testing::Reply;
use vega_testing::vectors::{EventVector, Kind, SECRET, Vector};

use crate::{Gateway, KEY_SET, NOW, UNAUTHORIZED, event, other_forms};

/// An outcome as vectors write it: `allow:ada`, `deny:ada`, `reject:expired`, `fault`.
pub fn outcome((outcome, code): (String, String)) -> String {
    match outcome.as_str() {
        UNAUTHORIZED => format!("reject:{code}"),
        "temporarily unavailable" => "fault".to_owned(),
        _ => outcome,
    }
}

async fn check(gateway: &Gateway, kind: Kind, vector: &Vector) {
    let authorization = vector.authorization(kind);
    let [token, http] = other_forms(&authorization);
    for event in [event(&authorization), token, http] {
        let form = event["type"].to_string();
        let seen = gateway.decide_event(event, Timestamp(vector.now()), &[&authorization]).await;
        assert_eq!(outcome(seen), vector.expect, "{}, {form}", vector.name);
    }
}

#[tokio::test]
async fn every_cognito_vector_has_its_expected_outcome() {
    let usual = Gateway::cognito().await;
    for vector in Kind::Cognito.vectors() {
        let key_set = vector.key_set();
        if serde_json::from_str::<Value>(&key_set).ok() == serde_json::from_str::<Value>(KEY_SET).ok() {
            check(&usual, Kind::Cognito, &vector).await;
        } else {
            let gateway = Gateway::cognito().await;
            gateway.issuer.reply_with(Reply::ok(&key_set));
            check(&gateway, Kind::Cognito, &vector).await;
        }
    }
}

#[tokio::test]
async fn every_custom_vector_has_its_expected_outcome() {
    let gateway = Gateway::custom().await;
    for vector in Kind::Custom.vectors() {
        check(&gateway, Kind::Custom, &vector).await;
    }
}

#[tokio::test]
async fn every_api_key_vector_has_its_expected_outcome() {
    for vector in Kind::ApiKey.vectors() {
        let gateway = Gateway::custom().await;
        gateway.key(|record| change(record, &vector)).await;
        check(&gateway, Kind::ApiKey, &vector).await;
    }
}

#[tokio::test]
async fn every_event_vector_has_its_expected_outcome() {
    let gateway = Gateway::custom().await;
    gateway.key(|_| {}).await;
    for vector in EventVector::all() {
        let event = RawValue::from_string(vector.text()).unwrap();
        let (decision, line) = gateway.authorizer.decide(&*event, NOW).await;
        let seen = match decision {
            Ok(response) => {
                let response = serde_json::to_value(response).unwrap();
                format!("{}:{}", line.outcome, response["context"]["id"].as_str().unwrap())
            }
            Err(refusal) => outcome((refusal.to_string(), line.code.into_owned())),
        };
        assert_eq!(seen, vector.expect, "{}", vector.name);
    }
}

fn change(record: &mut KeyRecord, vector: &Vector) {
    for (name, value) in &vector.record {
        match name.as_str() {
            "status" => {
                record.status = match value.as_str().unwrap() {
                    "disabled" => KeyStatus::Disabled,
                    "revoked" => KeyStatus::Revoked,
                    other => panic!("{other}"),
                }
            }
            "expires_at" => record.expires_at = value.as_i64().map(Timestamp),
            "digest_version" => record.digest_version = u32::try_from(value.as_u64().unwrap()).unwrap(),
            "owner" => value.as_str().unwrap().clone_into(&mut record.owner),
            "groups" => record.groups = serde_json::from_value::<Groups>(value.clone()).unwrap(),
            other => panic!("{other}"),
        }
    }
}

/// A token that only one of the two accepts reveals a hole in one of them.
#[tokio::test]
async fn another_library_accepts_every_token_that_we_accept() {
    let mut accepted = 0;
    for kind in [Kind::Cognito, Kind::Custom] {
        for vector in kind.vectors().iter().filter(|vector| !vector.expect.starts_with("reject")) {
            if vector.expect != "fault" {
                let token = vector.token(kind);
                another_library_accepts(kind, &token, &vector.key_set())
                    .unwrap_or_else(|error| panic!("{}: {error}", vector.name));
                accepted += 1;
            }
        }
    }
    assert!(accepted > 40, "{accepted}");
}

fn another_library_accepts(kind: Kind, token: &str, key_set: &str) -> Result<(), jsonwebtoken::errors::Error> {
    let header = jsonwebtoken::decode_header(token)?;
    let set: jsonwebtoken::jwk::JwkSet = serde_json::from_str(key_set).unwrap();
    let (key, algorithm) = match kind {
        Kind::Cognito => {
            let jwk = set.find(&header.kid.unwrap()).unwrap();
            (DecodingKey::from_jwk(jwk)?, jsonwebtoken::Algorithm::RS256)
        }
        _ => (DecodingKey::from_secret(SECRET.as_bytes()), jsonwebtoken::Algorithm::HS256),
    };
    let mut validation = Validation::new(algorithm);
    validation.set_issuer(&[vega_testing::vectors::good_claims(kind)["iss"].as_str().unwrap()]);
    validation.set_required_spec_claims(&["exp", "iss", "sub"]);
    // The library would read the clock.
    validation.validate_exp = false;
    validation.validate_aud = false;
    jsonwebtoken::decode::<Value>(token, &key, &validation).map(|_| ())
}

#[test]
fn every_applicable_section_of_rfc_8725_has_a_vector() {
    let vectors = Kind::Cognito.vectors();
    for section in ["2.4", "3.1", "3.2", "3.3", "3.4", "3.5", "3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12"] {
        let about = format!("RFC 8725 section {section}");
        let is_about = |text: &str| text == about || text.starts_with(&format!("{about}:"));
        assert!(vectors.iter().any(|vector| vector.about.as_deref().is_some_and(is_about)), "{about}");
    }
}

#[test]
fn every_vector_has_a_name_of_its_own() {
    for kind in [Kind::Cognito, Kind::Custom, Kind::ApiKey] {
        let vectors = kind.vectors();
        let names: std::collections::HashSet<&str> = vectors.iter().map(|vector| vector.name.as_str()).collect();
        assert_eq!(names.len(), vectors.len());
        assert_eq!(vectors[0].expect, "allow:ada", "the first one is valid");
    }
    let vectors = EventVector::all();
    let names: std::collections::HashSet<&str> = vectors.iter().map(|vector| vector.name.as_str()).collect();
    assert_eq!((names.len(), vectors[0].expect.as_str()), (vectors.len(), "allow:ada"));
}
