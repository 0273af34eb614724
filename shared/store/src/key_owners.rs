//! The owners of live keys. Nothing read here admits a caller, so an index is sufficient, and cheap to scan.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use aws_sdk_dynamodb::types::builders::{ConditionCheckBuilder, UpdateBuilder};
use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck};
use vega_auth::{Fault, Group, Groups, KeyId, KeyStatus, Timestamp};
use vega_key_table::{INDEX, Item, Malformed, parse_key_pk};

use crate::item::{from_sdk, owner_pk, string};
use crate::transact::{fault, update_write};
use crate::{Place, Store};

/// Items per page: keys, and one item for each owner. An owner may be on two pages.
const ITEMS_PER_PAGE: i32 = 1000;

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
    /// The groups they were last seen in, in the pool or in one of their tokens. `None` without an item of their own.
    pub seen_in: Option<Groups>,
    /// Whether they were disabled when they were last seen.
    pub is_disabled: bool,
    /// Their expired keys that are still in the index, each with the second at which it expired.
    pub expired: Vec<(KeyId, Timestamp)>,
}

impl KeyOwner {
    /// Adds another of the owner's items in the index.
    fn add(&mut self, other: Self) {
        self.groups = self.groups.union(&other.groups);
        self.is_live |= other.is_live;
        self.is_active |= other.is_active;
        self.seen_in = self.seen_in.take().or(other.seen_in);
        self.is_disabled |= other.is_disabled;
        self.expired.extend(other.expired);
    }
}

impl Store {
    /// Adds a page of key owners as they are at `now` to `key_owners`, starting after `after`. Returns the place of the next page.
    /// Writes of the last second may be missing.
    pub async fn key_owners(
        &self,
        key_owners: &mut HashMap<String, KeyOwner>,
        after: Option<Place>,
        now: Timestamp,
    ) -> Result<Option<Place>, Fault> {
        let page = self
            .client
            .scan()
            .table_name(&self.table)
            .index_name(INDEX)
            .limit(ITEMS_PER_PAGE)
            .set_exclusive_start_key(after.map(|place| place.0))
            .send()
            .await
            .map_err(fault)?;
        for item in page.items.unwrap_or_default() {
            let key_owner = read(&from_sdk(&item), now)?;
            match key_owners.entry(key_owner.owner.clone()) {
                Entry::Occupied(mut known) => known.get_mut().add(key_owner),
                Entry::Vacant(place) => {
                    place.insert(key_owner);
                }
            }
        }
        Ok(page.last_evaluated_key.map(Place))
    }

    /// The groups an owner of keys was last seen in; `None` if none were recorded.
    pub async fn seen_in(&self, owner: &str) -> Result<Option<Groups>, Fault> {
        let item = self.item(owner_pk(owner), "M").await?;
        Ok(item.optional("holder", |item, _| seen(item))?)
    }

    /// Records that an owner of live keys was seen disabled: nobody else can enable their keys.
    pub async fn note_disabled(&self, owner: &str) -> Result<(), Fault> {
        let update = self
            .owner_update(owner, "SET #status = :disabled")
            .condition_expression("attribute_exists(live)")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":disabled", string(KeyStatus::Disabled.to_string()));
        self.transact_if_due(vec![update_write(update)?]).await.map(drop)
    }

    /// Succeeds unless the owner was disabled when they were last seen.
    pub(crate) fn not_disabled(&self, owner: &str) -> ConditionCheckBuilder {
        ConditionCheck::builder()
            .table_name(&self.table)
            .key("pk", owner_pk(owner))
            .key("sk", string("M"))
            .condition_expression("attribute_not_exists(#status)")
            .expression_attribute_names("#status", "status")
    }

    /// Records the groups an owner of live keys was seen in, and that they weren't disabled.
    pub async fn note_seen_in(&self, owner: &str, username: &str, groups: &Groups) -> Result<(), Fault> {
        // DynamoDB has no empty set.
        let rest = if groups.is_empty() { " REMOVE #groups, #status" } else { ", #groups = :groups REMOVE #status" };
        let update = self
            .key_owner_update(owner, username, rest, groups)
            .condition_expression("attribute_exists(live)")
            .expression_attribute_names("#status", "status");
        self.transact_if_due(vec![update_write(update)?]).await.map(drop)
    }

    /// Removes an owner without live keys from the index.
    pub async fn retire(&self, owner: &str, now: Timestamp) -> Result<(), Fault> {
        self.sweep(owner, now).await?;
        let update = self
            .owner_update(owner, "REMOVE holder, owner_username, #groups, #status")
            .expression_attribute_names("#groups", "groups")
            .expression_attribute_names("#status", "status")
            .condition_expression("attribute_exists(pk) AND attribute_not_exists(live)");
        self.transact_if_due(vec![update_write(update)?]).await.map(drop)
    }

    /// An update of an owner's item that puts it into the index, and continues with the `rest` of its expression.
    pub(crate) fn key_owner_update(&self, owner: &str, username: &str, rest: &str, groups: &Groups) -> UpdateBuilder {
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
        is_disabled: false,
        expired: Vec::new(),
    };
    let pk = item.text("pk")?;
    if pk.starts_with("U#") {
        return Ok(KeyOwner { seen_in: Some(seen(item)?), is_disabled: item.has("status"), ..owner });
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
