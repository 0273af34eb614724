//! How a record stands in the table. Reading is strict: an item that breaks the contract is a fault, never a guess.

use std::collections::HashMap;
use std::fmt::Display;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use vega_auth::{Fault, Group, Groups, KeyDigest, KeyId, KeyRecord, KeyStatus, LastUse, Timestamp};

/// How long the record of a key that ended is kept, to show.
const TOMBSTONE_SECONDS: i64 = 90 * 24 * 60 * 60;

/// How a use is noted, and on what condition: see [`vega_auth::KeyRecord::use_to_record`].
pub fn record_use(last: &LastUse) -> [&'static str; 2] {
    if last.is_move() {
        [
            "SET used_at = :at, moved_at = :at, address = :address, user_agent = :agent",
            "used_at <= :at AND (attribute_not_exists(moved_at) OR moved_at <= :due)",
        ]
    } else {
        [
            "SET used_at = :at, address = :address, user_agent = :agent",
            "attribute_not_exists(used_at) OR used_at <= :due",
        ]
    }
}

pub type Item = HashMap<String, AttributeValue>;

pub fn key_pk(id: KeyId) -> AttributeValue {
    string(format!("K#{id}"))
}

pub fn owner_pk(owner: &str) -> AttributeValue {
    string(format!("U#{owner}"))
}

pub fn string(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub fn number(value: impl Display) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

pub fn status_name(status: KeyStatus) -> &'static str {
    match status {
        KeyStatus::Active => "active",
        KeyStatus::Disabled => "disabled",
        KeyStatus::Revoked => "revoked",
    }
}

/// When `DynamoDB` may delete what is left of a key: 90 days after its end, and so known from the day on that it has an
/// end. It deletes late, and decides nothing.
pub fn purge_at(record: &KeyRecord) -> Option<Timestamp> {
    record.revoked_at.or(record.expires_at).map(purge_at_of)
}

/// The same, of a key that ends at `end`.
pub fn purge_at_of(end: Timestamp) -> Timestamp {
    end.plus(TOMBSTONE_SECONDS)
}

/// The item `A` of a record.
pub fn write(record: &KeyRecord) -> Item {
    let mut item = Item::from([
        ("pk".into(), key_pk(record.id)),
        ("sk".into(), string("A")),
        ("owner".into(), string(&record.owner)),
        ("owner_username".into(), string(&record.owner_username)),
        ("digest".into(), AttributeValue::B(Blob::new(record.digest.as_bytes()))),
        ("digest_version".into(), number(record.digest_version)),
        ("status".into(), string(status_name(record.status))),
        ("name".into(), string(&record.name)),
        ("description".into(), string(&record.description)),
        ("groups".into(), strings(record.groups.iter().map(|group| group.name().to_owned()))),
        ("scopes".into(), strings(record.scopes.iter().map(ToString::to_string))),
        ("cidrs".into(), strings(record.cidrs.iter().map(ToString::to_string))),
        ("created_at".into(), number(record.created_at.0)),
        ("version".into(), number(record.version)),
    ]);
    let optional = [
        ("expires_at", record.expires_at.map(|at| number(at.0))),
        ("revoked_at", record.revoked_at.map(|at| number(at.0))),
        ("revoked_reason", record.revoked_reason.as_ref().map(string)),
        ("rotated_from", record.rotated_from.map(|id| string(id.as_str()))),
        ("rotated_to", record.rotated_to.map(|id| string(id.as_str()))),
        ("purge_at", purge_at(record).map(|at| number(at.0))),
        // In the index `holders`, for as long as somebody could use the key or switch it on again: one that expires leaves
        // it when it is swept
        ("holder", (record.status != KeyStatus::Revoked).then(|| string(&record.owner))),
    ];
    item.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    item
}

