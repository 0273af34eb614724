use std::fmt;
use std::ops::Range;

use crate::bounded_cache::BoundedCache;
use crate::credential::BearerToken;
use crate::digest::sha256;
use crate::{CurrentUser, Timestamp};

/// SHA-256 of a token, used as the cache key. The token itself is never stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenDigest([u8; 32]);

impl TokenDigest {
    pub(crate) fn of(token: BearerToken<'_>) -> Self {
        Self(sha256(token.expose().as_bytes()))
    }
}

/// The tokens that one key set verified, with their users. It is part of that key set and dropped with it, so a cached
/// result never outlives the keys that produced it.
#[derive(Default)]
pub(super) struct VerifiedTokens(BoundedCache<TokenDigest, Verified>);

struct Verified {
    user: CurrentUser,
    /// See [`super::Claims::validity`]: the clock decides again at each use.
    valid: Range<i64>,
}

impl VerifiedTokens {
    /// The token's user, if it was verified and is valid at `now`.
    pub(super) fn get(&self, token: &TokenDigest, now: Timestamp) -> Option<CurrentUser> {
        let verified = self.0.get(token)?;
        verified.valid.contains(&now.0).then(|| verified.user.clone())
    }

    pub(super) fn insert(&mut self, token: TokenDigest, user: CurrentUser, valid: Range<i64>) {
        self.0.insert(token, Verified { user, valid });
    }
}

impl fmt::Debug for VerifiedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifiedTokens({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Authentication, Groups};

    fn user(id: &str) -> CurrentUser {
        CurrentUser {
            id: id.into(),
            username: id.into(),
            groups: Groups::NONE,
            authentication: Authentication::Jwt,
            oauth_scopes: Vec::new(),
            issued_at: None,
            expires_at: None,
        }
    }

    fn digest(token: &str) -> TokenDigest {
        TokenDigest::of(BearerToken::new(token).unwrap())
    }

    #[test]
    fn a_cached_token_is_valid_from_nbf_until_exp() {
        let mut tokens = VerifiedTokens::default();
        tokens.insert(digest("a"), user("ada"), 10..20);
        let cached = |now| tokens.get(&digest("a"), Timestamp(now)).map(|user| user.id);
        assert_eq!([9, 10, 19, 20].map(cached), [None, Some("ada".into()), Some("ada".into()), None]);
        assert_eq!(tokens.get(&digest("b"), Timestamp(15)), None);
    }

    #[test]
    fn cached_tokens_cannot_be_printed() {
        let mut tokens = VerifiedTokens::default();
        tokens.insert(digest("secret"), user("ada"), 0..10);
        assert_eq!(format!("{tokens:?}"), "VerifiedTokens(1)");
    }
}
