use vega_auth::{Fault, Group, Groups, KeyDigest, KeyId, KeyRecord, KeyStatus, LastUse, Timestamp};

use crate::{Attribute, Item, Malformed};

/// An ended key stays visible for this time before it can be purged.
const TOMBSTONE_SECONDS: i64 = 90 * 24 * 60 * 60;

/// The partition of a key.
pub fn key_pk(id: KeyId) -> String {
    format!("K#{id}")
}

/// The key that a partition belongs to, if it is a key's.
pub fn parse_key_pk(pk: &str) -> Option<KeyId> {
    pk.strip_prefix("K#")?.parse().ok()
}

/// The partition of an owner.
pub fn owner_pk(owner: &str) -> String {
    format!("U#{owner}")
}

/// When `DynamoDB` may delete what is left of a key: 90 days after it was revoked or expired, whichever came first. `None` for
/// a key that doesn't end. `DynamoDB` deletes late, and decides nothing.
pub fn purge_at(record: &KeyRecord) -> Option<Timestamp> {
    [record.revoked_at, record.expires_at].into_iter().flatten().min().map(purge_time)
}

/// The time from which `DynamoDB` may delete the rest of a key that ends at `end`.
pub fn purge_time(end: Timestamp) -> Timestamp {
    end.plus(TOMBSTONE_SECONDS)
}

