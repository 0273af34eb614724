//! A notification about an API key: the `detail` of an `EventBridge` event, as docs/notifications.schema.json describes it.

use std::fmt;

use serde::{Deserialize, Serialize};
use vega_auth::{KeyId, KeyRecord, Timestamp};

/// The `detail-type` of the events.
pub const DETAIL_TYPE: &str = "API Key Notice";

/// The subject of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The key was created.
    Created,
    /// The key was used for the first time.
    FirstUsed,
    /// The key was used from a network that there was no notification about in the last 90 days.
    NewNetwork,
    /// The key expires within 14 days.
    #[serde(rename = "expires_in_14_days")]
    ExpiresIn14Days,
    /// The key expires within 3 days.
    #[serde(rename = "expires_in_3_days")]
    ExpiresIn3Days,
    /// The key expired.
    Expired,
    /// The key was reported as leaked, and revoked.
    Leaked,
    /// The key was revoked.
    Revoked,
    /// The key lost something else: it was disabled or limited further, or will expire earlier.
    Narrowed,
}

/// The name in a notification.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Something that happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEvent {
    /// The key.
    pub key: KeyId,
    /// What happened.
    pub kind: Kind,
    /// When it happened.
    pub at: Timestamp,
    /// For a use: the network that it came from, if known.
    pub network: Option<String>,
    /// For a key that lost something: its version after that.
    pub version: Option<u64>,
}

impl KeyEvent {
    /// An event without network and version.
    pub fn new(key: KeyId, kind: Kind, at: Timestamp) -> Self {
        Self { key, kind, at, network: None, version: None }
    }

    /// Distinguishes this event's notification from the others about the same key. Each network and each version has its own.
    pub fn marker(&self) -> String {
        match self.kind {
            Kind::NewNetwork => format!("network/{}", self.network.as_deref().unwrap_or_default()),
            Kind::Narrowed => format!("narrowed/{}", self.version.unwrap_or_default()),
            kind => kind.to_string(),
        }
    }
}

/// A notification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// The same each time this notification is sent: `<key id>/<marker>`.
    pub id: String,
    /// What happened.
    #[serde(rename = "notice")]
    pub kind: Kind,
    /// When it happened.
    pub at: Timestamp,
    /// The key's public id.
    pub key_id: KeyId,
    /// The name that its owner gave it.
    pub key_name: String,
    /// The owner's stable id.
    pub owner: String,
    /// The owner's username when the key was created.
    pub owner_username: String,
    /// When the key expires; `None` means never.
    pub expires_at: Option<Timestamp>,
    /// The network that the key was used from, not the full address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The reason for a revocation, in the words of the person who revoked the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For a key that lost something: its version after that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

impl Notification {
    /// The notification of an event, with the key's record as it is now.
    pub fn new(event: KeyEvent, record: KeyRecord) -> Self {
        Self {
            id: format!("{}/{}", event.key, event.marker()),
            kind: event.kind,
            at: event.at,
            key_id: event.key,
            key_name: record.name,
            owner: record.owner,
            owner_username: record.owner_username,
            expires_at: record.expires_at,
            network: event.network,
            reason: record.revoked_reason.filter(|_| matches!(event.kind, Kind::Leaked | Kind::Revoked)),
            version: event.version,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;
    use vega_auth::{ApiKey, KeySecret};

    use super::*;

    const ALL: [Kind; 9] = [
        Kind::Created,
        Kind::FirstUsed,
        Kind::NewNetwork,
        Kind::ExpiresIn14Days,
        Kind::ExpiresIn3Days,
        Kind::Expired,
        Kind::Leaked,
        Kind::Revoked,
        Kind::Narrowed,
    ];

    fn schema() -> Value {
        serde_json::from_str(include_str!("../../../docs/notifications.schema.json")).unwrap()
    }

    fn names(list: &Value) -> BTreeSet<&str> {
        list.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
    }

    #[test]
    fn the_schema_lists_every_kind_by_its_name() {
        let kinds: Vec<String> = ALL.iter().map(ToString::to_string).collect();
        assert_eq!(names(&schema()["properties"]["notice"]["enum"]), kinds.iter().map(String::as_str).collect());
    }

    #[test]
    fn every_notification_has_the_members_of_the_schema() {
        let schema = schema();
        let known: BTreeSet<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        let key = ApiKey::new("7Gh2kQ9XbT4m".parse().unwrap(), &KeySecret::from_entropy(&mut [7; 32]));
        for kind in ALL {
            let record = KeyRecord {
                revoked_reason: Some("a paste".into()),
                ..KeyRecord::new(&key, "user-1", Timestamp(1_800_000_000))
            };
            let event = KeyEvent {
                network: Some("192.0.2.0/24".into()),
                version: Some(2),
                ..KeyEvent::new(key.id(), kind, Timestamp(1_800_000_000))
            };
            let notification = Notification::new(event, record);
            let json = serde_json::to_value(&notification).unwrap();
            let members: BTreeSet<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
            assert!(members.is_subset(&known), "{json}");
            assert!(members.is_superset(&names(&schema["required"])), "{json}");
            assert_eq!(json.get("reason").is_some(), matches!(kind, Kind::Leaked | Kind::Revoked), "{json}");
            assert_eq!(serde_json::from_value::<Notification>(json).unwrap(), notification);
        }
    }

    #[test]
    fn each_network_and_version_has_its_own_notification() {
        let event = |kind, network: &str| KeyEvent {
            network: Some(network.into()),
            version: Some(7),
            ..KeyEvent::new("7Gh2kQ9XbT4m".parse().unwrap(), kind, Timestamp(0))
        };
        assert_eq!(event(Kind::NewNetwork, "192.0.2.0/24").marker(), "network/192.0.2.0/24");
        assert_eq!(event(Kind::FirstUsed, "192.0.2.0/24").marker(), "first_used");
        assert_eq!(event(Kind::ExpiresIn14Days, "").marker(), "expires_in_14_days");
        assert_eq!(event(Kind::Narrowed, "").marker(), "narrowed/7");
    }
}
