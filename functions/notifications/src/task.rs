use std::collections::BTreeMap;

use serde_json::Value;
use vega_auth::{EventKind, KeyId, Network};
use vega_key_table::Change;
use vega_notification::{KeyEvent, Kind};

/// A task, as an event requests it.
#[derive(Debug)]
pub enum Task {
    /// Follow up the changes that the table's stream reported.
    Follow {
        /// The events that somebody is notified of.
        events: Vec<KeyEvent>,
        /// The keys whose records were deleted, by their owners.
        purged: BTreeMap<String, Vec<KeyId>>,
    },
    /// Find the keys that expire soon, or have expired.
    ScanForExpiry,
}

impl Task {
    /// Reads an event: records of the stream, or `EventBridge`'s schedule.
    /// Fails when it is neither, or a record breaks the layout of the table.
    pub fn read(event: &Value) -> Result<Self, String> {
        if let Some(records) = event["Records"].as_array() {
            let (mut events, mut purged) = (Vec::new(), BTreeMap::<String, Vec<KeyId>>::new());
            for record in records {
                match Change::read(record).map_err(|malformed| format!("stream record: {malformed}"))? {
                    Some(Change::Purged { key, owner }) => purged.entry(owner).or_default().push(key),
                    Some(change) => events.extend(key_event(change)),
                    None => {}
                }
            }
            return Ok(Self::Follow { events, purged });
        }
        match event["detail-type"].as_str() {
            Some("Scheduled Event") => Ok(Self::ScanForExpiry),
            _ => Err("neither a record of the stream nor an event of the schedule".into()),
        }
    }
}

/// The event that the key's owner is notified of, if any.
fn key_event(change: Change) -> Option<KeyEvent> {
    match change {
        Change::Audited { key, event, at } => {
            let kind = match event {
                EventKind::Created => Kind::Created,
                EventKind::Leaked => Kind::Leaked,
                EventKind::Revoked => Kind::Revoked,
                EventKind::Changed
                | EventKind::Rotated
                | EventKind::Disabled
                | EventKind::Enabled
                | EventKind::Expired
                | EventKind::GroupsReduced => return None,
            };
            Some(KeyEvent::new(key, kind, at))
        }
        // A scan for expiry doesn't find the key any more.
        Change::Swept { key, expired_at } => Some(KeyEvent::new(key, Kind::Expired, expired_at)),
        Change::Narrowed { key, version, at } => {
            Some(KeyEvent { version: Some(version), ..KeyEvent::new(key, Kind::Narrowed, at) })
        }
        Change::Used { key, before, now } => {
            let network_now = network(&now.address);
            let kind = match before {
                None => Kind::FirstUsed,
                Some(before) if network_now.is_some() && network_now != network(&before.address) => Kind::NewNetwork,
                Some(_) => return None,
            };
            Some(KeyEvent { network: network_now, ..KeyEvent::new(key, kind, now.at) })
        }
        Change::Purged { .. } => None,
    }
}

/// The network of an address, which is all that a notification reveals of it.
fn network(address: &str) -> Option<String> {
    Some(Network::around(address.parse().ok()?).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vega_auth::{LastUse, Timestamp};

    use super::*;

    const AT: Timestamp = Timestamp(1_800_000_000);

    fn used(before: Option<&str>, now: &str) -> Option<(Kind, Option<String>)> {
        let key = "000000000000".parse().unwrap();
        let last =
            |address: &str| LastUse { at: AT, address: address.into(), user_agent: "ci/1".into(), moved_at: None };
        let event = key_event(Change::Used { key, before: before.map(last), now: last(now) })?;
        assert_eq!((event.key, event.at), (key, AT));
        Some((event.kind, event.network))
    }

    #[test]
    fn a_first_use_and_another_network_are_reported() {
        assert_eq!(used(None, "203.0.113.7"), Some((Kind::FirstUsed, Some("203.0.113.0/24".into()))));
        assert_eq!(used(None, ""), Some((Kind::FirstUsed, None)));
        assert_eq!(used(Some("203.0.113.7"), "198.51.100.7"), Some((Kind::NewNetwork, Some("198.51.100.0/24".into()))));
        assert_eq!(used(Some("203.0.113.7"), "203.0.113.8"), None, "the same network");
        assert_eq!(used(Some("203.0.113.7"), "nonsense"), None);
    }

    #[test]
    fn only_audit_events_with_a_notification_are_reported() {
        let key = "000000000000".parse().unwrap();
        let kind = |event| key_event(Change::Audited { key, event, at: AT }).map(|event| event.kind);
        for (event, reported) in [
            (EventKind::Created, Kind::Created),
            (EventKind::Leaked, Kind::Leaked),
            (EventKind::Revoked, Kind::Revoked),
        ] {
            assert_eq!(kind(event), Some(reported));
        }
        for event in
            [EventKind::Changed, EventKind::Rotated, EventKind::Disabled, EventKind::Enabled, EventKind::GroupsReduced]
        {
            assert_eq!(kind(event), None);
        }
    }

    #[test]
    fn a_swept_and_a_narrowed_key_are_reported_as_such() {
        let key = "000000000000".parse().unwrap();
        assert_eq!(key_event(Change::Swept { key, expired_at: AT }), Some(KeyEvent::new(key, Kind::Expired, AT)));
        let narrowed = key_event(Change::Narrowed { key, version: 7, at: AT }).unwrap();
        assert_eq!((narrowed.marker().as_str(), narrowed.at), ("narrowed/7", AT));
    }

    #[test]
    fn every_kind_of_event_is_read_and_any_other_an_error() {
        for event in [json!({}), json!(null), json!({ "Records": [{}] }), json!({ "detail-type": "another" })] {
            assert!(Task::read(&event).is_err(), "{event}");
        }
        assert!(matches!(Task::read(&json!({ "detail-type": "Scheduled Event" })), Ok(Task::ScanForExpiry)));
        let last_use =
            json!({ "used_at": { "N": "1800000000" }, "address": { "S": "" }, "user_agent": { "S": "ci/1" } });
        let record = json!({
            "eventName": "INSERT",
            "dynamodb": { "Keys": { "pk": { "S": "K#000000000000" }, "sk": { "S": "U" } }, "NewImage": last_use },
        });
        let deleted = json!({
            "eventName": "REMOVE",
            "dynamodb": {
                "Keys": { "pk": { "S": "K#111111111111" }, "sk": { "S": "A" } }, "OldImage": { "owner": { "S": "ada" } },
            },
        });
        let task = Task::read(&json!({ "Records": [record, deleted] }));
        let Ok(Task::Follow { events, purged }) = task else { panic!("records of the stream") };
        assert_eq!(events.len(), 1);
        assert_eq!(purged, BTreeMap::from([("ada".to_owned(), vec!["111111111111".parse().unwrap()])]));
    }

    #[test]
    fn neighbouring_addresses_share_a_network() {
        for (address, expected) in [
            ("203.0.113.7", Some("203.0.113.0/24")),
            ("203.0.113.255", Some("203.0.113.0/24")),
            ("::ffff:203.0.113.7", Some("203.0.113.0/24")),
            ("2001:db8:1:2::7", Some("2001:db8:1::/48")),
            ("2001:db8:1:ffff:ffff::", Some("2001:db8:1::/48")),
            ("", None),
            ("nonsense", None),
        ] {
            assert_eq!(network(address).as_deref(), expected, "{address}");
        }
    }
}
