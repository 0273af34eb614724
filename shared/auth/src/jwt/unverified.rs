use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::aws_endpoint;
use crate::{Authentication, CurrentUser, Groups, Rejection, RsaKey, Timestamp};

/// The longest token we look at, in bytes. API Gateway takes 10,240 bytes of headers in all.
pub const MAX_TOKEN_BYTES: usize = 8192;

/// How far the issuer's clock may be ahead of ours, for `nbf` and `iat`. `exp` gets none: an expired token is expired.
const LEEWAY_SECONDS: i64 = 30;

/// The longest `sub`, `username`, `kid` or client id that we carry, in bytes. Cognito's user names have at most 128 characters.
const MAX_NAME_BYTES: usize = 512;

/// The secret of provider `custom`: at least 32 bytes, as RFC 7518 section 3.2 wants of a key for HS256. It can't be printed.
pub struct HmacSecret(hmac::Key);

/// The secret has fewer than 32 bytes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected at least 32 bytes")]
pub struct SecretTooShort;

impl HmacSecret {
    /// The bytes of `VEGA_AUTH_SECRET`, as they are.
    ///
    /// # Errors
    /// When there are fewer than 32.
    pub fn new_from_text(text: &str) -> Result<Self, SecretTooShort> {
        if text.len() < 32 {
            return Err(SecretTooShort);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes())))
    }
}

impl fmt::Debug for HmacSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HmacSecret(redacted)")
    }
}

/// A Cognito user pool and the one client of it whose tokens we take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserPool {
    region: String,
    pool_id: String,
    client_id: String,
    /// The `iss` of its tokens, exactly.
    issuer: String,
}

impl UserPool {
    /// The pool `pool_id` of `region`, for instance `us-west-1_AbCdEfGhI` of `us-west-1`.
    ///
    /// # Errors
    /// When one of them can't be what it is said to be; the text names the variable.
    pub fn new(region: &str, pool_id: &str, client_id: &str) -> Result<Self, String> {
        let is_word = |text: &str, also: u8| {
            !text.is_empty()
                && text.len() <= 128
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == also)
        };
        if !is_word(region, b'-') {
            return Err("VEGA_COGNITO_REGION: expected a region such as us-west-1".into());
        }
        if !pool_id.strip_prefix(region).and_then(|rest| rest.strip_prefix('_')).is_some_and(|rest| is_word(rest, b'-'))
        {
            return Err(format!(
                "VEGA_COGNITO_USER_POOL_ID: expected a pool of region {region}, such as {region}_AbCdEfGhI"
            ));
        }
        if !is_word(client_id, b'_') {
            return Err("VEGA_COGNITO_APP_CLIENT_ID: expected letters and digits".into());
        }
        let issuer = format!("{}/{pool_id}", aws_endpoint("cognito-idp", region));
        Ok(Self { region: region.into(), pool_id: pool_id.into(), client_id: client_id.into(), issuer })
    }

    /// Where its key set is: below `endpoint`, if the AWS endpoint is overridden, else below the issuer.
    pub fn key_set_url(&self, endpoint: Option<&str>) -> String {
        let endpoint = endpoint.map_or_else(|| self.endpoint(), |url| url.trim_end_matches('/').to_owned());
        format!("{endpoint}/{}/.well-known/jwks.json", self.pool_id)
    }

    /// Where the pool's API is.
    pub fn endpoint(&self) -> String {
        aws_endpoint("cognito-idp", &self.region)
    }

    /// # Errors
    /// When the claims are not those of an access token of this pool and client, good at `now`.
    pub(crate) fn accept(&self, claims: &Claims, now: Timestamp) -> Result<(), Rejection> {
        if claims.iss != self.issuer {
            return Err(Rejection::Issuer);
        }
        claims.check(&self.client_id, now)
    }
}

/// What a token is for. Refresh tokens of provider `custom` differ from access tokens in this alone; Cognito's are opaque.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenUse {
    /// For the API.
    Access,
    /// For the login function, in exchange for a new access token.
    Refresh,
    /// For the client that signed the person in: never for an API.
    Id,
}

