use http::StatusCode;
use http::header::{HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The stable code of a failed request, in the member `error`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ErrorCode")]
pub enum Code {
    /// A header, the path or the query contains a character that HTTP doesn't allow.
    MalformedRequest,
    /// API Gateway rejected the request for another reason. It chooses the status.
    BadRequest,
    /// The body isn't JSON, or a member is missing, unknown or mistyped.
    InvalidBody,
    /// A query parameter is unknown, given twice or invalid.
    InvalidQuery,
    /// The `If-Match` isn't `*` or a list of quoted `ETag` values.
    InvalidIfMatch,
    /// The `Idempotency-Key` is too short, too long or given twice.
    InvalidIdempotencyKey,
    /// The report isn't signed by one of GitHub's keys.
    InvalidSignature,
    /// The token is missing, malformed, expired or revoked.
    InvalidToken,
    /// The e-mail address or the password is wrong.
    InvalidCredentials,
    /// None of the caller's groups is allowed to do this, or nobody is.
    Forbidden,
    /// The API key's groups allow the route, but none of its scopes include it. `GET /v1/scopes` lists what each scope covers.
    InsufficientScope,
    /// Only a person of the deployment's own user pool can do this: no API key, no machine, nobody of another pool.
    PersonRequired,
    /// The caller's account, groups or keys changed after the access token was issued. Sign in again.
    TokenOutdated,
    /// There is no such route, file or key; or the key belongs to somebody else.
    NotFound,
    /// The owner of the keys is disabled in the user pool, according to the last owner sync.
    OwnerDisabled,
    /// The caller has as many live keys as allowed.
    KeyLimitReached,
    /// The key is expired.
    KeyExpired,
    /// The key is revoked.
    KeyRevoked,
    /// The key is disabled.
    KeyDisabled,
    /// The key already has a successor.
    KeyRotated,
    /// A request with this `Idempotency-Key` is still being processed.
    IdempotencyInProgress,
    /// The key changed since the version in `If-Match`.
    VersionMismatch,
    /// The body is too large.
    BodyTooLarge,
    /// The body's media type isn't JSON.
    UnsupportedMediaType,
    /// A member of the body has an invalid value.
    InvalidValue,
    /// Another request used this `Idempotency-Key` within the last 15 minutes.
    IdempotencyKeyReused,
    /// There were too many requests.
    TooManyRequests,
    /// Something that the API depends on didn't answer. A change may or may not have been made: read again to find out.
    TemporarilyUnavailable,
}

impl Code {
    /// The code as text, which is also the name of its entry on the page of errors.
    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|name| Some(name.as_str()?.to_owned())).unwrap_or_default()
    }

    /// The HTTP status of every response with this code.
    pub fn status(self) -> StatusCode {
        match self {
            Self::MalformedRequest
            | Self::BadRequest
            | Self::InvalidBody
            | Self::InvalidQuery
            | Self::InvalidIfMatch
            | Self::InvalidIdempotencyKey
            | Self::InvalidSignature => StatusCode::BAD_REQUEST,
            Self::InvalidToken | Self::InvalidCredentials => StatusCode::UNAUTHORIZED,
            Self::Forbidden | Self::InsufficientScope | Self::PersonRequired | Self::TokenOutdated => {
                StatusCode::FORBIDDEN
            }
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::OwnerDisabled
            | Self::KeyLimitReached
            | Self::KeyExpired
            | Self::KeyRevoked
            | Self::KeyDisabled
            | Self::KeyRotated
            | Self::IdempotencyInProgress => StatusCode::CONFLICT,
            Self::VersionMismatch => StatusCode::PRECONDITION_FAILED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::InvalidValue | Self::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The header that every response with this code has: a challenge (RFC 6750 section 3), or when to try again.
    pub fn header(self) -> Option<(HeaderName, HeaderValue)> {
        let (name, value) = match self {
            Self::InvalidToken => (WWW_AUTHENTICATE, r#"Bearer realm="vega", error="invalid_token""#),
            Self::IdempotencyInProgress => (RETRY_AFTER, "1"),
            Self::TooManyRequests | Self::TemporarilyUnavailable => (RETRY_AFTER, "5"),
            _ => return None,
        };
        Some((name, HeaderValue::from_static(value)))
    }
}
