use std::ops::Range;
use std::sync::Arc;

use super::{FetchKeySet, KeySet, KeySetCache, RsaKey, TokenDigest};
use crate::{CurrentUser, Fault, Timestamp};

/// The signing keys of a JWT issuer, and the tokens that they verified.
pub struct SigningKeys<F>(KeySetCache<F, KeySet>);

impl<F: FetchKeySet> SigningKeys<F> {
    /// Fetches nothing before [`Self::warm_up`] or the first [`Self::key`].
    pub fn new(source: F) -> Self {
        Self(KeySetCache::new(source))
    }

    /// See [`KeySetCache::warm_up`].
    /// Fails when the set can't be fetched or parsed.
    pub async fn warm_up(&self, now: Timestamp) -> Result<(), Fault> {
        self.0.warm_up(now).await
    }

    /// See [`KeySetCache::key`].
    /// Fails when no trusted set is available.
    pub async fn key(&self, kid: &str, now: Timestamp) -> Result<Option<Arc<RsaKey>>, Fault> {
        self.0.key(kid, now).await
    }

    /// See [`KeySetCache::take_measures`].
    pub(crate) fn take_measures(&self, now: Timestamp) -> (Option<i64>, u32) {
        self.0.take_measures(now)
    }

    /// The user of a token that was verified before, if the same set would still be used to verify it now.
    pub(crate) fn cached(&self, token: &TokenDigest, now: Timestamp) -> Option<CurrentUser> {
        self.0.read(now, |set| set.verified.get(token, now)).flatten()
    }

    /// Caches that `key` verified this token, unless its set was replaced in the meantime.
    pub(crate) fn cache(&self, key: &Arc<RsaKey>, token: TokenDigest, user: &CurrentUser, valid: Range<i64>) {
        self.0.update(|set| {
            if set.keys.values().any(|current| Arc::ptr_eq(current, key)) {
                set.verified.insert(token, user.clone(), valid);
            }
        });
    }
}
