use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::verified_tokens::{TokenDigest, VerifiedTokens};
use crate::{CurrentUser, Fault, Object, Rejection, Timestamp};

/// The largest key set we read, in bytes. Cognito's has two keys and under 1 KB.
pub const MAX_KEY_SET_BYTES: usize = 64 * 1024;

/// The most keys we keep of a set.
const MAX_KEYS: usize = 64;

/// After this, a set is fetched again even if every `kid` is known: a key that the issuer removed is trusted no longer.
const REFRESH_SECONDS: i64 = 15 * 60;

/// For so long a set may serve while the issuer can't be reached. After that we don't know any more: 503.
const TRUST_SECONDS: i64 = 24 * 60 * 60;

/// The least time between two fetches, whether they succeed or fail: made-up `kid`s can't make us hammer the issuer. Where
/// there is a set to go on with, [`PublishedKeys::COOL_DOWN_SECONDS`] may be longer.
const COOL_DOWN_SECONDS: i64 = 30;

/// Where the issuer's key set comes from.
pub trait FetchKeySet {
    /// The JSON of the key set, at most [`MAX_KEY_SET_BYTES`], within a deadline of the adapter's.
    fn fetch(&self) -> impl Future<Output = Result<Vec<u8>, Box<dyn StdError + Send + Sync>>> + Send;
}

/// An RSA public key of the issuer's, for RS256.
pub struct RsaKey {
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl RsaKey {
    /// # Errors
    /// When this key did not sign `message`. A key of less than 2048 bits signs nothing.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Rejection> {
        RsaPublicKeyComponents { n: &self.modulus, e: &self.exponent }
            .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            .map_err(|_| Rejection::Signature)
    }
}

impl fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RsaKey({} bits)", self.modulus.len() * 8)
    }
}

/// A set of public keys that an issuer publishes as one document.
pub trait PublishedKeys: Sized {
    /// What checks a signature.
    type Key;

    /// The least time between two fetches while there is a set that may be trusted.
    const COOL_DOWN_SECONDS: i64 = COOL_DOWN_SECONDS;

    /// For so long a set is taken at its word that there is no such key, even though it could not be fetched again.
    /// Without this we don't know, which is a fault.
    const ABSENT_SECONDS: Option<i64> = None;

    /// Reads a whole document.
    ///
    /// # Errors
    /// When nothing usable is in it: such a document must not replace a good one.
    fn parse(json: &[u8]) -> Result<Self, NotAKeySet>;

    /// The key of this id.
    fn get(&self, kid: &str) -> Option<Arc<Self::Key>>;
}

/// The issuer's signing keys by `kid` (RFC 7517 section 5).
#[derive(Debug)]
pub struct KeySet {
    keys: HashMap<String, Arc<RsaKey>>,
    verified: VerifiedTokens,
}

/// The text is not a key set, or holds no key that we can use.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a key set with a usable signing key")]
pub struct NotAKeySet;

impl KeySet {
    /// Reads a whole set. Keys we can't use (another type, use or algorithm; too weak; with a private part) are skipped,
    /// as RFC 7517 section 5 asks; of a `kid` that stands twice, neither is used.
    ///
    /// # Errors
    /// When it is no key set at all, or nothing usable is in it: such a set must not replace a good one.
    pub fn parse(json: &[u8]) -> Result<Self, NotAKeySet> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        if json.len() > MAX_KEY_SET_BYTES {
            return Err(NotAKeySet);
        }
        let Object(document): Object<Document> = serde_json::from_slice(json).map_err(|_| NotAKeySet)?;
        let mut keys = HashMap::new();
        let mut ambiguous = Vec::new();
        for (kid, key) in document.keys.iter().take(MAX_KEYS).filter_map(signing_key) {
            if keys.insert(kid.to_owned(), Arc::new(key)).is_some() {
                ambiguous.push(kid);
            }
        }
        for kid in ambiguous {
            keys.remove(kid);
        }
        if keys.is_empty() { Err(NotAKeySet) } else { Ok(Self { keys, verified: VerifiedTokens::default() }) }
    }
}

