use std::error::Error as StdError;
use std::fmt;

use serde::Serialize;

use crate::KeyId;

/// A credential that isn't accepted: either it is not valid, or we could not find out.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The caller's error. The client sees 401 `invalid_token` and no details. With the id of the key, if its secret was right.
    #[error("{0}")]
    Rejected(Rejection, Option<KeyId>),
    /// Our error. The client sees 503 `temporarily_unavailable`, and an alarm fires. Never an allow.
    #[error(transparent)]
    Unavailable(#[from] Fault),
}

impl From<Rejection> for AuthError {
    fn from(reason: Rejection) -> Self {
        Self::Rejected(reason, None)
    }
}

/// The precise reason why a credential is not valid. Only for the log: a client that learned it could probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// No `Authorization` header, or an empty one.
    NoCredential,
    /// More than one `Authorization` header. We don't guess which one counts.
    ManyCredentials,
    /// A credential in the query string, which logs and browser histories keep (RFC 6750 section 5.3).
    CredentialInQuery,
    /// Not `Bearer`, one space, one token (RFC 6750 section 2.1).
    NotBearer,
    /// Longer than any token we issue or accept.
    TooLong,
    /// Neither three dot-separated parts nor `vk_`.
    UnknownForm,
    /// Not three parts of canonical base64url, or not the JSON of a JWT.
    MalformedJwt,
    /// A header member that requires processing we don't do (`crit`, `b64`) or brings its own key (`jwk`, `jku`, `x5u`, `x5c`).
    HeaderMember,
    /// Not the provider's algorithm (RFC 8725 section 3.1).
    Algorithm,
    /// The issuer's key set has no key with this `kid`.
    UnknownSigningKey,
    /// The signature does not verify.
    Signature,
    /// No source has this issuer: a different pool, or an imitation of ours.
    Issuer,
    /// A person's token for a client that the issuer's source doesn't list.
    Client,
    /// A machine's token (`client_credentials`) for a client that isn't listed as a machine.
    Machine,
    /// A person's token for a client that is listed as a machine.
    Person,
    /// A person's token whose `sub` is its client: neither a person nor a machine.
    SubjectIsClient,
    /// An ID or a refresh token in place of an access token.
    TokenUse,
    /// `exp` is not after now.
    Expired,
    /// `nbf` or `iat` is ahead of the clock by more than the leeway.
    NotYetValid,
    /// `sub` or `username` missing, empty or too long.
    Subject,
    /// Not the form of an API key.
    MalformedKey,
    /// The form of an API key with a wrong checksum: a typo, or invented.
    Checksum,
    /// No record with this key id.
    UnknownKey,
    /// A known id with another secret: somebody is guessing, or assembled the key by hand.
    WrongSecret,
    /// Disabled by its owner, who can enable it again.
    KeyDisabled,
    /// Revoked: permanent.
    KeyRevoked,
    /// Expired.
    KeyExpired,
    /// Used from outside the key's networks, or the event carried no address.
    AddressNotAllowed,
    /// The record uses a digest scheme that this build doesn't know.
    UnsupportedRecord,
}

impl Rejection {
    /// A stable code for logs, metrics and test vectors: the reason's name, such as `no_credential`.
    pub fn code(self) -> String {
        self.to_string()
    }

    /// Whether the caller has the key's right secret, which is compared before these reasons are looked for.
    pub fn has_right_secret(self) -> bool {
        matches!(self, Self::KeyDisabled | Self::KeyExpired | Self::KeyRevoked | Self::AddressNotAllowed)
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl StdError for Rejection {}

/// We could not find out: a dependency failed, timed out or sent an unreadable response. Worth an alarm, never an allow.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The issuer's key set could not be fetched, and no earlier one may still be trusted.
    #[error("key set unavailable")]
    KeySet(#[source] Box<dyn StdError + Send + Sync>),
    /// The key store did not answer in time.
    #[error("key store unavailable")]
    Store(#[source] Box<dyn StdError + Send + Sync>),
    /// The key store returned a record that violates the table layout.
    #[error("key record unreadable")]
    Record(#[source] Box<dyn StdError + Send + Sync>),
}

impl Fault {
    /// A stable code for logs and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::KeySet(_) => "key_set_unavailable",
            Self::Store(_) => "store_unavailable",
            Self::Record(_) => "record_unreadable",
        }
    }

    /// See [`error_chain`].
    pub fn chain(&self) -> String {
        error_chain(self)
    }
}

/// An error and its causes, for one log line: `key store unavailable: dispatch failure: …`. Each is cut at its first line: AWS
/// explains a wrong signature with the whole request that it expected, session token included.
pub fn error_chain(error: &(dyn StdError + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (**error).source());
    let lines = causes.map(|error| error.to_string().lines().next().unwrap_or_default().to_owned());
    lines.collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_cut_at_its_first_line() {
        let fault = Fault::Store("the signature is wrong\nx-amz-security-token:abc".into());
        assert_eq!(fault.chain(), "key store unavailable: the signature is wrong");
    }
}
