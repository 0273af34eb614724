//! Access tokens: parsing, verification and claims, and the key sets that verify them.

mod key_set;
mod unverified;
mod verified_tokens;

pub use key_set::{FetchKeySet, KeySet, MAX_KEY_SET_BYTES, NotAKeySet, PublishedKeys, RsaKey, SigningKeys};
pub use unverified::{
    Claims, HmacSecret, MAX_TOKEN_BYTES, OtherMembers, SecretTooShort, TokenUse, UnverifiedJwt, UserPool,
};
pub(crate) use verified_tokens::TokenDigest;
