use serde::Deserialize as _;
use serde_json::Value;
use vega_auth::{EventKind, KeyId, KeyStatus, LastUse, Timestamp};

use crate::{Item, Malformed, parse_key_pk, read_last_use, read_record};

/// A change of the table that its stream reports and somebody may want to hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An audit event was written.
    Audited {
        /// The key.
        key: KeyId,
        /// The kind of event.
        event: EventKind,
        /// When it happened.
        at: Timestamp,
    },
    /// A key lost something, short of a revocation: it was disabled or limited further, or will expire earlier.
    Narrowed {
        /// The key.
        key: KeyId,
        /// Its version after that.
        version: u64,
        /// When it happened.
        at: Timestamp,
    },
    /// An expired key was swept out of the index, where a scan for expiry would have found it.
    Swept {
        /// The key.
        key: KeyId,
        /// When it expired.
        expired_at: Timestamp,
    },
    /// A key's record was deleted, as `DynamoDB` does some time after `purge_at`.
    Purged {
        /// The key.
        key: KeyId,
        /// Its owner.
        owner: String,
    },
    /// A use was recorded.
    Used {
        /// The key.
        key: KeyId,
        /// The use recorded before, if any.
        before: Option<LastUse>,
        /// This use.
        now: LastUse,
    },
}

impl Change {
    /// Reads a [record](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_Record.html) of the
    /// stream. `None` for every other change.
    pub fn read(record: &Value) -> Result<Option<Self>, Malformed> {
        let image = |name: &'static str| match &record["dynamodb"][name] {
            Value::Null => Ok(Item::default()),
            image => Item::deserialize(image).map_err(|_| Malformed(name)),
        };
        let keys = image("Keys")?;
        let event = record["eventName"].as_str().ok_or(Malformed("eventName"))?;
        let pk = keys.text("pk")?;
        let key = || parse_key_pk(pk).ok_or(Malformed("pk"));
        match (event, keys.text("sk")?) {
            ("INSERT", sk) if sk.starts_with("E#") => audited(&image("NewImage")?).map(Some),
            ("REMOVE", "A") => {
                Ok(Some(Change::Purged { key: key()?, owner: image("OldImage")?.text("owner")?.to_owned() }))
            }
            ("MODIFY", "A") => {
                let at = record["dynamodb"]["ApproximateCreationDateTime"].as_f64();
                modified(key()?, &image("OldImage")?, &image("NewImage")?, at)
            }
            ("INSERT" | "MODIFY", "U") => Ok(used(key()?, &image("OldImage")?, &image("NewImage")?)),
            _ => Ok(None),
        }
    }
}

fn audited(event: &Item) -> Result<Change, Malformed> {
    Ok(Change::Audited { key: event.parsed("key_id")?, event: event.parsed("event")?, at: event.time("at")? })
}

/// A key leaves the index when it is revoked or, after it expired, when it is swept.
fn modified(key: KeyId, old: &Item, new: &Item, at: Option<f64>) -> Result<Option<Change>, Malformed> {
    if new.parsed::<KeyStatus>("status")? == KeyStatus::Revoked {
        return Ok(None);
    }
    if old.has("holder") && !new.has("holder") {
        return Ok(Some(Change::Swept { key, expired_at: new.time("expires_at")? }));
    }
    let (old, new) = (read_record(old)?, read_record(new)?);
    #[expect(clippy::cast_possible_truncation, reason = "a time in seconds fits")]
    let at = Timestamp(at.ok_or(Malformed("ApproximateCreationDateTime"))? as i64);
    let is_narrowed = old.version < new.version && old.gives_more_than(&new);
    Ok(is_narrowed.then_some(Change::Narrowed { key, version: new.version, at }))
}