impl PublishedKeys for KeySet {
    type Key = RsaKey;

    fn parse(json: &[u8]) -> Result<Self, NotAKeySet> {
        Self::parse(json)
    }

    fn get(&self, kid: &str) -> Option<Arc<RsaKey>> {
        self.keys.get(kid).cloned()
    }
}

/// The `kid` and key of a JWK that is good for RS256 signatures, else `None`.
fn signing_key(jwk: &Value) -> Option<(&str, RsaKey)> {
    let member = |name: &str| jwk.get(name).and_then(Value::as_str);
    let absent_or = |name: &str, expected: &str| jwk.get(name).is_none_or(|value| value.as_str() == Some(expected));
    let may_verify = jwk.get("key_ops").is_none_or(|operations| {
        operations.as_array().is_some_and(|list| list.iter().any(|operation| operation.as_str() == Some("verify")))
    });
    // A private part in a public set: somebody's key leaked, so what it signed proves nothing.
    let is_private = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().any(|name| jwk.get(name).is_some());
    if member("kty") != Some("RSA")
        || !absent_or("use", "sig")
        || !absent_or("alg", "RS256")
        || !may_verify
        || is_private
    {
        return None;
    }
    let kid = member("kid").filter(|kid| !kid.is_empty())?;
    let modulus = URL_SAFE_NO_PAD.decode(member("n")?).ok()?;
    let exponent = URL_SAFE_NO_PAD.decode(member("e")?).ok()?;
    // 2048 to 8192 bits, no leading zeros; the one exponent in use
    let is_strong = (256..=1024).contains(&modulus.len()) && modulus.first().is_some_and(|byte| *byte >= 0x80);
    if !is_strong || exponent != [1, 0, 1] {
        return None;
    }
    Some((kid, RsaKey { modulus, exponent }))
}

/// The key set in use, kept fresh. Its rules:
/// - a set is replaced only by a whole new one that parsed, and kept when a fetch fails;
/// - it is fetched again when a `kid` is unknown or it is older than 15 minutes, one fetch at a time, at most one per cool-down;
/// - it is trusted for 24 hours at most without a successful fetch.
pub struct SigningKeys<F, S: PublishedKeys = KeySet> {
    source: F,
    cache: Mutex<Cache<S>>,
    one_fetch: Semaphore,
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
    /// A fetch is due; until it is done, this key of the current set is still good.
    Due(Option<Arc<K>>),
    /// No set that may be trusted, and a fetch failed a moment ago.
    Down(String),
}

impl<F: FetchKeySet> SigningKeys<F> {
    /// The keys of an issuer of JWTs.
    pub fn new(source: F) -> Self {
        Self::of(source)
    }
}

impl<F: FetchKeySet, S: PublishedKeys> SigningKeys<F, S> {
    /// Nothing is fetched before [`Self::warm_up`] or the first [`Self::key`].
    pub fn of(source: F) -> Self {
        let cache = Cache { set: None, last_attempt: None, last_failure: None };
        Self { source, cache: Mutex::new(cache), one_fetch: Semaphore::new(1) }
    }

    /// Fetches the set ahead of the first request. A failure is no harm: the first request tries again.
    ///
    /// # Errors
    /// When the set can't be fetched or read.
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

