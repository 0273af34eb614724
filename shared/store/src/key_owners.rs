//! Who holds live keys. Nothing that lets a caller in is decided here: an index is good enough, and cheap to read whole.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodb::types::builders::UpdateBuilder;
use vega_auth::{Fault, Group, Groups, KeyId, KeyRecord, Timestamp};

use crate::item::{self, Item, string};
use crate::transact::{TransactionError, fault, update_write};
use crate::{Actor, ChangeError, EventKind, Store};

pub(crate) use vega_key_table::INDEX;
/// How many items a page has: keys, and one for each owner. An owner may be on two.
const ITEMS_A_PAGE: i32 = 500;

/// Both parts of the key of the item that says where the last look stopped.
const PLACE: &str = "P#key-owners";

/// An owner of keys, and what their keys together are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyOwner {
    /// The owner's stable id.
    pub owner: String,
    /// Their name when they made a key.
    pub username: String,
    /// The groups of all their keys that have not expired.
    pub groups: Groups,
    /// Whether there is such a key: one that could be used, or switched on again.
    pub is_live: bool,
    /// Whether one of these is switched on.
    pub is_active: bool,
    /// The groups that they were last seen in, by us in the pool or in a token of theirs. `None` where this part of the index
    /// doesn't tell.
    pub seen_in: Option<Groups>,
    /// Their keys that expired and are in the index still, each with the second at which it did.
    pub expired: Vec<(KeyId, Timestamp)>,
}

/// Where a look through the key owners got to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerCursor {
    owner: String,
    key_pk: String,
}

impl Store {
    /// Some key owners from `after` on as they are at `now`, and where to go on. What was written within the last second may
    /// be missing.
    ///
    /// # Errors
    /// When the store could not answer, or with nonsense.
    pub async fn key_owners(
        &self,
        after: Option<OwnerCursor>,
        now: Timestamp,
    ) -> Result<(Vec<KeyOwner>, Option<OwnerCursor>), Fault> {
        let start = after.map(|place| {
            let sk = if place.key_pk.starts_with("K#") { "A" } else { "M" };
            let members = [("holder", place.owner), ("pk", place.key_pk), ("sk", sk.to_owned())];
            members.into_iter().map(|(name, value)| (name.to_owned(), string(value))).collect::<Item>()
        });
        let page = self
            .client
            .scan()
            .table_name(&self.table)
            .index_name(INDEX)
            .limit(ITEMS_A_PAGE)
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(fault)?;
        let mut key_owners: Vec<KeyOwner> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for item in page.items.unwrap_or_default() {
            let key = read(&item, now)
                .map_err(|name| Fault::Record(format!("attribute {name} missing or malformed").into()))?;
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
            let text = |name: &str| key.get(name).and_then(|value| value.as_s().ok()).cloned();
            Some(OwnerCursor { owner: text("holder")?, key_pk: text("pk")? })
        });
        Ok((key_owners, next))
    }

    /// Takes groups from a key whose owner lost them.
    ///
    /// # Errors
    /// When the key changed meanwhile, or we could not find out.
    pub async fn reduce_groups(
        &self,
        record: &KeyRecord,
        groups: Groups,
        reason: &str,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<KeyRecord, ChangeError> {
        let reduced = KeyRecord { groups, ..record.clone() };
        self.replace(record, reduced, &[EventKind::GroupsReduced], Some(reason), actor, now).await
    }

    /// The groups that an owner of keys was last seen in. `None` where nobody noted any.
    ///
    /// # Errors
    /// When the store could not answer, or with nonsense.
    pub async fn seen_in(&self, owner: &str) -> Result<Option<Groups>, Fault> {
        let item = self.owner_item(owner).await?;
        item.contains_key("holder").then(|| seen(&item)).transpose().map_err(unreadable)
    }

    /// Notes the groups that an owner of live keys was seen in.
    ///
    /// # Errors
    /// When we could not find out.
    pub async fn note_seen_in(&self, owner: &str, username: &str, groups: Groups) -> Result<(), Fault> {
        // No set is empty
        let rest = if groups.is_empty() { " REMOVE #groups" } else { ", #groups = :groups" };
        let noted = self.key_owner_update(owner, username, rest, groups).condition_expression("attribute_exists(live)");
        match self.transact(vec![update_write(noted)?]).await {
            Ok(()) | Err(TransactionError::Condition(_)) => Ok(()),
            Err(TransactionError::Fault(fault)) => Err(fault),
        }
    }

    /// Takes an owner without live keys out of the index.
    ///
    /// # Errors
    /// When we could not find out.
    pub async fn retire(&self, owner: &str, now: Timestamp) -> Result<(), Fault> {
        self.sweep(owner, now).await?;
        let retired = self
            .owner_update(owner, "REMOVE holder, owner_username, #groups")
            .expression_attribute_names("#groups", "groups")
            .condition_expression("attribute_exists(pk) AND attribute_not_exists(live)");
        match self.transact(vec![update_write(retired)?]).await {
            Ok(()) | Err(TransactionError::Condition(_)) => Ok(()),
            Err(TransactionError::Fault(fault)) => Err(fault),
        }
    }

    /// An update of an owner's item that puts it into the index, followed by the `rest` of its expression.
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

    /// Where the last look through the key owners stopped, if it didn't come to an end.
    ///
    /// # Errors
    /// When the store could not answer.
    pub async fn owner_cursor(&self) -> Result<Option<OwnerCursor>, Fault> {
        let get = self.client.get_item().table_name(&self.table).key("pk", string(PLACE)).key("sk", string(PLACE));
        let found = get.send().await.map_err(fault)?.item.unwrap_or_default();
        let text = |name: &str| found.get(name).and_then(|value| value.as_s().ok()).cloned();
        Ok(text("owner").zip(text("key_pk")).map(|(owner, key_pk)| OwnerCursor { owner, key_pk }))
    }

    /// Notes where a look through the key owners stopped; `None` where it came to an end.
    ///
    /// # Errors
    /// When the store could not answer.
    pub async fn save_owner_cursor(&self, place: Option<&OwnerCursor>) -> Result<(), Fault> {
        let mut put =
            self.client.put_item().table_name(&self.table).item("pk", string(PLACE)).item("sk", string(PLACE));
        if let Some(place) = place {
            put = put.item("owner", string(&place.owner)).item("key_pk", string(&place.key_pk));
        }
        put.send().await.map_err(fault)?;
        Ok(())
    }
}

