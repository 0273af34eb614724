use std::error::Error as StdError;
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use crate::{Fault, Timestamp};

/// Largest accepted key set, in bytes. Cognito's has two keys and less than 1 KB.
pub const MAX_KEY_SET_BYTES: usize = 64 * 1024;

/// Age after which a set is fetched again even if every `kid` is known: a key that the issuer removed is no longer trusted.
const REFRESH_SECONDS: i64 = 15 * 60;

/// Longest use of a set while the issuer is unreachable. After that we don't know any more: 503.
const TRUST_SECONDS: i64 = 24 * 60 * 60;

/// Least time between two fetches, successful or not: invented `kid`s can't make us flood the issuer. While a trusted set
/// is available, [`PublishedKeys::COOL_DOWN_SECONDS`] can be longer.
const COOL_DOWN_SECONDS: i64 = 30;

/// The source of an issuer's key set.
pub trait FetchKeySet {
    /// The JSON of the key set, at most [`MAX_KEY_SET_BYTES`] of it, within the adapter's own deadline.
    fn fetch(&self) -> impl Future<Output = Result<Vec<u8>, Box<dyn StdError + Send + Sync>>> + Send;
}

/// A set of public keys that an issuer publishes as one document.
pub trait PublishedKeys: Sized {
    /// A key that verifies signatures.
    type Key;

    /// Least time between two fetches while a trusted set is available.
    const COOL_DOWN_SECONDS: i64 = COOL_DOWN_SECONDS;

    /// Time after a successful fetch for which a missing key counts as absent, even if later fetches fail. By default there
    /// is none: the key may exist by now, which is a fault.
    const ABSENT_SECONDS: Option<i64> = None;

    /// Parses a whole document.
    /// Fails when it contains no usable key, because such a document must not replace a good one.
    fn parse(json: &[u8]) -> Result<Self, NotAKeySet>;

    /// The key with this id.
    fn get(&self, kid: &str) -> Option<Arc<Self::Key>>;
}

/// The text is not a key set, or contains no key that we can use.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a key set with a usable signing key")]
pub struct NotAKeySet;

/// The current key set of an issuer, kept fresh. Its rules:
/// - a set is replaced only by a complete new one that parsed, and kept when a fetch fails;
/// - it is fetched again when a `kid` is unknown or it is older than 15 minutes: one fetch at a time, and at most one per
///   cool-down;
/// - without a successful fetch it is trusted for at most 24 hours.
pub struct KeySetCache<F, S> {
    source: F,
    cache: Mutex<Cache<S>>,
    one_fetch: Semaphore,
    fetches: AtomicU32,
}

struct Cache<S> {
    set: Option<(S, Timestamp)>,
    last_attempt: Option<Timestamp>,
    last_failure: Option<String>,
}

enum Lookup<K> {
    Found(Arc<K>),
    /// The set is current and has no such key.
    Absent,
    /// A fetch is due. Until it is done, this key of the current set stays valid.
    Due(Option<Arc<K>>),
    /// There is no trusted set, and a fetch has just failed.
    Unreachable(String),
}

impl<F: FetchKeySet, S: PublishedKeys> KeySetCache<F, S> {
    /// Fetches nothing before [`Self::warm_up`] or the first [`Self::key`].
    pub fn new(source: F) -> Self {
        let cache = Cache { set: None, last_attempt: None, last_failure: None };
        Self { source, cache: Mutex::new(cache), one_fetch: Semaphore::new(1), fetches: AtomicU32::new(0) }
    }

    /// Fetches the set ahead of the first request. A failure is harmless: the first request tries again.
    /// Fails when the set can't be fetched or parsed.
    pub async fn warm_up(&self, now: Timestamp) -> Result<(), Fault> {
        self.refresh(now).await;
        let mut cache = self.cache();
        match cache.last_failure.clone() {
            Some(failure) => {
                // The cool-down starts with the first request, not with init.
                cache.last_attempt = None;
                Err(Fault::KeySet(failure.into()))
            }
            None => Ok(()),
        }
    }

    /// The key with this `kid`, or `None` if the issuer has no such key.
    /// Fails when no trusted set is available.
    pub async fn key(&self, kid: &str, now: Timestamp) -> Result<Option<Arc<S::Key>>, Fault> {
        let lookup = self.cache().lookup(kid, now);
        match lookup {
            Lookup::Found(key) => return Ok(Some(key)),
            Lookup::Absent => return Ok(None),
            Lookup::Unreachable(failure) => return Err(Fault::KeySet(failure.into())),
            Lookup::Due(known) => {
                // Another request is fetching already: the known key serves in the meantime.
                if let (Some(key), 0) = (known, self.one_fetch.available_permits()) {
                    return Ok(Some(key));
                }
            }
        }
        let Ok(_only_one) = self.one_fetch.acquire().await else {
            return Err(Fault::KeySet("shutting down".into()));
        };
        // The request that had the permit before us may have fetched the key.
        let is_due = matches!(self.cache().lookup(kid, now), Lookup::Due(_));
        if is_due {
            self.refresh(now).await;
        }
        match self.cache().lookup(kid, now) {
            Lookup::Found(key) => Ok(Some(key)),
            Lookup::Absent => Ok(None),
            Lookup::Unreachable(failure) => Err(Fault::KeySet(failure.into())),
            Lookup::Due(_) => Err(Fault::KeySet("another fetch is due right after a fetch".into())),
        }
    }

