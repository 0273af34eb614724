//! API keys: their format, their records, and the changes a record can go through.

mod api_key;
mod audit;
mod cache;
mod network;
mod record;
mod transition;

pub use api_key::{ApiKey, DIGEST_VERSION, KeyDigest, KeyId, KeySecret};
pub use audit::{Actor, AuditEvent, EventKind};
pub use cache::CachedKeys;
pub use network::{InvalidNetwork, Network};
pub use record::{KeyRecord, KeyState, KeyStatus, LastUse};
pub use transition::{KeyChange, NotChangeable, Rotation, Transition};
