use vega_auth::{Fault, FetchKeySet, KeyId, KeyRecord, KeyRecords, LastUse, Timestamp};

/// An empty table of keys.
pub struct NoKeys;

impl KeyRecords for NoKeys {
    async fn find(&self, _: KeyId, _: Timestamp) -> Result<Option<KeyRecord>, Fault> {
        Ok(None)
    }

    async fn record_use(&self, _: KeyId, _: &LastUse) -> Result<(), Fault> {
        Ok(())
    }
}

/// An issuer without a key set, for provider `custom`.
pub struct NoIssuer;

impl FetchKeySet for NoIssuer {
    async fn fetch(&self) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        Err("provider custom has no key set".into())
    }
}
