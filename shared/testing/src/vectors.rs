//! The attack catalogue in `tests/vectors` as the requests that a caller would send. The README there describes its format.
//!
//! Another library than the one that verifies them builds and signs the tokens. For tests and fuzzing only: a malformed vector
//! is a panic.
#![allow(clippy::unwrap_used, clippy::panic, clippy::missing_panics_doc, reason = "a test's fixture")]

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The default instant of a vector.
pub const NOW: i64 = 1_800_000_000;
/// The secret of provider `custom`.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// The valid API key: a published test vector of the format. It grants nothing.
pub const API_KEY: &str = "vk_7Gh2kQ9XbT4m_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1EG2IT";
/// The issuer's valid key set.
pub const KEY_SET: &str = include_str!("../../../tests/vectors/keys/jwks.json");
/// The region, pool and client whose tokens are accepted.
pub const POOL: [&str; 3] = ["us-west-1", "us-west-1_Test", "client1"];
const COGNITO: &str = include_str!("../../../tests/vectors/cognito.json");
/// Sources of every partition, with both forms of issuers, a replica, people and machines.
pub const SOURCES: &str = include_str!("../../../tests/vectors/sources.json");
const ISSUER: &str = "https://cognito-idp.us-west-1.amazonaws.com/us-west-1_Test";

/// The kind of the valid credential that the vectors of a file start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A user pool: RS256.
    Cognito,
    /// Provider `custom`: HS256.
    Custom,
    /// An API key.
    ApiKey,
}

/// A credential that differs from a valid one in a single respect, and the expected decision.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    /// The difference.
    pub name: String,
    /// The specification that requires the decision.
    pub about: Option<String>,
    /// `allow:<subject>`, `deny:<subject>`, `reject:<code>` or `fault`.
    pub expect: String,
    /// The instant; [`NOW`] by default.
    now: Option<i64>,
    #[serde(default)]
    header: Map<String, Value>,
    #[serde(default)]
    claims: Map<String, Value>,
    in_header: Option<[String; 2]>,
    in_claims: Option<[String; 2]>,
    header_part: Option<String>,
    claims_part: Option<String>,
    signed_by: Option<String>,
    signature: Option<Algorithm>,
    hmac_key: Option<String>,
    token: Option<String>,
    authorization: Option<String>,
    filler: Option<usize>,
    #[serde(default)]
    jwk: Map<String, Value>,
    #[serde(default)]
    keys: Vec<Value>,
    key_set: Option<String>,
    key: Option<String>,
    /// The changes to the key's record.
    #[serde(default)]
    pub record: Map<String, Value>,
    /// Who issued the valid token, if not the usual pool to the usual client.
    #[serde(skip)]
    source: Option<Source>,
}

/// The issuer, client and kind of a valid token of a user pool.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Its `iss`.
    pub issuer: &'static str,
    /// Its `client_id`.
    pub client: &'static str,
    /// Whether the client gets its tokens by the grant `client_credentials`.
    pub is_machine: bool,
}

impl Source {
    /// Every client in [`SOURCES`].
    pub fn all() -> Vec<Self> {
        let document: Value = serde_json::from_str(SOURCES).unwrap();
        let text = |value: &Value| -> &'static str { Box::leak(value.as_str().unwrap().to_owned().into_boxed_str()) };
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let mut all = Vec::new();
        for source in list(&document["sources"]) {
            let issuer = text(&source["issuer"]);
            let people = list(&source["people"]).into_iter().map(|client| (client, false));
            let machines = list(&source["machines"]).into_iter().map(|machine| (machine["client"].clone(), true));
            all.extend(people.chain(machines).map(|(client, is_machine)| Self {
                issuer,
                client: text(&client),
                is_machine,
            }));
        }
        all
    }

    /// The id of the issuer's pool.
    pub fn pool_id(self) -> &'static str {
        self.issuer.rsplit_once('/').unwrap().1
    }

    /// Every Cognito vector, as a difference from a valid token of this source. The vectors about a person's claims say
    /// nothing about a machine.
    pub fn vectors(self) -> Vec<Vector> {
        let text = COGNITO.replace(ISSUER, self.issuer).replace(POOL[2], self.client);
        let mut vectors: Vec<Vector> = serde_json::from_str(&text).unwrap();
        if self.is_machine {
            vectors.retain(|vector| {
                let about_claims = vector.in_claims.is_some() || vector.claims_part.is_some();
                !about_claims
                    && vector.claims.keys().all(|name| ["exp", "iat", "nbf", "token_use"].contains(&name.as_str()))
            });
        }
        for vector in &mut vectors {
            vector.source = Some(self);
        }
        vectors
    }
}

