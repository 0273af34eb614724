//! Who is calling, and what may they call.
//!
//! Everything here is a decision: it takes all it needs as arguments, the clock included, and does no I/O.
//! What it needs from outside stands behind two ports: [`FetchKeySet`] (the issuer's signing keys) and
//! [`KeyRecords`] (the API keys). Lambda events, HTTP and AWS live in the functions and in the adapters.
//!
//! The way through, in the order of a request:
//! [`Credential`] (what the caller presents) → [`Authenticator`] → [`CurrentUser`] (who it turned out to be)
//! → [`AccessRules`] (what they may call).

mod access;
mod authenticate;
mod bounded_cache;
pub mod config;
mod credential;
mod current_user;
mod digest;
mod error;
mod jwt;
mod key;
mod object;
#[cfg(feature = "schema")]
mod schema;
mod text;
mod timestamp;

pub use access::{
    Access, AccessRules, DeniedAs, Group, Groups, InvalidScopeName, MethodPattern, PathPattern, Route, RulesError,
    ScopeName, UnknownGroup,
};
pub use authenticate::{Authenticated, Authenticator, KeyRecords, TokenVerifier};
pub use bounded_cache::BoundedCache;
pub use credential::{BearerToken, Credential};
pub use current_user::{Authentication, ContextError, CurrentUser};
pub use error::{AuthError, Fault, Rejection};
pub use jwt::{
    Claims, Expected, FetchKeySet, HmacSecret, KeySet, KeySetCache, MAX_KEY_SET_BYTES, NotAKeySet, OtherMembers,
    PublishedKeys, RsaKey, SecretTooShort, SigningKeys, TokenUse, UnverifiedJwt, UserPool,
};
pub use key::{
    ApiKey, CachedKeys, DIGEST_VERSION, InvalidNetwork, KeyDigest, KeyId, KeyRecord, KeySecret, KeyState, KeyStatus,
    LastUse, Network, NotRotatable,
};
pub use object::Object;
pub use text::{HIDDEN, is_hidden};
pub use timestamp::Timestamp;
