//! The owners of live keys. Nothing read here admits a caller, so an index is sufficient, and cheap to scan.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodb::types::builders::UpdateBuilder;
use vega_auth::{Fault, Group, Groups, KeyId, KeyStatus, Timestamp};
use vega_key_table::{INDEX, Item, Malformed, parse_key_pk};

use crate::Store;
use crate::item::{SdkItem, from_sdk, owner_pk, string};
use crate::transact::{fault, update_write};

/// Items per page: keys, and one item for each owner. An owner may be on two pages.
const ITEMS_PER_PAGE: i32 = 500;
/// `pk` and `sk` of the item that stores where the last scan stopped.
const CURSOR: &str = "P#key-owners";

/// An owner of keys, with a summary of the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyOwner {
    /// The owner's stable id.
    pub owner: String,
    /// Their name when they created a key.
    pub username: String,
    /// The groups of all their keys that haven't expired.
    pub groups: Groups,
    /// Whether there is such a key, active or disabled.
    pub is_live: bool,
    /// Whether such a key is active.
    pub is_active: bool,
    /// The groups they were last seen in, in the pool or in one of their tokens. `None` if their own item isn't on this page.
    pub seen_in: Option<Groups>,
    /// Their expired keys that are still in the index, each with the second at which it expired.
    pub expired: Vec<(KeyId, Timestamp)>,
}

/// A position in the scan of key owners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerCursor {
    owner: String,
    key_pk: String,
}

impl Store {
    /// A page of key owners as they are at `now`, starting after `after`, and the cursor of the next page. Writes of the last
    /// second may be missing.
    pub async fn key_owners(
        &self,
        after: Option<OwnerCursor>,
        now: Timestamp,
    ) -> Result<(Vec<KeyOwner>, Option<OwnerCursor>), Fault> {
        let start = after.map(|cursor| {
            let sk = if cursor.key_pk.starts_with("K#") { "A" } else { "M" };
            let members = [("holder", cursor.owner), ("pk", cursor.key_pk), ("sk", sk.to_owned())];
            members.into_iter().map(|(name, value)| (name.to_owned(), string(value))).collect::<SdkItem>()
        });
        let page = self
            .client
            .scan()
            .table_name(&self.table)
            .index_name(INDEX)
            .limit(ITEMS_PER_PAGE)
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(fault)?;
        let mut key_owners: Vec<KeyOwner> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for item in page.items.unwrap_or_default() {
            let key = read(&from_sdk(&item), now)?;
            if let Some(known) = places.get(&key.owner).and_then(|at| key_owners.get_mut(*at)) {
                known.groups = known.groups.iter().chain(key.groups.iter()).collect();
                known.is_live |= key.is_live;
                known.is_active |= key.is_active;
                known.seen_in = known.seen_in.or(key.seen_in);
                known.expired.extend(key.expired);
            } else {
                places.insert(key.owner.clone(), key_owners.len());
                key_owners.push(key);
            }
        }
        let next = page.last_evaluated_key.and_then(|key| {
            let key = from_sdk(&key);
            let text = |name| key.text(name).ok().map(str::to_owned);
            Some(OwnerCursor { owner: text("holder")?, key_pk: text("pk")? })
        });
        Ok((key_owners, next))
    }

    /// The groups an owner of keys was last seen in; `None` if none were recorded.
    pub async fn seen_in(&self, owner: &str) -> Result<Option<Groups>, Fault> {
        let item = self.item(owner_pk(owner), "M").await?;
        Ok(item.optional("holder", |item, _| seen(item))?)
    }

    /// Records the groups an owner of live keys was seen in.
    pub async fn note_seen_in(&self, owner: &str, username: &str, groups: Groups) -> Result<(), Fault> {
        // DynamoDB has no empty set.
        let rest = if groups.is_empty() { " REMOVE #groups" } else { ", #groups = :groups" };
        let update =
            self.key_owner_update(owner, username, rest, groups).condition_expression("attribute_exists(live)");
        self.transact_if_due(vec![update_write(update)?]).await.map(drop)
    }

    /// Removes an owner without live keys from the index.
    pub async fn retire(&self, owner: &str, now: Timestamp) -> Result<(), Fault> {
        self.sweep(owner, now).await?;
        let update = self
            .owner_update(owner, "REMOVE holder, owner_username, #groups")
            .expression_attribute_names("#groups", "groups")
            .condition_expression("attribute_exists(pk) AND attribute_not_exists(live)");
        self.transact_if_due(vec![update_write(update)?]).await.map(drop)
    }

    /// An update of an owner's item that puts it into the index, and continues with the `rest` of its expression.
    pub(crate) fn key_owner_update(&self, owner: &str, username: &str, rest: &str, groups: Groups) -> UpdateBuilder {
        let update = self
            .owner_update(owner, &format!("SET holder = :owner, owner_username = :username{rest}"))
            .expression_attribute_values(":owner", string(owner))
            .expression_attribute_values(":username", string(username))
            .set_expression_attribute_names(
                rest.contains("#groups").then(|| [("#groups".into(), "groups".into())].into()),
            );
        if groups.is_empty() {
            return update;
        }
        let names = groups.iter().map(|group| group.name().to_owned()).collect();
        update.expression_attribute_values(":groups", AttributeValue::Ss(names))
    }

    /// Where the last scan of the key owners stopped; `None` if it was complete.
    pub async fn owner_cursor(&self) -> Result<Option<OwnerCursor>, Fault> {
        let found = self.item(string(CURSOR), CURSOR).await?;
        let text = |name| found.text(name).ok().map(str::to_owned);
        Ok(text("owner").zip(text("key_pk")).map(|(owner, key_pk)| OwnerCursor { owner, key_pk }))
    }

    /// Saves where a scan of the key owners stopped; `None` if it was complete.
    pub async fn save_owner_cursor(&self, cursor: Option<&OwnerCursor>) -> Result<(), Fault> {
        let mut put =
            self.client.put_item().table_name(&self.table).item("pk", string(CURSOR)).item("sk", string(CURSOR));
        if let Some(cursor) = cursor {
            put = put.item("owner", string(&cursor.owner)).item("key_pk", string(&cursor.key_pk));
        }
        put.send().await.map_err(fault)?;
        Ok(())
    }
}

/// The owner that one item in the index belongs to: a key's record, or the owner's own item.
fn read(item: &Item, now: Timestamp) -> Result<KeyOwner, Malformed> {
    let owner = KeyOwner {
        owner: item.text("holder")?.to_owned(),
        username: item.text("owner_username")?.to_owned(),
        groups: Groups::NONE,
        is_live: false,
        is_active: false,
        seen_in: None,
        expired: Vec::new(),
    };
    let pk = item.text("pk")?;
    if pk.starts_with("U#") {
        return Ok(KeyOwner { seen_in: Some(seen(item)?), ..owner });
    }
    let id = parse_key_pk(pk).ok_or(Malformed("pk"))?;
    if let Some(end) = item.optional("expires_at", Item::time)?.filter(|end| now >= *end) {
        return Ok(KeyOwner { expired: vec![(id, end)], ..owner });
    }
    let is_active = item.parsed::<KeyStatus>("status")? == KeyStatus::Active;
    let groups = item.list::<Group>("groups")?.into_iter().collect();
    Ok(KeyOwner { groups, is_live: true, is_active, ..owner })
}

/// The groups an owner was seen in, from their own item.
fn seen(item: &Item) -> Result<Groups, Malformed> {
    Ok(item.set::<Group>("groups")?.into_iter().collect())
}