/// The record of a key with its last use, from all its items. `None` where there is no record.
pub fn read_key(items: &[Item], id: KeyId) -> Result<Option<KeyRecord>, Fault> {
    let with_sort_key = |wanted: &str| {
        items.iter().find(|item| item.get("sk").and_then(|sk| sk.as_s().ok()).is_some_and(|sk| sk == wanted))
    };
    let Some(record) = with_sort_key("A") else { return Ok(None) };
    let mut record = read(record)?;
    if record.id != id {
        return Err(Fault::Record("the record of another key".into()));
    }
    record.last_use = with_sort_key("U").and_then(read_last_use);
    Ok(Some(record))
}

/// The record of an item `A`, without its last use.
pub fn read(item: &Item) -> Result<KeyRecord, Fault> {
    read_all(item).map_err(|member| Fault::Record(format!("attribute {member} missing or malformed").into()))
}

fn read_all(item: &Item) -> Result<KeyRecord, &'static str> {
    let text = |name: &'static str| item.get(name).and_then(|value| value.as_s().ok()).ok_or(name);
    let pk = text("pk")?;
    Ok(KeyRecord {
        id: pk.strip_prefix("K#").and_then(|id| id.parse().ok()).ok_or("pk")?,
        owner: text("owner")?.clone(),
        owner_username: text("owner_username")?.clone(),
        digest: item
            .get("digest")
            .and_then(|value| KeyDigest::from_bytes(value.as_b().ok()?.as_ref()))
            .ok_or("digest")?,
        digest_version: integer(item, "digest_version")?.ok_or("digest_version")?,
        status: match text("status")?.as_str() {
            "active" => KeyStatus::Active,
            "disabled" => KeyStatus::Disabled,
            "revoked" => KeyStatus::Revoked,
            _ => return Err("status"),
        },
        name: text("name")?.clone(),
        description: text("description")?.clone(),
        groups: Groups::from_iter(list::<Group>(item, "groups")?),
        scopes: list(item, "scopes")?,
        cidrs: list(item, "cidrs")?,
        created_at: Timestamp(integer(item, "created_at")?.ok_or("created_at")?),
        expires_at: integer(item, "expires_at")?.map(Timestamp),
        revoked_at: integer(item, "revoked_at")?.map(Timestamp),
        revoked_reason: optional_text(item, "revoked_reason")?,
        rotated_from: optional_id(item, "rotated_from")?,
        rotated_to: optional_id(item, "rotated_to")?,
        version: integer(item, "version")?.ok_or("version")?,
        last_use: None,
    })
}

/// The set `name` of an owner's item `M`; empty, where there is none.
pub fn read_ids(item: &Item, name: &str) -> Result<Vec<KeyId>, Fault> {
    let Some(value) = item.get(name) else { return Ok(Vec::new()) };
    value
        .as_ss()
        .ok()
        .and_then(|ids| ids.iter().map(|id| id.parse().ok()).collect())
        .ok_or_else(|| Fault::Record(format!("attribute {name} malformed").into()))
}

/// The item `U`, if it is one.
pub fn read_last_use(item: &Item) -> Option<LastUse> {
    let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned();
    Some(LastUse {
        at: Timestamp(integer(item, "used_at").ok()??),
        address: text("address")?,
        user_agent: text("user_agent")?,
        moved_at: integer(item, "moved_at").ok()?.map(Timestamp),
    })
}