impl Kind {
    /// Every vector of this kind. The first one is valid.
    pub fn vectors(self) -> Vec<Vector> {
        serde_json::from_str(match self {
            Self::Cognito => COGNITO,
            Self::Custom => include_str!("../../../tests/vectors/custom.json"),
            Self::ApiKey => include_str!("../../../tests/vectors/api-keys.json"),
        })
        .unwrap()
    }

    fn good_header(self) -> Value {
        match self {
            Self::Custom => json!({ "alg": "HS256" }),
            Self::Cognito | Self::ApiKey => json!({ "alg": "RS256", "kid": "test-1" }),
        }
    }
}

/// An event that differs from a valid one in a single respect, and the expected decision. The caller presents [`API_KEY`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventVector {
    /// The difference.
    pub name: String,
    /// The specification that requires the decision.
    pub about: Option<String>,
    /// `allow:<subject>`, `deny:<subject>`, `reject:<code>` or `fault`.
    pub expect: String,
    path: Option<String>,
    in_event: Option<[String; 2]>,
    event: Option<String>,
}

impl EventVector {
    /// Every event. The first one is valid.
    pub fn all() -> Vec<Self> {
        serde_json::from_str(include_str!("../../../tests/vectors/events.json")).unwrap()
    }

    /// The event as API Gateway writes it.
    pub fn text(&self) -> String {
        let path = self.path.as_deref().unwrap_or("/v1/projects");
        let authorization = format!("Bearer {API_KEY}");
        let arn = format!("arn:aws:execute-api:us-west-1:123456789012:abcdef1234/live/GET{path}");
        if let Some(text) = &self.event {
            return text.replace("{arn}", &arn).replace("{authorization}", &authorization);
        }
        let mut text = json!({
            "type": "REQUEST", "methodArn": arn, "resource": "/{proxy+}", "path": path, "httpMethod": "GET",
            "headers": { "Authorization": authorization, "Host": "localhost" },
            "multiValueHeaders": { "Authorization": [authorization], "Host": ["localhost"] },
            "queryStringParameters": { "q": "x" }, "multiValueQueryStringParameters": { "q": ["x"] },
            "pathParameters": null, "stageVariables": null,
            "requestContext": {
                "requestId": "r-1", "resourcePath": "/{proxy+}", "httpMethod": "GET", "stage": "live",
                "identity": { "sourceIp": "192.0.2.1", "userAgent": "curl/8" }
            }
        })
        .to_string();
        if let Some([from, to]) = &self.in_event {
            assert!(text.contains(from), "{}: {from} is not in {text}", self.name);
            text = text.replace(from, to);
        }
        text
    }
}

/// The claims of a valid token of this kind.
pub fn good_claims(kind: Kind) -> Value {
    let (issuer, client) = if kind == Kind::Custom { ("vega:custom", "vega-debug") } else { (ISSUER, POOL[2]) };
    json!({
        "iss": issuer, "sub": "ada", "username": "ada", "client_id": client, "token_use": "access",
        "iat": NOW - 10, "exp": NOW + 10, "cognito:groups": ["user"]
    })
}

impl Vector {
    /// The instant at which it is presented, in seconds since 1970.
    pub fn now(&self) -> i64 {
        self.now.unwrap_or(NOW)
    }

    /// The value of the `Authorization` header.
    pub fn authorization(&self, kind: Kind) -> String {
        let credential = match kind {
            Kind::ApiKey => self.filled(self.key.as_deref().unwrap_or(API_KEY)),
            Kind::Cognito | Kind::Custom => self.token(kind),
        };
        self.filled(self.authorization.as_deref().unwrap_or("Bearer {token}")).replace("{token}", &credential)
    }

    /// The token's header and claims as text, before they are encoded.
    pub fn parts(&self, kind: Kind) -> [String; 2] {
        [
            self.text(kind.good_header(), &self.header, self.in_header.as_ref()),
            self.text(self.good_claims(kind), &self.claims, self.in_claims.as_ref()),
        ]
    }

    fn good_claims(&self, kind: Kind) -> Value {
        let mut claims = good_claims(kind);
        if let Some(source) = self.source {
            claims["iss"] = source.issuer.into();
            claims["client_id"] = source.client.into();
            if source.is_machine {
                claims["sub"] = source.client.into();
                claims.as_object_mut().unwrap().remove("username");
                claims.as_object_mut().unwrap().remove("cognito:groups");
            }
        }
        claims
    }

