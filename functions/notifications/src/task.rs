use serde_json::Value;
use vega_auth::{KeyId, Timestamp};

use crate::notification::{Kind, network};

/// What an event asks for.
#[derive(Debug)]
pub enum Task {
    /// To tell what happened, as the table's stream has it.
    Deliver(Vec<KeyEvent>),
    /// To look which keys are near their end.
    ScanForExpiry,
}

/// Something that happened to a key.
#[derive(Debug, PartialEq, Eq)]
pub struct KeyEvent {
    /// Which.
    pub key: KeyId,
    /// What.
    pub kind: Kind,
    /// When.
    pub at: Timestamp,
    /// From where it was used, where that is known.
    pub network: Option<String>,
}

impl Task {
    /// Reads an event: the records of a stream, or `EventBridge`'s schedule.
    ///
    /// # Errors
    /// When it is neither, or a record breaks the contract of the table.
    pub fn read(event: &Value) -> Result<Self, &'static str> {
        if let Some(records) = event["Records"].as_array() {
            let events = records.iter().map(happening).collect::<Result<Vec<_>, _>>()?;
            return Ok(Self::Deliver(events.into_iter().flatten().collect()));
        }
        match event["detail-type"].as_str() {
            Some("Scheduled Event") => Ok(Self::ScanForExpiry),
            _ => Err("an event that is neither of a stream nor of the schedule"),
        }
    }
}

/// What a record of the stream is about, if there are notifications of such things.
fn happening(record: &Value) -> Result<Option<KeyEvent>, &'static str> {
    let (keys, new) = (&record["dynamodb"]["Keys"], &record["dynamodb"]["NewImage"]);
    let pk = keys["pk"]["S"].as_str().ok_or("a record without pk")?;
    let sk = keys["sk"]["S"].as_str().ok_or("a record without sk")?;
    let kind = record["eventName"].as_str().ok_or("a record without eventName")?;
    match (kind, sk) {
        ("INSERT", sk) if sk.starts_with("E#") => audited(new),
        ("MODIFY", "A") => swept(pk, &record["dynamodb"]["OldImage"], new),
        ("INSERT" | "MODIFY", "U") => used(pk, &record["dynamodb"]["OldImage"], new),
        _ => Ok(None),
    }
}

/// An audit event, as `vega_store` writes it.
fn audited(event: &Value) -> Result<Option<KeyEvent>, &'static str> {
    let text = |name: &str| event[name]["S"].as_str();
    let kind = match text("event").ok_or("an audit event without event")? {
        "created" => Kind::Created,
        "leaked" => Kind::Leaked,
        "revoked" => Kind::Revoked,
        _ => return Ok(None),
    };
    let key = text("key_id").and_then(|id| id.parse().ok()).ok_or("an audit event without key_id")?;
    let at = time(event, "at").ok_or("an audit event without at")?;
    Ok(Some(KeyEvent { key, kind, at, network: None }))
}

/// A key that leaves the index of those who hold keys, and isn't revoked: it expired. The look for expiry doesn't find it there
/// any more.
fn swept(pk: &str, old: &Value, new: &Value) -> Result<Option<KeyEvent>, &'static str> {
    if old["holder"].is_null() || !new["holder"].is_null() || new["status"]["S"] == "revoked" {
        return Ok(None);
    }
    let key: KeyId = pk.strip_prefix("K#").and_then(|id| id.parse().ok()).ok_or("a record of no key")?;
    let at = time(new, "expires_at").ok_or("a key that is over without expires_at")?;
    Ok(Some(KeyEvent { key, kind: Kind::Expired, at, network: None }))
}

/// The last use of a key.
fn used(pk: &str, old: &Value, new: &Value) -> Result<Option<KeyEvent>, &'static str> {
    let key: KeyId = pk.strip_prefix("K#").and_then(|id| id.parse().ok()).ok_or("a last use of no key")?;
    // `purge_at` is there from the day on that the key has an end, whether or not it was ever used
    let Some(at) = time(new, "used_at") else { return Ok(None) };
    let from = |image: &Value| image["address"]["S"].as_str().and_then(network);
    let network = from(new);
    if time(old, "used_at").is_none() {
        return Ok(Some(KeyEvent { key, kind: Kind::FirstUsed, at, network }));
    }
    // Most uses are from where the one before was
    let is_another = network.is_some() && network != from(old);
    Ok(is_another.then_some(KeyEvent { key, kind: Kind::NewNetwork, at, network }))
}