/// An absent number is `None`; a malformed one, above all an expiry, is an error.
pub fn integer<T: std::str::FromStr>(item: &Item, name: &'static str) -> Result<Option<T>, &'static str> {
    item.get(name).map(|value| value.as_n().ok().and_then(|digits| digits.parse().ok()).ok_or(name)).transpose()
}

/// A list that must be there, each entry of which must be one: what can't be read might be a restriction.
pub fn list<T: std::str::FromStr>(item: &Item, name: &'static str) -> Result<Vec<T>, &'static str> {
    let values = item.get(name).and_then(|value| value.as_l().ok()).ok_or(name)?;
    values.iter().map(|value| value.as_s().ok().and_then(|text| text.parse().ok()).ok_or(name)).collect()
}

fn optional_text(item: &Item, name: &'static str) -> Result<Option<String>, &'static str> {
    item.get(name).map(|value| value.as_s().cloned().map_err(|_| name)).transpose()
}

fn optional_id(item: &Item, name: &'static str) -> Result<Option<KeyId>, &'static str> {
    item.get(name).map(|value| value.as_s().ok().and_then(|id| id.parse().ok()).ok_or(name)).transpose()
}

fn strings(values: impl Iterator<Item = String>) -> AttributeValue {
    AttributeValue::L(values.map(AttributeValue::S).collect())
}

#[cfg(test)]
mod tests {
    use vega_auth::{ApiKey, KeySecret};

    use super::*;

    fn record() -> KeyRecord {
        let key = ApiKey::new("7Gh2kQ9XbT4m".parse().unwrap(), &KeySecret::from_entropy(&mut [7; 32]));
        KeyRecord {
            owner_username: "ada".into(),
            name: "ci".into(),
            description: "for the pipeline".into(),
            groups: Groups::known(["user"]),
            scopes: vec!["deploy".parse().unwrap(), "read".parse().unwrap()],
            cidrs: vec!["203.0.113.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            expires_at: Some(Timestamp(2)),
            revoked_reason: Some("lost".into()),
            rotated_to: Some("000000000000".parse().unwrap()),
            version: 3,
            ..KeyRecord::new(&key, "user-1", Timestamp(1))
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let record = record();
        assert_eq!(format!("{:?}", read(&write(&record)).unwrap()), format!("{record:?}"));
    }

    #[test]
    fn an_item_that_lacks_or_garbles_an_attribute_is_a_fault_and_not_a_guess() {
        let good = write(&record());
        // What is nobody's to read: the index's, and DynamoDB's own
        let unread = ["sk", "holder", "purge_at"];
        let optional = ["expires_at", "revoked_reason", "rotated_to"];
        for name in good.keys().filter(|name| !unread.contains(&name.as_str()) && !optional.contains(&name.as_str())) {
            let mut item = good.clone();
            item.remove(name);
            assert!(read(&item).is_err(), "without {name}");
        }
        for name in good.keys().filter(|name| !unread.contains(&name.as_str())) {
            let mut item = good.clone();
            item.insert(name.clone(), AttributeValue::Bool(true));
            assert!(read(&item).is_err(), "with another {name}");
        }
        for (name, entry) in [
            ("groups", "admins"),
            ("scopes", "Read"),
            ("scopes", ""),
            ("cidrs", "203.0.113.7"),
            ("cidrs", "203.0.113.7/24"),
        ] {
            let mut item = good.clone();
            item.insert(name.into(), strings([entry.to_owned()].into_iter()));
            assert!(read(&item).is_err(), "{entry:?} among the {name}");
        }
    }

    #[test]
    fn a_record_is_purged_90_days_after_its_key_ends() {
        let mut record = record();
        assert_eq!(purge_at(&record), Some(Timestamp(2 + TOMBSTONE_SECONDS)), "it expires at 2");
        record.revoked_at = Some(Timestamp(1));
        assert_eq!(purge_at(&record), Some(Timestamp(1 + TOMBSTONE_SECONDS)));
        (record.revoked_at, record.expires_at) = (None, None);
        assert_eq!(purge_at(&record), None);
        assert!(!write(&record).contains_key("purge_at"));
    }

    #[test]
    fn an_owners_ids_are_read_strictly() {
        let item = |value| Item::from([("live".to_owned(), value)]);
        assert_eq!(read_ids(&Item::new(), "live").unwrap(), []);
        assert_eq!(read_ids(&item(AttributeValue::Ss(vec!["000000000000".into()])), "live").unwrap().len(), 1);
        for nonsense in [AttributeValue::Ss(vec!["000000000000".into(), "x".into()]), string("000000000000")] {
            assert!(read_ids(&item(nonsense), "live").is_err());
        }
    }
}