/// The item `A` of a record.
pub fn write_record(record: &KeyRecord) -> Item {
    let time = |at: Timestamp| Attribute::number(at.0);
    let id = |id: KeyId| Attribute::text(id.as_str());
    let attributes = [
        ("pk", Attribute::S(key_pk(record.id))),
        ("sk", Attribute::text("A")),
        ("owner", Attribute::text(&record.owner)),
        ("owner_username", Attribute::text(&record.owner_username)),
        ("digest", Attribute::B(record.digest.as_bytes().to_vec())),
        ("digest_version", Attribute::number(record.digest_version)),
        ("status", Attribute::text(record.status.to_string())),
        ("name", Attribute::text(&record.name)),
        ("description", Attribute::text(&record.description)),
        ("groups", Attribute::list(record.groups.iter())),
        ("scopes", Attribute::list(&record.scopes)),
        ("cidrs", Attribute::list(&record.cidrs)),
        ("created_at", time(record.created_at)),
        ("version", Attribute::number(record.version)),
    ];
    let optional = [
        ("expires_at", record.expires_at.map(time)),
        ("revoked_at", record.revoked_at.map(time)),
        ("revoked_reason", record.revoked_reason.as_ref().map(Attribute::text)),
        ("rotated_from", record.rotated_from.map(id)),
        ("rotated_to", record.rotated_to.map(id)),
        ("rotated_at", record.rotated_at.map(time)),
        ("disabled_with_owner", record.disabled_with_owner.then_some(Attribute::Bool(true))),
        ("purge_at", purge_at(record).map(time)),
        // Puts it into the index for as long as somebody could use or enable it. A key that expires leaves when it is swept.
        ("holder", (record.status != KeyStatus::Revoked).then(|| Attribute::text(&record.owner))),
    ];
    let optional = optional.into_iter().filter_map(|(name, value)| Some((name, value?)));
    attributes.into_iter().chain(optional).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The record of a key with its last use, from all the key's items. `None` without a record.
/// Fails when the record is unreadable, or belongs to another key.
pub fn read_key(items: &[Item], id: KeyId) -> Result<Option<KeyRecord>, Fault> {
    let with_sort_key = |wanted: &str| items.iter().find(|item| item.text("sk").is_ok_and(|sk| sk == wanted));
    let Some(record) = with_sort_key("A") else { return Ok(None) };
    let mut record = read_record(record)?;
    if record.id != id {
        return Err(Fault::Record("the record of another key".into()));
    }
    record.last_use = with_sort_key("U").and_then(read_last_use);
    Ok(Some(record))
}

/// The record of an item `A`, without its last use.
pub fn read_record(item: &Item) -> Result<KeyRecord, Malformed> {
    Ok(KeyRecord {
        id: parse_key_pk(item.text("pk")?).ok_or(Malformed("pk"))?,
        owner: item.text("owner")?.to_owned(),
        owner_username: item.text("owner_username")?.to_owned(),
        digest: KeyDigest::from_bytes(item.bytes("digest")?).ok_or(Malformed("digest"))?,
        digest_version: item.number("digest_version")?,
        status: item.parsed("status")?,
        disabled_with_owner: item.has("disabled_with_owner"),
        name: item.text("name")?.to_owned(),
        description: item.text("description")?.to_owned(),
        groups: Groups::from_iter(item.list::<Group>("groups")?),
        scopes: item.list("scopes")?,
        cidrs: item.list("cidrs")?,
        created_at: item.time("created_at")?,
        expires_at: item.optional("expires_at", Item::time)?,
        revoked_at: item.optional("revoked_at", Item::time)?,
        revoked_reason: item.optional("revoked_reason", Item::text)?.map(str::to_owned),
        rotated_from: item.optional("rotated_from", Item::parsed)?,
        rotated_to: item.optional("rotated_to", Item::parsed)?,
        rotated_at: item.optional("rotated_at", Item::time)?,
        version: item.number("version")?,
        last_use: None,
    })
}

/// The last use in an item `U`. `None` if there was none, or it is malformed: it decides nothing.
pub fn read_last_use(item: &Item) -> Option<LastUse> {
    Some(LastUse {
        at: item.time("used_at").ok()?,
        address: item.text("address").ok()?.to_owned(),
        user_agent: item.text("user_agent").ok()?.to_owned(),
        moved_at: item.optional("moved_at", Item::time).ok()?,
    })
}

/// The update and the condition that record a use, which [`vega_auth::KeyRecord::use_to_record`] found to be due. The
/// condition keeps it from replacing a later one.
pub fn record_use(last: &LastUse) -> [&'static str; 2] {
    if last.is_move() {
        [
            "SET used_at = :at, moved_at = :at, address = :address, user_agent = :agent",
            "used_at <= :at AND (attribute_not_exists(moved_at) OR moved_at <= :due)",
        ]
    } else {
        ["SET used_at = :at, address = :address, user_agent = :agent", "attribute_not_exists(used_at) OR used_at < :at"]
    }
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
            groups: Groups::named(["user"]),
            scopes: vec!["deploy".parse().unwrap(), "read".parse().unwrap()],
            cidrs: vec!["203.0.113.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            expires_at: Some(Timestamp(2)),
            revoked_reason: Some("lost".into()),
            rotated_to: Some("000000000000".parse().unwrap()),
            rotated_at: Some(Timestamp(1)),
            version: 3,
            ..KeyRecord::new(&key, "user-1", Timestamp(1))
        }
    }

    #[test]
    fn a_record_survives_writing_json_and_reading() {
        let json = serde_json::to_string(&write_record(&record())).unwrap();
        let read = read_record(&serde_json::from_str(&json).unwrap()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", record()));
    }

    #[test]
    fn a_record_with_a_missing_or_malformed_attribute_is_a_fault() {
        let good = write_record(&record());
        // Nobody reads these: the sort key, the index's key, and the time that DynamoDB purges at.
        let unread = ["sk", "holder", "purge_at"];
        let optional = ["expires_at", "revoked_reason", "rotated_to", "rotated_at"];
        let names: Vec<String> = good.clone().into_iter().map(|(name, _)| name).collect();
        for name in names.iter().filter(|name| !unread.contains(&name.as_str())) {
            let without: Item = good.clone().into_iter().filter(|(other, _)| other != name).collect();
            assert_eq!(read_record(&without).is_ok(), optional.contains(&name.as_str()), "without {name}");
            let mut with_another = good.clone();
            with_another.insert(name, Attribute::Bool(true));
            assert!(read_record(&with_another).is_err(), "with another {name}");
        }
        for (name, entry) in [
            ("groups", "my admins"),
            ("scopes", "Read"),
            ("scopes", ""),
            ("cidrs", "203.0.113.7"),
            ("cidrs", "203.0.113.7/24"),
        ] {
            let mut item = good.clone();
            item.insert(name, Attribute::list([entry]));
            assert!(read_record(&item).is_err(), "{entry:?} among the {name}");
        }
    }

    #[test]
    fn a_record_is_purged_90_days_after_its_key_ends() {
        let mut record = record();
        assert_eq!(purge_at(&record), Some(Timestamp(2 + TOMBSTONE_SECONDS)), "it expires at 2");
        record.revoked_at = Some(Timestamp(1));
        assert_eq!(purge_at(&record), Some(Timestamp(1 + TOMBSTONE_SECONDS)));
        record.revoked_at = Some(Timestamp(3));
        assert_eq!(purge_at(&record), Some(Timestamp(2 + TOMBSTONE_SECONDS)), "it had expired when it was revoked");
        (record.revoked_at, record.expires_at) = (None, None);
        assert_eq!(purge_at(&record), None);
        assert!(!write_record(&record).has("purge_at"));
    }

    #[test]
    fn a_set_of_ids_is_read_strictly() {
        let item = |value| Item::from_iter([("live".to_owned(), value)]);
        assert_eq!(Item::default().set::<KeyId>("live"), Ok(vec![]));
        assert_eq!(item(Attribute::Set(vec!["000000000000".into()])).set::<KeyId>("live").unwrap().len(), 1);
        for malformed in [Attribute::Set(vec!["000000000000".into(), "x".into()]), Attribute::text("000000000000")] {
            assert!(item(malformed).set::<KeyId>("live").is_err());
        }
    }
}
