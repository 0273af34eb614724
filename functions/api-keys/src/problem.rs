//! Every reason for which a request about keys fails.

use std::fmt;

use vega_auth::{Groups, InvalidNetwork, KeyId, KeyRecord, NotChangeable};
use vega_http::{Code, Problem, ProblemType};
use vega_store::{CommitError, UpdateError};

use crate::ApiKeys;
use crate::body::{MAX_DAYS, MAX_DESCRIPTION, MAX_NAME};
use crate::idempotency::{MAX_LEN, MIN_LEN};
use crate::query::MAX_REASON;

/// The problem types of the key routes.
#[derive(Debug, thiserror::Error)]
pub enum KeyProblem {
    #[error("An API key can't manage API keys. Sign in.")]
    PersonOnly,
    #[error("Only people of this deployment's own user pool have API keys.")]
    OwnPoolOnly,
    #[error("This route is for API keys; you have an access token.")]
    ApiKeyOnly,
    #[error("The key {0} has a group that is protected from your groups: you can't revoke or enable it.")]
    Protected(KeyId),
    #[error(
        "Your account, your groups or your keys changed after this access token was issued. Sign in again, then repeat the \
         request."
    )]
    TokenOutdated,
    #[error(
        "The owner is disabled in the user pool, according to the last owner sync. Enable the owner there, then repeat the request \
         once the owner sync has noticed."
    )]
    OwnerDisabled,
    #[error("You have no such API key.")]
    NotYours,
    #[error("There is no such API key.")]
    NoSuchKey,
    #[error("This is a whole API key, which is a secret. Use only its id, and replace the key: servers log addresses.")]
    SecretInPath,
    #[error("You have {limit} live keys, which is the limit. Revoke one that you don't need.")]
    LimitReached { limit: u32 },
    #[error("The key is expired, which can't be undone. Create a new one.")]
    Expired,
    #[error("The key is revoked, which can't be undone. Create a new one.")]
    Revoked,
    #[error("The key is disabled. Enable it, then rotate it.")]
    Disabled,
    #[error("The key already has a successor: {0}. Rotate that one.")]
    Rotated(KeyId),
    #[error("The key changed since you read it. Read it again, then repeat the request.")]
    VersionMismatch,
    #[error(r#"If-Match: expected the ETag that you read, with its quotes, such as "3"; or *."#)]
    InvalidIfMatch,
    #[error("Idempotency-Key: expected exactly one, of {MIN_LEN} to {MAX_LEN} visible ASCII characters.")]
    InvalidIdempotencyKey,
    #[error("A request with this Idempotency-Key is still being processed. Repeat it in a second.")]
    IdempotencyInProgress,
    #[error("Another request with a different body used this Idempotency-Key within the last 15 minutes.")]
    IdempotencyKeyReused,
}

impl ProblemType for KeyProblem {
    fn code(&self) -> Code {
        match self {
            Self::OwnPoolOnly | Self::PersonOnly => Code::PersonRequired,
            Self::ApiKeyOnly | Self::Protected(_) => Code::Forbidden,
            Self::TokenOutdated => Code::TokenOutdated,
            Self::OwnerDisabled => Code::OwnerDisabled,
            Self::NotYours | Self::NoSuchKey | Self::SecretInPath => Code::NotFound,
            Self::LimitReached { .. } => Code::KeyLimitReached,
            Self::Expired => Code::KeyExpired,
            Self::Revoked => Code::KeyRevoked,
            Self::Disabled => Code::KeyDisabled,
            Self::Rotated(_) => Code::KeyRotated,
            Self::VersionMismatch => Code::VersionMismatch,
            Self::InvalidIfMatch => Code::InvalidIfMatch,
            Self::InvalidIdempotencyKey => Code::InvalidIdempotencyKey,
            Self::IdempotencyInProgress => Code::IdempotencyInProgress,
            Self::IdempotencyKeyReused => Code::IdempotencyKeyReused,
        }
    }
}

impl From<NotChangeable> for KeyProblem {
    fn from(reason: NotChangeable) -> Self {
        match reason {
            NotChangeable::Revoked => Self::Revoked,
            NotChangeable::Expired => Self::Expired,
            NotChangeable::Disabled => Self::Disabled,
            NotChangeable::Rotated(successor) => Self::Rotated(successor),
        }
    }
}