    /// The key of this `kid`, or `None` if the issuer has no such key.
    ///
    /// # Errors
    /// When no set that may be trusted can be had.
    pub async fn key(&self, kid: &str, now: Timestamp) -> Result<Option<Arc<S::Key>>, Fault> {
        let lookup = self.cache().lookup(kid, now);
        match lookup {
            Lookup::Found(key) => return Ok(Some(key)),
            Lookup::Absent => return Ok(None),
            Lookup::Down(failure) => return Err(Fault::KeySet(failure.into())),
            Lookup::Due(known) => {
                // Somebody else is fetching already: what we know is good enough meanwhile.
                if let (Some(key), 0) = (known, self.one_fetch.available_permits()) {
                    return Ok(Some(key));
                }
            }
        }
        let Ok(_only_one) = self.one_fetch.acquire().await else {
            return Err(Fault::KeySet("shutting down".into()));
        };
        // Whoever held the permit before us may have brought the key.
        let is_due = matches!(self.cache().lookup(kid, now), Lookup::Due(_));
        if is_due {
            self.refresh(now).await;
        }
        match self.cache().lookup(kid, now) {
            Lookup::Found(key) => Ok(Some(key)),
            Lookup::Absent => Ok(None),
            Lookup::Down(failure) => Err(Fault::KeySet(failure.into())),
            Lookup::Due(_) => Err(Fault::KeySet("a fetch is due right after a fetch".into())),
        }
    }

    async fn refresh(&self, now: Timestamp) {
        let fetched = match self.source.fetch().await {
            Ok(json) => S::parse(&json).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let mut cache = self.cache();
        // Not before: whoever asks meanwhile waits for this fetch, rather than take it for one that brought nothing.
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

impl<F: FetchKeySet> SigningKeys<F> {
    /// Who a token speaks for that the set in use verified before, as long as that set would be used to verify it now.
    pub(crate) fn recall(&self, token: &TokenDigest, now: Timestamp) -> Option<CurrentUser> {
        let cache = self.cache();
        if !cache.may_serve(now) {
            return None;
        }
        let (set, _) = cache.set.as_ref()?;
        set.verified.recall(token, now)
    }

    /// Remembers that `key` verified this token, unless the set that it is of was replaced meanwhile.
    pub(crate) fn remember(&self, key: &Arc<RsaKey>, token: TokenDigest, user: &CurrentUser, good: Range<i64>) {
        let mut cache = self.cache();
        if let Some((set, _)) = &mut cache.set
            && set.keys.values().any(|current| Arc::ptr_eq(current, key))
        {
            set.verified.remember(token, user.clone(), good);
        }
    }
}

impl<S: PublishedKeys> Cache<S> {
    /// The set, as long as it may be trusted at all.
    fn trusted(&self, now: Timestamp) -> Option<&S> {
        let (set, _) = self.set.as_ref().filter(|(_, fetched)| is_within(TRUST_SECONDS, *fetched, now))?;
        Some(set)
    }

    fn is_cooling(&self, now: Timestamp) -> bool {
        let seconds = if self.trusted(now).is_some() { S::COOL_DOWN_SECONDS } else { COOL_DOWN_SECONDS };
        self.last_attempt.is_some_and(|last| is_within(seconds, last, now))
    }

    /// Whether what the set knows is served without a fetch: it is trusted, and no fetch is due or one was just tried.
    fn may_serve(&self, now: Timestamp) -> bool {
        let is_fresh = self.set.as_ref().is_some_and(|(_, fetched)| is_within(REFRESH_SECONDS, *fetched, now));
        self.trusted(now).is_some() && (is_fresh || self.is_cooling(now))
    }

    /// Whether what isn't in the set is known not to be there.
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
                // The key may be in the set that we failed to fetch: we don't know.
                Some(failure) => Lookup::Down(failure.clone()),
                None => Lookup::Down("key set fetched but no longer trusted".into()),
            },
        }
    }
}

/// Whether less than `seconds` passed from `then` to `now`. A `then` that lies further ahead than requests overtake each
/// other was read from a clock that has been put back since: it says nothing, least of all that something may be trusted.
fn is_within(seconds: i64, then: Timestamp, now: Timestamp) -> bool {
    (-COOL_DOWN_SECONDS..seconds).contains(&now.0.saturating_sub(then.0))
}
