use std::fmt;
use std::ops::Range;

use crate::bounded_cache::BoundedCache;
use crate::digest::sha256;
use crate::{CurrentUser, Timestamp};

/// SHA-256 of a token: what it is remembered by. The token itself is kept nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenDigest([u8; 32]);

impl TokenDigest {
    pub(crate) fn of(token: &str) -> Self {
        Self(sha256(token.as_bytes()))
    }
}

/// Tokens that one key set verified, and who they speak for. It stands inside that key set and goes with it, so that
/// nothing is remembered that the keys of today wouldn't say again.
#[derive(Default)]
pub(crate) struct VerifiedTokens(BoundedCache<TokenDigest, Verified>);

struct Verified {
    user: CurrentUser,
    /// From `nbf` and `iat`, less the leeway, up to and without `exp`: the clock decides again each time.
    good: Range<i64>,
}

impl VerifiedTokens {
    /// Who the token speaks for, if it was verified and is good at `now`.
    pub(crate) fn recall(&self, token: &TokenDigest, now: Timestamp) -> Option<CurrentUser> {
        let verified = self.0.get(token)?;
        verified.good.contains(&now.0).then(|| verified.user.clone())
    }

    pub(crate) fn remember(&mut self, token: TokenDigest, user: CurrentUser, good: Range<i64>) {
        self.0.insert(token, Verified { user, good });
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
            issued_at: None,
            expires_at: None,
        }
    }

    #[test]
    fn a_token_is_remembered_from_its_first_second_until_the_one_it_expires_at() {
        let mut tokens = VerifiedTokens::default();
        tokens.remember(TokenDigest::of("a"), user("ada"), 10..20);
        let recalled = |now| tokens.recall(&TokenDigest::of("a"), Timestamp(now)).map(|user| user.id);
        assert_eq!([9, 10, 19, 20].map(recalled), [None, Some("ada".into()), Some("ada".into()), None]);
        assert_eq!(tokens.recall(&TokenDigest::of("b"), Timestamp(15)), None);
    }

    #[test]
    fn no_token_is_in_the_memory() {
        let mut tokens = VerifiedTokens::default();
        tokens.remember(TokenDigest::of("secret"), user("ada"), 0..10);
        assert_eq!(format!("{tokens:?}"), "VerifiedTokens(1)");
    }
}
