//! API keys: their format, their records, and how those change.

mod api_key;
mod cache;
mod network;
mod record;
mod rotation;

pub use api_key::{ApiKey, DIGEST_VERSION, KeyDigest, KeyId, KeySecret};
pub use cache::CachedKeys;
pub use network::{InvalidNetwork, Network};
pub use record::{KeyRecord, KeyState, KeyStatus, LastUse};
pub use rotation::NotRotatable;
