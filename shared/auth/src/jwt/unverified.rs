use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::claims::MAX_NAME_BYTES;
use super::{Claims, HmacSecret, OtherMembers, RsaKey};
use crate::Rejection;
use crate::credential::BearerToken;

/// A JWT in compact form with an unverified signature. Only what selects the key can be read: its id and the issuer.
pub struct UnverifiedJwt<'a> {
    algorithm: Algorithm,
    kid: Option<String>,
    signing_input: &'a str,
    claims: Claims,
    signature: Vec<u8>,
}

/// The providers' algorithms. Parsing the header rejects every other, `none` included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    HS256,
    RS256,
}

/// The header members we read. Others are ignored, as RFC 7515 section 4 asks, except for the [`FORBIDDEN`] ones.
#[derive(Deserialize)]
struct Header {
    alg: Option<String>,
    kid: Option<String>,
    typ: Option<String>,
    #[serde(flatten)]
    others: OtherMembers,
}

/// Members that change the token's processing, or bring a key of the sender's choice (RFC 8725 sections 3.1 and 3.10).
/// Our issuers' tokens never have them, whatever the value.
const FORBIDDEN: [&str; 9] = ["crit", "b64", "zip", "enc", "cty", "jwk", "jku", "x5u", "x5c"];

impl<'a> UnverifiedJwt<'a> {
    /// Splits a token and parses its parts.
    /// Fails unless it has three parts in canonical base64url, an acceptable header, and a token's claims.
    pub fn parse(token: BearerToken<'a>) -> Result<Self, Rejection> {
        let (signing_input, signature) = token.expose().rsplit_once('.').ok_or(Rejection::MalformedJwt)?;
        let (header, claims) = signing_input.split_once('.').ok_or(Rejection::MalformedJwt)?;
        if claims.contains('.') {
            return Err(Rejection::MalformedJwt);
        }
        let header: Header = object(header)?;
        if FORBIDDEN.iter().any(|name| header.others.contains(name)) {
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
            claims: object(claims)?,
            signature: URL_SAFE_NO_PAD.decode(signature).map_err(|_| Rejection::MalformedJwt)?,
        })
    }

    /// The id of the key that an RS256 token claims to be signed with.
    /// Fails when the token has another algorithm, or an id that no key set can contain.
    pub fn rs256_kid(&self) -> Result<&str, Rejection> {
        if self.algorithm != Algorithm::RS256 {
            return Err(Rejection::Algorithm);
        }
        self.kid
            .as_deref()
            .filter(|kid| !kid.is_empty() && kid.len() <= MAX_NAME_BYTES)
            .ok_or(Rejection::UnknownSigningKey)
    }

    /// The issuer that the token claims to be from.
    pub fn issuer(&self) -> &str {
        &self.claims.iss
    }

    /// The claims. Fails unless `key` signed them.
    pub fn verify_rs256(self, key: &RsaKey) -> Result<Claims, Rejection> {
        if self.algorithm != Algorithm::RS256 {
            return Err(Rejection::Algorithm);
        }
        key.verify(self.signing_input.as_bytes(), &self.signature)?;
        Ok(self.claims)
    }

    /// The claims. Fails unless `secret` signed them.
    pub fn verify_hs256(self, secret: &HmacSecret) -> Result<Claims, Rejection> {
        if self.algorithm != Algorithm::HS256 {
            return Err(Rejection::Algorithm);
        }
        secret.verify(self.signing_input.as_bytes(), &self.signature)?;
        Ok(self.claims)
    }
}

/// Reads one part of a token: canonical base64url without padding, containing one JSON object. Its type has
/// [`OtherMembers`], so that no member occurs twice.
fn object<T: DeserializeOwned>(part: &str) -> Result<T, Rejection> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| Rejection::MalformedJwt)?;
    serde_json::from_slice(&json).map_err(|_| Rejection::MalformedJwt)
}