    /// The token.
    pub fn token(&self, kind: Kind) -> String {
        let [header, claims] = self.parts(kind);
        let header = self.header_part.clone().unwrap_or_else(|| URL_SAFE_NO_PAD.encode(header));
        let claims = self.claims_part.clone().unwrap_or_else(|| URL_SAFE_NO_PAD.encode(claims));
        let signature = self.sign(kind, format!("{header}.{claims}").as_bytes());
        let encoded = URL_SAFE_NO_PAD.encode(&signature);
        let cut = |length: usize| signature[..length.min(signature.len())].to_vec();
        self.filled(self.token.as_deref().unwrap_or("{header}.{claims}.{signature}"))
            .replace("{header}", &header)
            .replace("{claims}", &claims)
            .replace("{signature}", &encoded)
            .replace("{signature_twice}", &URL_SAFE_NO_PAD.encode(signature.repeat(2)))
            .replace("{signature_short}", &URL_SAFE_NO_PAD.encode(cut(signature.len().saturating_sub(1))))
            .replace("{signature_half}", &URL_SAFE_NO_PAD.encode(cut(signature.len() / 2)))
            .replace("{signature_cut}", encoded.get(1..).unwrap_or_default())
            .replace("{signature_in_base64}", &format!("{}+/", STANDARD.encode(&signature).trim_end_matches('=')))
            .replace("{signature_with_leftover_bits}", &with_leftover_bits(&encoded))
    }

    /// Whether only the token or the key set is different, not the header around it.
    pub fn is_about_the_token(&self) -> bool {
        self.authorization.is_none()
    }

    /// The issuer's key set at that instant.
    pub fn key_set(&self) -> String {
        if let Some(text) = &self.key_set {
            return self.filled(text);
        }
        let mut set: Value = serde_json::from_str(KEY_SET).unwrap();
        merge(&mut set["keys"][0], &self.jwk);
        set["keys"].as_array_mut().unwrap().extend(self.keys.iter().cloned());
        set.to_string()
    }

    fn text(&self, mut good: Value, changes: &Map<String, Value>, replaced: Option<&[String; 2]>) -> String {
        merge(&mut good, changes);
        let mut text = good.to_string();
        if let Some([from, to]) = replaced {
            assert!(text.contains(from), "{}: {from} is not in {text}", self.name);
            text = text.replacen(from, to, 1);
        }
        self.filled(&text)
    }

    fn sign(&self, kind: Kind, message: &[u8]) -> Vec<u8> {
        let by_hmac = self.hmac_key.as_ref().map(|key| STANDARD.decode(key).unwrap());
        let (key, algorithm) = match (self.signed_by.as_deref(), by_hmac) {
            (Some("nobody"), None) => return Vec::new(),
            (None, Some(key)) => (EncodingKey::from_secret(&key), Algorithm::HS256),
            (None, None) if kind == Kind::Custom => (EncodingKey::from_secret(SECRET.as_bytes()), Algorithm::HS256),
            (name, None) => (EncodingKey::from_rsa_pem(pem(name.unwrap_or("issuer-1"))).unwrap(), Algorithm::RS256),
            both => panic!("{}: signed by {both:?}", self.name),
        };
        let signature = jsonwebtoken::crypto::sign(message, &key, self.signature.unwrap_or(algorithm)).unwrap();
        URL_SAFE_NO_PAD.decode(signature).unwrap()
    }

    fn filled(&self, text: &str) -> String {
        self.filler.map_or_else(|| text.to_owned(), |length| text.replace("{filler}", &"a".repeat(length)))
    }
}

/// A token with any header and claims, signed with the secret of provider `custom`.
pub fn sign_hs256(header: &[u8], claims: &[u8]) -> String {
    let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = jsonwebtoken::crypto::sign(input.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{input}.{signature}")
}

/// The claims of a token, unverified.
pub fn claims_of(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

/// Created for these vectors with `openssl genrsa`; they grant nothing.
fn pem(name: &str) -> &'static [u8] {
    match name {
        "issuer-1" => include_bytes!("../../../tests/vectors/keys/issuer-1.pem"),
        "issuer-2" => include_bytes!("../../../tests/vectors/keys/issuer-2.pem"),
        "stranger" => include_bytes!("../../../tests/vectors/keys/stranger.pem"),
        "weak" => include_bytes!("../../../tests/vectors/keys/weak.pem"),
        _ => panic!("nobody is called {name}"),
    }
}

/// Sets each member, or removes it if it is `null`.
fn merge(object: &mut Value, changes: &Map<String, Value>) {
    for (name, value) in changes {
        match value {
            Value::Null => drop(object.as_object_mut().unwrap().remove(name)),
            value => object[name] = value.clone(),
        }
    }
}

/// Another text that a lenient decoder reads as the same bytes: the last character of unpadded base64url has unused bits.
fn with_leftover_bits(encoded: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (rest, last) = encoded.split_at(encoded.len().saturating_sub(1));
    let place = ALPHABET.iter().position(|byte| last.as_bytes() == [*byte]).unwrap_or_default();
    format!("{rest}{}", char::from(ALPHABET[(place + 1) % ALPHABET.len()]))
}
