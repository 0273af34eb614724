//! Access tokens: parsing, signatures, claims, and the issuer's key set.

mod claims;
mod hmac_secret;
mod issuer;
mod key_set;
mod key_set_cache;
mod signing_keys;
mod strict_json;
mod token_source;
mod unverified;
mod user_pool;
mod verified_tokens;

pub use claims::{Claims, TokenUse};
pub use hmac_secret::{HmacSecret, SecretTooShort};
pub use issuer::{Issuer, NotAnIssuer};
pub use key_set::{KeySet, RsaKey};
pub use key_set_cache::{FetchKeySet, KeySetCache, MAX_KEY_SET_BYTES, NotAKeySet, PublishedKeys};
pub use signing_keys::SigningKeys;
pub use strict_json::OtherMembers;
pub use token_source::TokenSource;
pub use unverified::UnverifiedJwt;
pub use user_pool::UserPool;
pub(crate) use verified_tokens::TokenDigest;
