use std::error::Error as StdError;

/// A credential that isn't accepted: either it is not valid, or we could not find out.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The caller's error. The client sees 401 `invalid_token` and no details.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Our error. The client sees 503 `temporarily_unavailable`, and an alarm fires. Never an allow.
    #[error(transparent)]
    Unavailable(#[from] Fault),
}

/// The precise reason why a credential is not valid. Only for the log: a client that learned it could probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No `Authorization` header, or an empty one.
    #[error("no credential")]
    NoCredential,
    /// More than one `Authorization` header. We don't guess which one counts.
    #[error("more than one credential")]
    ManyCredentials,
    /// A credential in the query string, which logs and browser histories keep (RFC 6750 section 5.3).
    #[error("credential in the query string")]
    CredentialInQuery,
    /// Not `Bearer`, one space, one token (RFC 6750 section 2.1).
    #[error("authorization header is not a bearer token")]
    NotBearer,
    /// Longer than any token we issue or accept.
    #[error("token too long")]
    TooLong,
    /// Neither three dot-separated parts nor `vk_`.
    #[error("token is neither a JWT nor an API key")]
    UnknownForm,
    /// Not three parts of canonical base64url, or not the JSON of a JWT.
    #[error("JWT malformed")]
    MalformedJwt,
    /// A header member that requires processing we don't do (`crit`, `b64`) or brings its own key (`jwk`, `jku`, `x5u`, `x5c`).
    #[error("JWT header member not allowed")]
    HeaderMember,
    /// Not the provider's algorithm (RFC 8725 section 3.1).
    #[error("JWT algorithm not allowed")]
    Algorithm,
    /// The issuer's key set has no key with this `kid`.
    #[error("JWT signed with an unknown key")]
    UnknownSigningKey,
    /// The signature does not verify.
    #[error("JWT signature wrong")]
    Signature,
    /// No source has this issuer: a different pool, or an imitation of ours.
    #[error("JWT from another issuer")]
    Issuer,
    /// A person's token for a client that the issuer's source doesn't list.
    #[error("JWT for another client")]
    Client,
    /// A machine's token (`client_credentials`) for a client that isn't listed as a machine.
    #[error("JWT of a machine that is not configured")]
    Machine,
    /// A person's token for a client that is listed as a machine.
    #[error("JWT of a person for a machine's client")]
    Person,
    /// A person's token whose `sub` is its client: neither a person nor a machine.
    #[error("JWT of a person whose subject is the client")]
    SubjectIsClient,
    /// An ID or a refresh token in place of an access token.
    #[error("JWT not an access token")]
    TokenUse,
    /// `exp` is not after now.
    #[error("JWT expired")]
    Expired,
    /// `nbf` or `iat` is ahead of the clock by more than the leeway.
    #[error("JWT not valid yet")]
    NotYetValid,
    /// `sub` or `username` missing, empty or too long.
    #[error("JWT has no usable subject")]
    Subject,
    /// Not the form of an API key.
    #[error("API key malformed")]
    MalformedKey,
    /// The form of an API key with a wrong checksum: a typo, or invented.
    #[error("API key checksum wrong")]
    Checksum,
    /// No record with this key id.
    #[error("API key unknown")]
    UnknownKey,
    /// A known id with another secret: somebody is guessing, or assembled the key by hand.
    #[error("API key secret wrong")]
    WrongSecret,
    /// Disabled by its owner, who can enable it again.
    #[error("API key disabled")]
    KeyDisabled,
    /// Revoked: permanent.
    #[error("API key revoked")]
    KeyRevoked,
    /// Expired.
    #[error("API key expired")]
    KeyExpired,
    /// Used from outside the key's networks, or the event carried no address.
    #[error("API key used from an address outside its networks")]
    AddressNotAllowed,
    /// The record uses a digest scheme that this build doesn't know.
    #[error("API key stored in a form this version does not know")]
    UnsupportedRecord,
}

impl Rejection {
    /// A stable code for logs, metrics and test vectors.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoCredential => "no_credential",
            Self::ManyCredentials => "many_credentials",
            Self::CredentialInQuery => "credential_in_query",
            Self::NotBearer => "not_bearer",
            Self::TooLong => "too_long",
            Self::UnknownForm => "unknown_form",
            Self::MalformedJwt => "malformed_jwt",
            Self::HeaderMember => "header_member",
            Self::Algorithm => "algorithm",
            Self::UnknownSigningKey => "unknown_signing_key",
            Self::Signature => "signature",
            Self::Issuer => "issuer",
            Self::Client => "client",
            Self::Machine => "machine",
            Self::Person => "person",
            Self::SubjectIsClient => "subject_is_client",
            Self::TokenUse => "token_use",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Subject => "subject",
            Self::MalformedKey => "malformed_key",
            Self::Checksum => "checksum",
            Self::UnknownKey => "unknown_key",
            Self::WrongSecret => "wrong_secret",
            Self::KeyDisabled => "key_disabled",
            Self::KeyRevoked => "key_revoked",
            Self::KeyExpired => "key_expired",
            Self::AddressNotAllowed => "address_not_allowed",
            Self::UnsupportedRecord => "unsupported_record",
        }
    }
}

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
