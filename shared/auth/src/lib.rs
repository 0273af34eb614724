//! Who is calling, and which routes can they call?
//!
//! Every decision takes its inputs as arguments, the clock included, and does no I/O. Two ports provide the rest:
//! [`FetchKeySet`] (the issuer's signing keys) and [`KeyRecords`] (the API keys). Lambda events, HTTP and AWS are in the
//! functions and in the adapters.
//!
//! A request goes from [`Credential`] (presented by the caller) through [`Authenticator`] to [`CurrentUser`] (the caller's
//! identity) and [`AccessRules`] (the routes they can call). Here, from an `Authorization` header to the decision:
//!
//! ```
//! use vega_auth::*;
//!
//! // The adapters: a table with one key, and an issuer that provider `custom` doesn't need.
//! struct Table(KeyRecord);
//!
//! impl KeyRecords for Table {
//!     async fn find(&self, id: KeyId, _now: Timestamp) -> Result<Option<KeyRecord>, Fault> {
//!         Ok(Some(self.0.clone()).filter(|record| record.id == id))
//!     }
//!
//!     async fn record_use(&self, _id: KeyId, _last: &LastUse) -> Result<(), Fault> {
//!         Ok(())
//!     }
//! }
//!
//! struct NoIssuer;
//!
//! impl FetchKeySet for NoIssuer {
//!     async fn fetch(&self) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
//!         Err("provider custom has no key set".into())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now = Timestamp(1_800_000_000);
//! let key: ApiKey = "vk_7Gh2kQ9XbT4m_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1EG2IT".parse()?;
//! let record = KeyRecord {
//!     groups: Groups::named(["user"]),
//!     scopes: vec!["read".parse()?],
//!     ..KeyRecord::new(&key, "user-1", now)
//! };
//! let authenticator = Authenticator::<NoIssuer, Table> {
//!     tokens: TokenVerifier::Custom(HmacSecret::new_from_text("0123456789abcdef0123456789abcdef")?),
//!     keys: Table(record),
//! };
//! let rules: AccessRules = r#"{ "rules": [
//!     { "route": "* /v1/projects", "groups": ["user"] },
//!     { "route": "GET /v1/admin/*", "groups": ["root"] }
//! ] }"#
//! .parse()?;
//!
//! // One request.
//! let header = format!("Bearer {}", key.expose());
//! let credential = Credential::from_header(&header)?;
//! let caller = authenticator.authenticate(credential, None, now).await?;
//! assert_eq!(caller.user.id, "user-1");
//! let access = |method, path| rules.access(&caller.user, Target { method, path, resource: None });
//! assert_eq!(access("GET", "/v1/projects"), Access::Allowed);
//! assert_eq!(access("POST", "/v1/projects"), Access::Denied(DeniedAs::InsufficientScope));
//! assert_eq!(access("GET", "/v1/admin/users"), Access::Denied(DeniedAs::Forbidden));
//!
//! // A key with one character changed is rejected before any I/O.
//! let altered = header.replacen("003a", "003b", 1);
//! assert_eq!(Credential::from_header(&altered).unwrap_err(), Rejection::Checksum);
//! # Ok(())
//! # }
//! ```

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
    Access, AccessRules, Caching, DeniedAs, Group, Groups, InvalidGroup, InvalidScopeName, MethodPattern, PathPattern,
    Problem, Rest, Route, RulesError, ScopeName, Segment, Target,
};
pub use authenticate::{Authenticated, Authenticator, KeyRecords, TokenVerifier};
pub use bounded_cache::BoundedCache;
pub use credential::{BearerToken, Credential};
pub use current_user::{Authentication, ContextError, CurrentUser};
pub use error::{AuthError, Fault, Rejection, error_chain};
pub use jwt::{
    Claims, FetchKeySet, HmacSecret, Issuer, KeySet, KeySetCache, MAX_KEY_SET_BYTES, NotAKeySet, NotAnIssuer,
    OtherMembers, PublishedKeys, RsaKey, SecretTooShort, SigningKeys, TokenSource, TokenUse, UnverifiedJwt, UserPool,
};
pub use key::{
    Actor, ApiKey, AuditEvent, CachedKeys, DIGEST_VERSION, EventKind, InvalidNetwork, KeyChange, KeyDigest, KeyId,
    KeyRecord, KeySecret, KeyState, KeyStatus, LastUse, Network, NotChangeable, Rotation, Transition,
};
pub use object::{Object, not_null};
#[cfg(feature = "schema")]
pub use schema::rules_schema;
pub use text::{HIDDEN, is_hidden};
pub use timestamp::Timestamp;