/// The claims that decide. Those of Cognito's access tokens, by their names; provider `custom` writes the same.
#[derive(Debug, Serialize, Deserialize)]
pub struct Claims {
    /// The issuer.
    pub iss: String,
    /// The subject: the person's stable id.
    pub sub: String,
    /// The name to show.
    pub username: String,
    /// The client the token was issued to. Cognito's access tokens have no `aud`.
    pub client_id: String,
    /// Access, refresh or ID.
    pub token_use: TokenUse,
    /// The first second at which the token is no longer good.
    pub exp: i64,
    /// The first second at which it is good.
    #[serde(default, deserialize_with = "never_null", skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// When it was issued.
    pub iat: i64,
    /// The person's groups; absent for a person without any.
    #[serde(default, rename = "cognito:groups", skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// What decides nothing.
    #[serde(flatten, skip_serializing)]
    pub others: OtherMembers,
}

impl Claims {
    /// The `iss` of provider `custom`: no URL, so no pool can have it.
    pub const CUSTOM_ISSUER: &'static str = "vega:custom";
    /// The `client_id` of provider `custom`.
    pub const CUSTOM_CLIENT: &'static str = "vega-debug";

    /// # Errors
    /// When the claims are not those of a token of provider `custom` for this use, good at `now`.
    pub fn accept_custom(&self, token_use: TokenUse, now: Timestamp) -> Result<(), Rejection> {
        if self.iss != Self::CUSTOM_ISSUER {
            return Err(Rejection::Issuer);
        }
        self.check_for(token_use, Self::CUSTOM_CLIENT, now)
    }

    /// The seconds at which [`Self::check`] lets the token pass as far as the clock goes.
    pub(crate) fn good(&self) -> Range<i64> {
        self.nbf.map_or(self.iat, |nbf| nbf.max(self.iat)).saturating_sub(LEEWAY_SECONDS)..self.exp
    }

    /// The person the token speaks for.
    pub fn into_current_user(self) -> CurrentUser {
        CurrentUser {
            groups: Groups::known(self.groups.iter().map(String::as_str)),
            id: self.sub,
            username: self.username,
            authentication: Authentication::Jwt,
            // Within what can be written: nobody checked that of a time that has passed
            issued_at: Some(Timestamp(self.iat).plus(0)),
            expires_at: Some(Timestamp(self.exp)),
        }
    }

    fn check(&self, client_id: &str, now: Timestamp) -> Result<(), Rejection> {
        self.check_for(TokenUse::Access, client_id, now)
    }

    fn check_for(&self, token_use: TokenUse, client_id: &str, now: Timestamp) -> Result<(), Rejection> {
        if self.token_use != token_use {
            return Err(Rejection::TokenUse);
        }
        if self.client_id != client_id {
            return Err(Rejection::Client);
        }
        let latest_start = now.0.saturating_add(LEEWAY_SECONDS);
        if self.iat > latest_start || self.nbf.is_some_and(|nbf| nbf > latest_start) {
            return Err(Rejection::NotYetValid);
        }
        if self.exp <= now.0 || self.exp > Timestamp::MAX.0 {
            return Err(Rejection::Expired);
        }
        let usable = |name: &str| !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.contains(char::is_control);
        if !usable(&self.sub) || !usable(&self.username) {
            return Err(Rejection::Subject);
        }
        Ok(())
    }
}

/// A member that may be left out, but is a number where it is there.
fn never_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    i64::deserialize(deserializer).map(Some)
}

/// A JWT in compact form whose signature nobody has checked: all that may be read of it is what picks the key.
pub struct UnverifiedJwt<'a> {
    algorithm: Algorithm,
    kid: Option<String>,
    signing_input: &'a str,
    claims: &'a str,
    signature: Vec<u8>,
}

/// The algorithms that a provider can have. Every other is refused when the header is read, `none` among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Algorithm {
    HS256,
    RS256,
}

/// The header members we know. Others are ignored, as RFC 7515 section 4 asks, unless they ask for something: see [`FORBIDDEN`].
#[derive(Deserialize)]
struct Header {
    alg: Option<String>,
    kid: Option<String>,
    typ: Option<String>,
    #[serde(flatten)]
    others: OtherMembers,
}