    /// The set's age at `now` in seconds, if there is one, and the fetches since the last call, for metrics.
    pub(super) fn take_measures(&self, now: Timestamp) -> (Option<i64>, u32) {
        let age = self.cache().set.as_ref().map(|(_, fetched)| now.0.saturating_sub(fetched.0).max(0));
        (age, self.fetches.swap(0, Ordering::Relaxed))
    }

    /// Reads the current set, if it may be used at `now` without a fetch.
    pub(super) fn read<T>(&self, now: Timestamp, read: impl FnOnce(&S) -> T) -> Option<T> {
        let cache = self.cache();
        if !cache.may_serve(now) {
            return None;
        }
        cache.set.as_ref().map(|(set, _)| read(set))
    }

    /// Changes the current set, if there is one.
    pub(super) fn update(&self, change: impl FnOnce(&mut S)) {
        if let Some((set, _)) = &mut self.cache().set {
            change(set);
        }
    }

    async fn refresh(&self, now: Timestamp) {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        let fetched = match self.source.fetch().await {
            Ok(json) => S::parse(&json).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let mut cache = self.cache();
        // Only now: a request in the meantime waits for this fetch, instead of taking it for one that found nothing.
        cache.last_attempt = Some(now);
        match fetched {
            Ok(set) => {
                cache.set = Some((set, now));
                cache.last_failure = None;
            }
            Err(failure) => cache.last_failure = Some(failure),
        }
    }

    /// Never held across an `.await`. A panic can't leave it half-written: every change is one assignment.
    fn cache(&self) -> MutexGuard<'_, Cache<S>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: PublishedKeys> Cache<S> {
    /// The set, while it may be trusted at all.
    fn trusted(&self, now: Timestamp) -> Option<&S> {
        let (set, _) = self.set.as_ref().filter(|(_, fetched)| is_within(TRUST_SECONDS, *fetched, now))?;
        Some(set)
    }

    fn is_cooling(&self, now: Timestamp) -> bool {
        let seconds = if self.trusted(now).is_some() { S::COOL_DOWN_SECONDS } else { COOL_DOWN_SECONDS };
        self.last_attempt.is_some_and(|last| is_within(seconds, last, now))
    }

    /// Whether the set answers for the keys it has without a fetch: it is trusted, and no fetch is due or one was just
    /// tried.
    fn may_serve(&self, now: Timestamp) -> bool {
        let is_fresh = self.set.as_ref().is_some_and(|(_, fetched)| is_within(REFRESH_SECONDS, *fetched, now));
        self.trusted(now).is_some() && (is_fresh || self.is_cooling(now))
    }

    /// Whether a key that isn't in the set is known not to exist.
    fn is_complete(&self, now: Timestamp) -> bool {
        let is_recent =
            |(_, fetched): &(S, Timestamp)| S::ABSENT_SECONDS.is_some_and(|most| is_within(most, *fetched, now));
        self.trusted(now).is_some() && (self.last_failure.is_none() || self.set.as_ref().is_some_and(is_recent))
    }

    fn lookup(&self, kid: &str, now: Timestamp) -> Lookup<S::Key> {
        let known = self.trusted(now).and_then(|set| set.get(kid));
        let may_serve = self.may_serve(now);
        let cooling = self.is_cooling(now);
        match known {
            Some(key) if may_serve => Lookup::Found(key),
            known if !cooling => Lookup::Due(known),
            _ if self.is_complete(now) => Lookup::Absent,
            _ => match &self.last_failure {
                // The set that we failed to fetch may contain the key: we don't know.
                Some(failure) => Lookup::Unreachable(failure.clone()),
                None => Lookup::Unreachable("the key set was fetched but is no longer trusted".into()),
            },
        }
    }
}

/// Whether less than `seconds` passed from `then` to `now`. A `then` further ahead than concurrent requests can overtake
/// each other was read from a clock that has since been set back. It proves nothing, least of all trust.
fn is_within(seconds: i64, then: Timestamp, now: Timestamp) -> bool {
    (-COOL_DOWN_SECONDS..seconds).contains(&now.0.saturating_sub(then.0))
}
