//! GitHub's secret scanning partner protocol: the keys that sign reports, the reports, and the responses.
//! <https://docs.github.com/en/code-security/secret-scanning/secret-scanning-partner-program>

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vega_auth::{NotAKeySet, Object, PublishedKeys};

/// Maximum number of keys that are kept. GitHub publishes a handful, including retired ones.
const MAX_KEYS: usize = 64;
/// The bytes before the point in the DER of every P-256 public key (RFC 5480 section 2): algorithm, curve, bit string.
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// An uncompressed point: 04, x, y.
const POINT_LEN: usize = 65;

/// The keys that GitHub signs its reports with, by identifier.
#[derive(Debug)]
pub struct GithubKeys(HashMap<String, Arc<GithubKey>>);

/// A P-256 public key.
#[derive(Debug)]
pub struct GithubKey([u8; POINT_LEN]);

impl PublishedKeys for GithubKeys {
    type Key = GithubKey;

    /// GitHub allows 60 requests per hour and address without an account, and anyone can send an unknown identifier. A new key
    /// of GitHub's is known after at most this time.
    const COOL_DOWN_SECONDS: i64 = 15 * 60;

    /// By then, four fetches in a row have failed. Until then, an unknown identifier is rejected without an alarm.
    const ABSENT_SECONDS: Option<i64> = Some(60 * 60);

    /// Keys that aren't P-256 are skipped. If an identifier occurs twice, neither key is used.
    fn parse(json: &[u8]) -> Result<Self, NotAKeySet> {
        #[derive(Deserialize)]
        struct Document {
            public_keys: Vec<Object<Published>>,
        }
        #[derive(Deserialize)]
        struct Published {
            key_identifier: String,
            key: String,
        }
        let Object(document): Object<Document> = serde_json::from_slice(json).map_err(|_| NotAKeySet)?;
        let mut keys = HashMap::new();
        let mut ambiguous = Vec::new();
        for Object(published) in document.public_keys.into_iter().take(MAX_KEYS) {
            let Some(key) = GithubKey::from_pem(&published.key) else { continue };
            if keys.insert(published.key_identifier.clone(), Arc::new(key)).is_some() {
                ambiguous.push(published.key_identifier);
            }
        }
        for identifier in ambiguous {
            keys.remove(&identifier);
        }
        if keys.is_empty() { Err(NotAKeySet) } else { Ok(Self(keys)) }
    }

    fn get(&self, identifier: &str) -> Option<Arc<GithubKey>> {
        self.0.get(identifier).cloned()
    }
}

impl GithubKey {
    fn from_pem(pem: &str) -> Option<Self> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).ok()?;
        let point: [u8; POINT_LEN] = der.strip_prefix(&P256_PREFIX)?.try_into().ok()?;
        (point.first() == Some(&4)).then_some(Self(point))
    }

    /// Whether this key signed `message`: `signature` is base64 of an ASN.1 ECDSA signature over SHA-256 of the raw bytes.
    pub fn signed(&self, message: &[u8], signature: &str) -> bool {
        STANDARD.decode(signature).is_ok_and(|signature| {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, self.0).verify(message, &signature).is_ok()
        })
    }
}

/// A match: a place where GitHub found text that looks like a key. GitHub may send further members.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "GithubMatch")]
pub struct Match {
    /// The text that was found.
    pub token: String,
    /// GitHub's name for our token type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The URL of the place; may be empty.
    #[serde(default)]
    pub url: String,
    /// The kind of place: `content`, `commit`, `gist_content` …
    #[serde(default)]
    pub source: String,
}

impl Match {
    /// The place, for the key's owner.
    pub fn found_at(&self) -> String {
        if self.url.is_empty() { format!("GitHub, {}", self.source) } else { self.url.clone() }
    }
}

/// The response about each match.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "GithubFeedback")]
pub struct Feedback {
    /// The text that was found.
    token_raw: String,
    /// GitHub's name for our token type.
    token_type: String,
    /// `true_positive` if it is, or was, a key of ours, otherwise `false_positive`.
    #[schemars(regex(pattern = "^(true|false)_positive$"))]
    label: &'static str,
}

