//! Who is calling, and what may they call.
//!
//! Everything here is a decision: it takes all it needs as arguments, the clock included, and does no I/O.
//! What it needs from outside stands behind two ports: [`FetchKeySet`] (the issuer's signing keys) and
//! [`FindKey`] (the API-key records). Lambda events, HTTP and AWS live in the functions and in the adapters.
//!
//! The way through, in the order of a request:
//! [`Credential`] (what the caller presents) → [`Authenticator`] → [`CurrentUser`] (who it turned out to be)
//! → [`AccessRules`] (what they may call).

mod access;
mod api_key;
mod authenticate;
pub mod config;
mod credential;
mod current_user;
mod decision;
mod digest;
mod generations;
mod group;
mod jwt;
mod key_record;
mod key_set;
mod network;
mod object;
mod remembered_keys;
mod rotation;
#[cfg(feature = "schema")]
mod schema;
mod scope;
mod text;
mod timestamp;
mod verified;

pub use access::{Access, AccessRules, MethodPattern, PathPattern, Route, RulesError};
pub use api_key::{ApiKey, DIGEST_VERSION, KeyDigest, KeyId, KeySecret};
pub use authenticate::{Authenticated, Authenticator, FindKey, TokenVerifier};
pub use credential::Credential;
pub use current_user::{Authentication, ContextError, CurrentUser};
pub use decision::{AuthError, Fault, Rejection};
pub use generations::Generations;
pub use group::{Group, Groups, UnknownGroup};
pub use jwt::{Claims, HmacSecret, MAX_TOKEN_BYTES, OtherMembers, SecretTooShort, TokenUse, UnverifiedJwt, UserPool};
pub use key_record::{KeyRecord, KeyState, KeyStatus, LastUse};
pub use key_set::{FetchKeySet, KeySet, MAX_KEY_SET_BYTES, NotAKeySet, PublishedKeys, RsaKey, SigningKeys};
pub use network::{InvalidNetwork, Network};
pub use object::Object;
pub use remembered_keys::RememberedKeys;
pub use rotation::NotRotatable;
pub use scope::{InvalidScopeName, ScopeName};
pub use text::{HIDDEN, is_hidden};
pub use timestamp::Timestamp;