/// Members that change how the token is processed, or bring a key of the sender's choice (RFC 8725 sections 3.1 and 3.10).
/// No token of ours has them, whatever their value.
const FORBIDDEN: [&str; 9] = ["crit", "b64", "zip", "enc", "cty", "jwk", "jku", "x5u", "x5c"];

impl<'a> UnverifiedJwt<'a> {
    /// Takes a token apart without believing any of it.
    ///
    /// # Errors
    /// When it is not three parts of canonical base64url with a header we can follow.
    pub fn parse(token: &'a str) -> Result<Self, Rejection> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Rejection::TooLong);
        }
        let (signing_input, signature) = token.rsplit_once('.').ok_or(Rejection::MalformedJwt)?;
        let (header, claims) = signing_input.split_once('.').ok_or(Rejection::MalformedJwt)?;
        if claims.contains('.') {
            return Err(Rejection::MalformedJwt);
        }
        let header: Header = object(header)?;
        if FORBIDDEN.iter().any(|name| header.others.0.contains(*name)) {
            return Err(Rejection::HeaderMember);
        }
        if header.typ.is_some_and(|typ| !typ.eq_ignore_ascii_case("jwt")) {
            return Err(Rejection::HeaderMember);
        }
        Ok(Self {
            algorithm: match header.alg.as_deref() {
                Some("RS256") => Algorithm::RS256,
                Some("HS256") => Algorithm::HS256,
                _ => return Err(Rejection::Algorithm),
            },
            kid: header.kid,
            signing_input,
            claims,
            signature: URL_SAFE_NO_PAD.decode(signature).map_err(|_| Rejection::MalformedJwt)?,
        })
    }

    /// The id of the key that is said to have signed it, where the algorithm is RS256.
    ///
    /// # Errors
    /// When the algorithm is another, or the id can't be one of a key set.
    pub fn rs256_kid(&self) -> Result<&str, Rejection> {
        if self.algorithm != Algorithm::RS256 {
            return Err(Rejection::Algorithm);
        }
        self.kid
            .as_deref()
            .filter(|kid| !kid.is_empty() && kid.len() <= MAX_NAME_BYTES)
            .ok_or(Rejection::UnknownSigningKey)
    }

    /// The claims, if `key` signed them.
    ///
    /// # Errors
    /// When it didn't, or they are not the claims of a token.
    pub fn verify_rs256(self, key: &RsaKey) -> Result<Claims, Rejection> {
        if self.algorithm != Algorithm::RS256 {
            return Err(Rejection::Algorithm);
        }
        key.verify(self.signing_input.as_bytes(), &self.signature)?;
        object(self.claims)
    }

    /// The claims, if `secret` signed them.
    ///
    /// # Errors
    /// When it didn't, or they are not the claims of a token.
    pub fn verify_hs256(self, secret: &HmacSecret) -> Result<Claims, Rejection> {
        if self.algorithm != Algorithm::HS256 {
            return Err(Rejection::Algorithm);
        }
        hmac::verify(&secret.0, self.signing_input.as_bytes(), &self.signature).map_err(|_| Rejection::Signature)?;
        object(self.claims)
    }
}

/// One part of a token: canonical base64url without padding, of one JSON object that has its [`OtherMembers`] checked.
fn object<T: DeserializeOwned>(part: &str) -> Result<T, Rejection> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| Rejection::MalformedJwt)?;
    serde_json::from_slice(&json).map_err(|_| Rejection::MalformedJwt)
}

/// The names of the members that a struct doesn't have. None may stand twice, as none of the struct's own may: two readers
/// could pick different ones (RFC 8725 section 2.4; RFC 7519 section 4). To be flattened into the struct: then serde has
/// read their values whole, so that what nobody looks at is good JSON, and not too deep, all the same.
#[derive(Debug, Default)]
pub struct OtherMembers(HashSet<String>);

impl<'de> Deserialize<'de> for OtherMembers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = OtherMembers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut names = HashSet::new();
                while let Some((name, _)) = map.next_entry::<String, IgnoredAny>()? {
                    if !names.insert(name) {
                        return Err(serde::de::Error::custom("duplicate member"));
                    }
                }
                Ok(OtherMembers(names))
            }
        }
        deserializer.deserialize_map(Members)
    }
}