impl Feedback {
    /// `is_ours`: whether it is, or was, a key of ours.
    pub fn new(found: Match, is_ours: bool) -> Self {
        let label = if is_ours { "true_positive" } else { "false_positive" };
        Self { token_raw: found.token, token_type: found.kind, label }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The samples of GitHub's documentation: identifier, public key, body, signature.
    const SAMPLES: [[&str; 4]; 2] = [
        [
            "f9525bf080f75b3506ca1ead061add62b8633a346606dc5fe544e29231c6ee0d",
            "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEsz9ugWDj5jK5ELBK42ynytbo38gP\nHzZFI03Exwz8Lh/tCfL3YxwMdLjB+bMznsanlhK0RwcGP3IDb34kQDIo3Q==\n-----END PUBLIC KEY-----",
            r#"[{"token":"some_token","type":"some_type","url":"some_url","source":"some_source"}]"#,
            "MEUCIFLZzeK++IhS+y276SRk2Pe5LfDrfvTXu6iwKKcFGCrvAiEAhHN2kDOhy2I6eGkOFmxNkOJ+L2y8oQ9A2T9GGJo6WJY=",
        ],
        [
            "bcb53661c06b4728e59d897fb6165d5c9cda0fd9cdf9d09ead458168deb7518c",
            "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEYAGMWO8XgCamYKMJS6jc/qgvSlAd\nAjPuDPRcXU22YxgBrz+zoN19MzuRyW87qEt9/AmtoNP5GrobzUvQSyJFVw==\n-----END PUBLIC KEY-----\n",
            r#"[{"source":"commit","token":"some_token","type":"some_type","url":"https://example.com/base-repo-url/"}]"#,
            "MEQCIQDaMKqrGnE27S0kgMrEK0eYBmyG0LeZismAEz/BgZyt7AIfXt9fErtRS4XaeSt/AO1RtBY66YcAdjxji410VQV4xg==",
        ],
    ];

    fn published() -> GithubKeys {
        let keys: Vec<_> = SAMPLES
            .iter()
            .map(|[identifier, key, ..]| serde_json::json!({"key_identifier": identifier, "key": key, "is_current": true}))
            .collect();
        GithubKeys::parse(serde_json::json!({ "public_keys": keys }).to_string().as_bytes()).unwrap()
    }

    #[test]
    fn documented_samples_verify_with_their_own_key_only() {
        let keys = published();
        for [identifier, _, body, signature] in SAMPLES {
            assert!(keys.get(identifier).unwrap().signed(body.as_bytes(), signature));
            for [other, ..] in SAMPLES.iter().filter(|[other, ..]| *other != identifier) {
                assert!(!keys.get(other).unwrap().signed(body.as_bytes(), signature));
            }
        }
        assert!(keys.get("").is_none());
    }

    #[test]
    fn one_changed_byte_of_the_body_or_the_signature_is_not_signed() {
        let [identifier, _, body, signature] = SAMPLES[0];
        let key = published().get(identifier).unwrap();
        for at in 0..body.len() {
            let mut changed = body.as_bytes().to_vec();
            changed[at] ^= 1;
            assert!(!key.signed(&changed, signature), "byte {at} of the body");
        }
        let raw = STANDARD.decode(signature).unwrap();
        for at in 0..raw.len() {
            let mut changed = raw.clone();
            changed[at] ^= 1;
            assert!(!key.signed(body.as_bytes(), &STANDARD.encode(changed)), "byte {at} of the signature");
        }
        // The same JSON in other bytes, a truncated signature, and text that isn't base64.
        assert!(!key.signed(format!("{body}\n").as_bytes(), signature));
        for nonsense in ["", "MEU", &signature[4..], "*"] {
            assert!(!key.signed(body.as_bytes(), nonsense));
        }
    }

    #[test]
    fn an_unusable_key_is_skipped_and_a_set_without_one_rejected() {
        let [identifier, pem, ..] = SAMPLES[0];
        let good = serde_json::json!({ "key_identifier": identifier, "key": pem });
        let with = |keys: serde_json::Value| {
            GithubKeys::parse(serde_json::json!({ "public_keys": keys }).to_string().as_bytes())
        };
        for key in [
            "",
            "nonsense",
            &pem[1..],
            &pem.replace("MFkw", "MFkx"),
            &pem.replace("EAE", "EAA"),
            &pem.replace("Q==", ""),
        ] {
            let bad = serde_json::json!({ "key_identifier": "bad", "key": key });
            assert!(with(serde_json::json!([bad])).is_err() || key == pem, "{key}");
            assert!(with(serde_json::json!([bad, good])).unwrap().get(identifier).is_some());
        }
        assert!(with(serde_json::json!([])).is_err());
        assert!(with(serde_json::json!([good, good])).is_err(), "which of the two counts is not ours to guess");
        let [list, unnamed] = [serde_json::json!([[good]]), serde_json::json!({ "public_keys": [[identifier, pem]] })];
        assert!([list, unnamed].iter().all(|array| GithubKeys::parse(array.to_string().as_bytes()).is_err()));
        assert!(GithubKeys::parse(b"{}").is_err());
        assert!(GithubKeys::parse(b"").is_err());
    }
}