/// The owner of one item in the index: of a key, or their own.
fn read(item: &Item, now: Timestamp) -> Result<KeyOwner, &'static str> {
    let text = |name: &'static str| item.get(name).and_then(|value| value.as_s().ok()).ok_or(name);
    let holder = KeyOwner {
        owner: text("holder")?.clone(),
        username: text("owner_username")?.clone(),
        groups: Groups::NONE,
        is_live: false,
        is_active: false,
        seen_in: None,
        expired: Vec::new(),
    };
    let pk = text("pk")?;
    if pk.starts_with("U#") {
        return Ok(KeyOwner { seen_in: Some(seen(item)?), ..holder });
    }
    let id = pk.strip_prefix("K#").and_then(|id| id.parse().ok()).ok_or("pk")?;
    if let Some(end) = item::integer(item, "expires_at")?.map(Timestamp).filter(|end| now >= *end) {
        return Ok(KeyOwner { expired: vec![(id, end)], ..holder });
    }
    let is_active = text("status")? == item::status_name(vega_auth::KeyStatus::Active);
    let groups = item::list::<Group>(item, "groups")?.into_iter().collect();
    Ok(KeyOwner { groups, is_live: true, is_active, ..holder })
}

/// The groups that an owner was seen in, of their own item: a set, where there are any.
fn seen(item: &Item) -> Result<Groups, &'static str> {
    let Some(groups) = item.get("groups") else { return Ok(Groups::NONE) };
    let names = groups.as_ss().map_err(|_| "groups")?;
    names.iter().map(|name| name.parse::<Group>().ok()).collect::<Option<_>>().ok_or("groups")
}

fn unreadable(name: &'static str) -> Fault {
    Fault::Record(format!("attribute {name} missing or malformed").into())
}