impl ApiKeys {
    /// The problem that a client sees when a key wasn't committed.
    pub(crate) fn problem<E: Into<Problem>>(&self, error: UpdateError<E>) -> Problem {
        match error {
            UpdateError::Refused(problem) => problem.into(),
            UpdateError::NotFound => KeyProblem::NotYours.into(),
            UpdateError::Commit(CommitError::TokenOutdated) => KeyProblem::TokenOutdated.into(),
            UpdateError::Commit(CommitError::OwnerDisabled) => KeyProblem::OwnerDisabled.into(),
            UpdateError::Commit(CommitError::LimitReached) => KeyProblem::LimitReached { limit: self.limit }.into(),
            UpdateError::Commit(CommitError::InProgress) => KeyProblem::IdempotencyInProgress.into(),
            UpdateError::Commit(CommitError::Conflict | CommitError::IdTaken) => {
                Problem::fault("key_contended", &"the key changed at every attempt")
            }
            UpdateError::Commit(CommitError::Fault(fault)) => fault.into(),
        }
    }
}

/// A mistake in a query.
#[derive(Debug, thiserror::Error)]
pub enum InvalidQuery {
    #[error("unknown parameter: expected one of {0}")]
    Unknown(String),
    #[error("{0}: given twice")]
    Twice(String),
    #[error("limit: expected 1 to {max}")]
    Limit { max: u32 },
    #[error("{0}: expected true or false")]
    Flag(&'static str),
    #[error("reason: expected at most {MAX_REASON} characters, none of them hidden")]
    Reason,
    #[error("sort: expected created_at, name, last_used_at or expires_at; with - before it for descending order")]
    Sort,
    #[error("status: expected active, disabled, expired or revoked")]
    Status,
    #[error("cursor: expected the next_cursor of the previous page of this same query")]
    Cursor,
    #[error("owner: expected the id (sub) of the keys' owner")]
    Owner,
}

impl ProblemType for InvalidQuery {
    fn code(&self) -> Code {
        Code::InvalidQuery
    }
}

/// A mistake in a member of a body. Values are not repeated; an entry of a list is identified by its index.
#[derive(Debug, thiserror::Error)]
pub enum InvalidValue {
    #[error("name: expected 1 to {MAX_NAME} characters, without hidden characters or spaces around it")]
    Name,
    #[error("description: expected at most {MAX_DESCRIPTION} characters, none of them hidden")]
    Description,
    #[error("groups: a key can have only groups that you are in: {0}")]
    Groups(Groups),
    #[error("{0}: expected at most {max}", max = KeyRecord::MAX_RESTRICTIONS)]
    TooMany(&'static str),
    #[error("scopes[{0}]: there is no such scope; see GET /v1/scopes")]
    Scope(usize),
    #[error("cidrs[{0}]: {1}")]
    Network(usize, InvalidNetwork),
    #[error("expires_at, expires_in_days: give only one of them")]
    TwoExpiries,
    #[error("expires_at: expected a future time within {MAX_DAYS} days, or null for never")]
    ExpiresAt,
    #[error("expires_in_days: expected 1 to {MAX_DAYS}")]
    ExpiresInDays,
    #[error("overlap_seconds: expected 0 to {max}", max = KeyRecord::MAX_OVERLAP_SECONDS)]
    Overlap,
}

impl ProblemType for InvalidValue {
    fn code(&self) -> Code {
        Code::InvalidValue
    }

    fn faults(&self) -> Vec<String> {
        vec![self.to_string()]
    }
}

/// All mistakes in the members of a body.
#[derive(Default, Debug)]
pub struct InvalidValues(Vec<InvalidValue>);

impl InvalidValues {
    /// The member's value. A mistake is kept, and the default takes the value's place until [`Self::check`].
    pub fn take<T: Default>(&mut self, value: Result<T, InvalidValue>) -> T {
        value.unwrap_or_else(|mistake| {
            self.0.push(mistake);
            T::default()
        })
    }

    /// The values, if there was no mistake.
    pub fn check<T>(self, values: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(values) } else { Err(self) }
    }
}

impl fmt::Display for InvalidValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.faults().join("; "))
    }
}

impl ProblemType for InvalidValues {
    fn code(&self) -> Code {
        Code::InvalidValue
    }

    fn faults(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}