fn time(image: &Value, name: &str) -> Option<Timestamp> {
    image[name]["N"].as_str().and_then(|digits| digits.parse().ok()).map(Timestamp)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(event: &str, pk: &str, sk: &str, old: &Value, new: &Value) -> Value {
        json!({
            "eventName": event, "eventSource": "aws:dynamodb",
            "dynamodb": { "Keys": { "pk": { "S": pk }, "sk": { "S": sk } }, "OldImage": old, "NewImage": new },
        })
    }

    fn last_use(address: &str) -> Value {
        json!({ "used_at": { "N": "1800000000" }, "address": { "S": address }, "user_agent": { "S": "ci/1" } })
    }

    fn read(record: &Value) -> Result<Vec<String>, &'static str> {
        match Task::read(&json!({ "Records": [record] }))? {
            Task::Deliver(events) => Ok(events.iter().map(|it| format!("{:?} {:?}", it.kind, it.network)).collect()),
            Task::ScanForExpiry => Err("the schedule"),
        }
    }

    #[test]
    fn the_last_use_tells_a_first_use_and_another_network() {
        let none = Value::Null;
        let use_of = |event, old: &Value, new: &Value| read(&record(event, "K#000000000000", "U", old, new)).unwrap();
        let (here, next_door, there) = (last_use("203.0.113.7"), last_use("203.0.113.8"), last_use("198.51.100.7"));
        assert_eq!(use_of("INSERT", &none, &here), [r#"FirstUsed Some("203.0.113.0/24")"#]);
        assert_eq!(use_of("INSERT", &none, &last_use("")), ["FirstUsed None"]);
        assert_eq!(use_of("MODIFY", &here, &there), [r#"NewNetwork Some("198.51.100.0/24")"#]);
        assert!(use_of("MODIFY", &here, &next_door).is_empty());
        assert!(use_of("MODIFY", &here, &last_use("nonsense")).is_empty());
        let ended = json!({ "purge_at": { "N": "1800000000" } });
        assert!(use_of("INSERT", &none, &ended).is_empty(), "a key that ended unused");
        assert!(use_of("REMOVE", &here, &none).is_empty());
    }

    #[test]
    fn a_key_that_is_swept_out_of_the_index_expired() {
        let image = |holder: bool, status: &str| {
            let mut image = json!({ "status": { "S": status }, "expires_at": { "N": "1800000000" } });
            if holder {
                image["holder"] = json!({ "S": "user-1" });
            }
            image
        };
        let (live, swept, revoked) = (image(true, "active"), image(false, "disabled"), image(false, "revoked"));
        let change = |old, new| read(&record("MODIFY", "K#000000000000", "A", old, new)).unwrap();
        assert_eq!(change(&live, &swept), ["Expired None"]);
        for (old, new) in [(&live, &live), (&live, &revoked), (&swept, &swept), (&swept, &revoked)] {
            assert!(change(old, new).is_empty(), "{old} {new}");
        }
        let unused = json!({ "purge_at": { "N": "1800000000" } });
        let first = record("MODIFY", "K#000000000000", "U", &unused, &last_use("203.0.113.7"));
        assert_eq!(read(&first).unwrap(), [r#"FirstUsed Some("203.0.113.0/24")"#]);
    }

    #[test]
    fn an_audit_event_that_there_is_a_notice_for_is_told_and_the_rest_is_not() {
        let event = |kind: &str| {
            let item = json!({
                "event": { "S": kind }, "key_id": { "S": "000000000000" }, "at": { "N": "1800000000" },
            });
            record("INSERT", "U#user-1", "E#000000000000#0000000001#00", &Value::Null, &item)
        };
        for (kind, told) in [("created", "Created None"), ("leaked", "Leaked None"), ("revoked", "Revoked None")] {
            assert_eq!(read(&event(kind)).unwrap(), [told]);
        }
        for kind in ["changed", "rotated", "disabled", "enabled", "groups_reduced"] {
            assert!(read(&event(kind)).unwrap().is_empty());
        }
        assert!(read(&record("MODIFY", "U#user-1", "M", &Value::Null, &Value::Null)).unwrap().is_empty());
        assert!(read(&record("INSERT", "K#000000000000", "A", &Value::Null, &Value::Null)).unwrap().is_empty());
    }

    #[test]
    fn an_event_of_another_kind_and_a_garbled_record_are_errors() {
        for event in [json!({}), json!(null), json!({ "Records": [{}] }), json!({ "detail-type": "another" })] {
            assert!(Task::read(&event).is_err(), "{event}");
        }
        let empty = json!({});
        assert!(read(&record("INSERT", "U#user-1", "E#x", &empty, &empty)).is_err());
        assert!(read(&record("INSERT", "K#nonsense", "U", &empty, &last_use(""))).is_err());
        assert!(matches!(Task::read(&json!({ "detail-type": "Scheduled Event" })), Ok(Task::ScanForExpiry)));
    }
}
