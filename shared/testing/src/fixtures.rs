use vega_auth::{Actor, ApiKey, Groups, KeyRecord, KeySecret};

use crate::NOW;

/// A key.
pub fn key() -> ApiKey {
    key_with_secret(7)
}

/// A key with the id of [`key`], and a secret of 32 such bytes.
pub fn key_with_secret(byte: u8) -> ApiKey {
    ApiKey::new("7Gh2kQ9XbT4m".parse().unwrap(), &KeySecret::from_entropy(&mut [byte; 32]))
}

/// A key whose id is `number`, padded with zeros.
pub fn numbered_key(number: usize) -> ApiKey {
    ApiKey::new(format!("{number:012}").parse().unwrap(), &KeySecret::from_entropy(&mut [7; 32]))
}

/// An active key that `owner`, a member of group `user`, creates at [`NOW`]. It doesn't expire.
pub fn record(key: &ApiKey, owner: &str) -> KeyRecord {
    KeyRecord {
        owner_username: "ada".into(),
        name: "ci".into(),
        groups: Groups::named(["user"]),
        ..KeyRecord::new(key, owner, NOW)
    }
}

/// The person who changes a key: `id`, signed in as `ada`.
pub fn actor(id: &str) -> Actor {
    Actor {
        id: id.into(),
        username: "ada".into(),
        address: "192.0.2.1".into(),
        request_id: "request-0".into(),
        ..Actor::default()
    }
}