/// The item of a key that expires has `purge_at` from the beginning, so it can be there without a use.
fn used(key: KeyId, old: &Item, new: &Item) -> Option<Change> {
    Some(Change::Used { key, before: read_last_use(old), now: read_last_use(new)? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vega_auth::{ApiKey, Groups, KeyRecord, KeySecret};

    use super::*;
    use crate::{Attribute, write_record};

    const ID: &str = "7Gh2kQ9XbT4m";
    const AT: Timestamp = Timestamp(1_800_000_000);

    fn id() -> KeyId {
        ID.parse().unwrap()
    }

    fn read(
        event: &str,
        pk: &str,
        sk: &str,
        old: Option<&Item>,
        new: Option<&Item>,
    ) -> Result<Option<Change>, Malformed> {
        let mut record =
            json!({ "eventName": event, "dynamodb": { "Keys": { "pk": { "S": pk }, "sk": { "S": sk } } } });
        record["dynamodb"]["ApproximateCreationDateTime"] = AT.0.into();
        for (name, image) in [("OldImage", old), ("NewImage", new)] {
            if let Some(image) = image {
                record["dynamodb"][name] = json!(image);
            }
        }
        Change::read(&record)
    }

    fn item(attributes: &[(&str, Attribute)]) -> Item {
        attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    fn last_use(address: &str) -> Item {
        let at = Attribute::number(AT.0);
        item(&[("used_at", at), ("address", Attribute::text(address)), ("user_agent", Attribute::text("ci/1"))])
    }

    #[test]
    fn an_audit_event_is_read_with_its_key_and_time() {
        let good = item(&[
            ("event", Attribute::text("created")),
            ("key_id", Attribute::text(ID)),
            ("at", Attribute::number(AT.0)),
        ]);
        let sk = "E#7Gh2kQ9XbT4m#0000000001#00";
        let change = read("INSERT", "U#user-1", sk, None, Some(&good)).unwrap();
        assert_eq!(change, Some(Change::Audited { key: id(), event: EventKind::Created, at: AT }));
        assert_eq!(read("REMOVE", "U#user-1", sk, Some(&good), None), Ok(None));
        for name in ["event", "key_id", "at"] {
            let mut malformed = good.clone();
            malformed.insert(name, Attribute::Bool(true));
            assert_eq!(read("INSERT", "U#user-1", sk, None, Some(&malformed)), Err(Malformed(name)));
        }
        assert_eq!(read("INSERT", "U#user-1", sk, None, None), Err(Malformed("key_id")));
    }

    #[test]
    fn a_recorded_use_is_read_with_the_one_before() {
        let (here, there) = (last_use("203.0.113.7"), last_use("198.51.100.7"));
        let used = |before: Option<&Item>, now: &Item| {
            let event = if before.is_some() { "MODIFY" } else { "INSERT" };
            read(event, "K#7Gh2kQ9XbT4m", "U", before, Some(now)).unwrap()
        };
        let expected = |before, now| Some(Change::Used { key: id(), before, now: read_last_use(now).unwrap() });
        assert_eq!(used(None, &here), expected(None, &here));
        assert_eq!(used(Some(&here), &there), expected(read_last_use(&here), &there));
        let unused = item(&[("purge_at", Attribute::number(AT.0))]);
        assert_eq!(used(Some(&unused), &here), expected(None, &here));
        assert_eq!(used(None, &unused), None, "a key that expires has this item before its first use");
        assert_eq!(read("REMOVE", "K#7Gh2kQ9XbT4m", "U", Some(&here), None), Ok(None));
        assert_eq!(read("INSERT", "K#nonsense", "U", None, Some(&here)), Err(Malformed("pk")));
    }

    #[test]
    fn a_record_that_leaves_the_index_unrevoked_was_swept() {
        let key = ApiKey::new(id(), &KeySecret::from_entropy(&mut [7; 32]));
        let record = KeyRecord { expires_at: Some(AT), ..KeyRecord::new(&key, "user-1", Timestamp(1)) };
        let live = write_record(&record);
        let swept: Item = live.clone().into_iter().filter(|(name, _)| name != "holder").collect();
        let revoked = write_record(&KeyRecord { status: KeyStatus::Revoked, ..record });
        let change = |old, new| read("MODIFY", "K#7Gh2kQ9XbT4m", "A", Some(old), Some(new)).unwrap();
        assert_eq!(change(&live, &swept), Some(Change::Swept { key: id(), expired_at: AT }));
        for (old, new) in [(&live, &live), (&live, &revoked), (&swept, &swept), (&swept, &revoked)] {
            assert_eq!(change(old, new), None, "{old:?} {new:?}");
        }
        assert_eq!(read("INSERT", "K#7Gh2kQ9XbT4m", "A", None, Some(&live)), Ok(None));
    }

    #[test]
    fn a_key_that_lost_something_was_narrowed() {
        let key = ApiKey::new(id(), &KeySecret::from_entropy(&mut [7; 32]));
        let before = KeyRecord { groups: Groups::named(["user"]), ..KeyRecord::new(&key, "user-1", Timestamp(1)) };
        let change = |after: &KeyRecord| {
            read("MODIFY", "K#7Gh2kQ9XbT4m", "A", Some(&write_record(&before)), Some(&write_record(after))).unwrap()
        };
        let next = KeyRecord { version: before.version + 1, ..before.clone() };
        let narrowed = Some(Change::Narrowed { key: id(), version: before.version + 1, at: AT });
        for after in [
            KeyRecord { status: KeyStatus::Disabled, ..next.clone() },
            KeyRecord { groups: Groups::NONE, ..next.clone() },
            KeyRecord { scopes: vec!["projects:read".parse().unwrap()], ..next.clone() },
            KeyRecord { cidrs: vec!["192.0.2.0/24".parse().unwrap()], ..next.clone() },
            KeyRecord { expires_at: Some(AT), ..next.clone() },
        ] {
            assert_eq!(change(&after), narrowed, "{after:?}");
        }
        for after in [
            KeyRecord { name: "new".into(), ..next.clone() },
            KeyRecord { status: KeyStatus::Disabled, ..before.clone() },
            KeyRecord { groups: Groups::named(["user", "operator"]), ..next.clone() },
        ] {
            assert_eq!(change(&after), None, "{after:?}");
        }
    }

    #[test]
    fn a_deleted_record_is_read_with_its_owner() {
        let key = ApiKey::new(id(), &KeySecret::from_entropy(&mut [7; 32]));
        let record = write_record(&KeyRecord::new(&key, "user-1", AT));
        let change = read("REMOVE", "K#7Gh2kQ9XbT4m", "A", Some(&record), None).unwrap();
        assert_eq!(change, Some(Change::Purged { key: id(), owner: "user-1".into() }));
        assert_eq!(read("REMOVE", "K#7Gh2kQ9XbT4m", "A", None, None), Err(Malformed("owner")));
    }

    #[test]
    fn a_malformed_stream_record_is_an_error() {
        for record in [json!({}), json!(null), json!({ "eventName": "INSERT" }), json!({ "eventName": 1 })] {
            assert!(Change::read(&record).is_err(), "{record}");
        }
        let unknown_type = json!({
            "eventName": "INSERT",
            "dynamodb": { "Keys": { "pk": { "S": "U#u" }, "sk": { "S": "E#x" } }, "NewImage": { "at": { "M": {} } } },
        });
        assert_eq!(Change::read(&unknown_type), Err(Malformed("NewImage")));
        assert_eq!(read("MODIFY", "U#user-1", "M", None, None), Ok(None));
    }
}
