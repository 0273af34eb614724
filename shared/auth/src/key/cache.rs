use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::bounded_cache::BoundedCache;
use crate::{Fault, FindKey, KeyId, KeyRecord, LastUse, Timestamp};

/// Keys that were read from `store` less than `seconds` ago needn't be read again: `VEGA_KEY_CACHE_SECONDS`. So a change
/// of a key, and its revocation above all, counts after at most that long. With 0 every key is read, every time.
///
/// Only the reading is saved. Secret, expiry and networks are checked against the remembered record on every request.
pub struct CachedKeys<K> {
    store: K,
    seconds: i64,
    records: Mutex<BoundedCache<KeyId, (KeyRecord, Timestamp)>>,
}

impl<K> CachedKeys<K> {
    /// Nothing is remembered yet.
    pub fn new(store: K, seconds: u16) -> Self {
        Self { store, seconds: seconds.into(), records: Mutex::default() }
    }

    /// Where they are read from.
    pub fn store(&self) -> &K {
        &self.store
    }

    /// The last use of a key was noted in the store: it needn't be noted again in a moment.
    pub fn noted(&self, id: KeyId, last: &LastUse) {
        if let Some((record, _)) = self.records().get_mut(&id) {
            record.last_use = Some(last.clone());
        }
    }

    fn remembered(&self, id: KeyId, now: Timestamp) -> Option<KeyRecord> {
        let records = self.records();
        let (record, asked) = records.get(&id)?;
        // A clock that was put back says nothing about how long ago that was.
        (0..self.seconds).contains(&now.0.saturating_sub(asked.0)).then(|| record.clone())
    }

    /// Never held across an `.await`. A panic can't leave it half-written: every change is one assignment.
    fn records(&self) -> MutexGuard<'_, BoundedCache<KeyId, (KeyRecord, Timestamp)>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: FindKey + Sync> FindKey for CachedKeys<K> {
    async fn find(&self, id: KeyId) -> Result<Option<KeyRecord>, Fault> {
        self.store.find(id).await
    }

    async fn find_at(&self, id: KeyId, now: Timestamp) -> Result<Option<KeyRecord>, Fault> {
        if let Some(record) = self.remembered(id, now) {
            return Ok(Some(record));
        }
        let found = self.store.find(id).await?;
        if let Some(record) = found.as_ref().filter(|_| self.seconds > 0) {
            // Counted from before the read, so that the bound is the one that was promised.
            self.records().insert(id, (record.clone(), now));
        }
        Ok(found)
    }
}
