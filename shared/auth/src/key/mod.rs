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

/// Gives types their names in JSON as text, which the table contains.
macro_rules! names_as_in_json {
    ($($type:ty),+) => {$(
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                serde::Serialize::serialize(self, f)
            }
        }

        impl std::str::FromStr for $type {
            type Err = serde::de::value::Error;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                serde::Deserialize::deserialize(serde::de::value::StrDeserializer::new(name))
            }
        }
    )+};
}

names_as_in_json!(EventKind, KeyState, KeyStatus);
