use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::bounded_cache::BoundedCache;
use crate::{Fault, KeyId, KeyRecord, KeyRecords, LastUse, Timestamp};

/// Answers from memory for keys that were read from `store` less than `seconds` ago: `VEGA_KEY_CACHE_SECONDS`. A change of
/// a key, its revocation above all, takes effect within that time. With 0, every request reads the key.
///
/// Only the read is saved. Secret, expiry and networks are checked against the cached record on every request.
pub struct CachedKeys<K> {
    store: K,
    seconds: i64,
    records: Mutex<BoundedCache<KeyId, (KeyRecord, Timestamp)>>,
}

impl<K> CachedKeys<K> {
    /// An empty cache.
    pub fn new(store: K, seconds: u16) -> Self {
        Self { store, seconds: seconds.into(), records: Mutex::default() }
    }

    /// The store behind the cache.
    pub fn store(&self) -> &K {
        &self.store
    }

    fn cached(&self, id: KeyId, now: Timestamp) -> Option<KeyRecord> {
        let records = self.records();
        let (record, read_at) = records.get(&id)?;
        // If the clock was set back, the age of the record is unknown.
        (0..self.seconds).contains(&now.0.saturating_sub(read_at.0)).then(|| record.clone())
    }

    /// Never held across an `.await`. A panic can't leave it half-written: every change is one assignment.
    fn records(&self) -> MutexGuard<'_, BoundedCache<KeyId, (KeyRecord, Timestamp)>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: KeyRecords + Sync> KeyRecords for CachedKeys<K> {
    async fn find(&self, id: KeyId, now: Timestamp) -> Result<Option<KeyRecord>, Fault> {
        if let Some(record) = self.cached(id, now) {
            return Ok(Some(record));
        }
        let found = self.store.find(id, now).await?;
        if let Some(record) = found.as_ref().filter(|_| self.seconds > 0) {
            // The age counts from before the read, so that the promised bound holds.
            self.records().insert(id, (record.clone(), now));
        }
        Ok(found)
    }

    async fn record_use(&self, id: KeyId, last: &LastUse) -> Result<(), Fault> {
        self.store.record_use(id, last).await?;
        // The cached record has it too, so that the next request doesn't record it again.
        if let Some((record, _)) = self.records().get_mut(&id) {
            record.last_use = Some(last.clone());
        }
        Ok(())
    }
}
