//! Who holds live keys. Nothing that lets a caller in is decided here: an index is good enough, and cheap to read whole.

use std::collections::HashMap;

use vega_auth::{Fault, Groups, KeyRecord, Timestamp};

use crate::item::{self, Item, string};
use crate::transact::fault;
use crate::{Actor, ChangeError, EventKind, Store};

/// The sparse index of the keys that aren't revoked, by their owner.
pub const INDEX: &str = "holders";
/// What it has of a key: template.yaml says the same.
#[cfg(feature = "testing")]
pub const PROJECTED: [&str; 6] = ["owner_username", "groups", "status", "created_at", "expires_at", "rotated_to"];
/// How many keys a page has. An owner may be on two.
const KEYS_A_PAGE: i32 = 250;

/// Both parts of the key of the item that says where the last look stopped.
const PLACE: &str = "P#holders";

/// An owner of keys, and what their keys together are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The owner's stable id.
    pub owner: String,
    /// Their name when they made a key.
    pub username: String,
    /// The groups of all their keys.
    pub groups: Groups,
    /// Whether a key of theirs is switched on.
    pub is_active: bool,
}

/// Where a look through the holders got to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderPlace {
    owner: String,
    key_pk: String,
}

impl Store {
    /// Some holders from `after` on, and where to go on. What was written within the last second may be missing.
    ///
    /// # Errors
    /// When the store could not answer, or with nonsense.
    pub async fn holders(&self, after: Option<HolderPlace>) -> Result<(Vec<Holder>, Option<HolderPlace>), Fault> {
        let start = after.map(|place| {
            let members = [("holder", place.owner), ("pk", place.key_pk), ("sk", "A".to_owned())];
            members.into_iter().map(|(name, value)| (name.to_owned(), string(value))).collect::<Item>()
        });
        let page = self
            .client
            .scan()
            .table_name(&self.table)
            .index_name(INDEX)
            .limit(KEYS_A_PAGE)
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(fault)?;
        let mut holders: Vec<Holder> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for item in page.items.unwrap_or_default() {
            let key =
                read(&item).map_err(|name| Fault::Record(format!("attribute {name} missing or malformed").into()))?;
            if let Some(known) = places.get(&key.owner).and_then(|at| holders.get_mut(*at)) {
                known.groups = known.groups.iter().chain(key.groups.iter()).collect();
                known.is_active |= key.is_active;
            } else {
                places.insert(key.owner.clone(), holders.len());
                holders.push(key);
            }
        }
        let next = page.last_evaluated_key.and_then(|key| {
            let text = |name: &str| key.get(name).and_then(|value| value.as_s().ok()).cloned();
            Some(HolderPlace { owner: text("holder")?, key_pk: text("pk")? })
        });
        Ok((holders, next))
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

    /// Where the last look through the holders stopped, if it didn't come to an end.
    ///
    /// # Errors
    /// When the store could not answer.
    pub async fn holders_place(&self) -> Result<Option<HolderPlace>, Fault> {
        let get = self.client.get_item().table_name(&self.table).key("pk", string(PLACE)).key("sk", string(PLACE));
        let found = get.send().await.map_err(fault)?.item.unwrap_or_default();
        let text = |name: &str| found.get(name).and_then(|value| value.as_s().ok()).cloned();
        Ok(text("owner").zip(text("key_pk")).map(|(owner, key_pk)| HolderPlace { owner, key_pk }))
    }

    /// Notes where a look through the holders stopped; `None` where it came to an end.
    ///
    /// # Errors
    /// When the store could not answer.
    pub async fn note_holders_place(&self, place: Option<&HolderPlace>) -> Result<(), Fault> {
        let mut put =
            self.client.put_item().table_name(&self.table).item("pk", string(PLACE)).item("sk", string(PLACE));
        if let Some(place) = place {
            put = put.item("owner", string(&place.owner)).item("key_pk", string(&place.key_pk));
        }
        put.send().await.map_err(fault)?;
        Ok(())
    }
}

/// The owner of one key in the index.
fn read(item: &Item) -> Result<Holder, &'static str> {
    let text = |name: &'static str| item.get(name).and_then(|value| value.as_s().ok()).ok_or(name);
    let groups = item.get("groups").and_then(|value| value.as_l().ok()).ok_or("groups")?;
    Ok(Holder {
        owner: text("holder")?.clone(),
        username: text("owner_username")?.clone(),
        groups: groups
            .iter()
            .map(|group| group.as_s().ok().and_then(|name| name.parse().ok()))
            .collect::<Option<Groups>>()
            .ok_or("groups")?,
        is_active: text("status")? == item::status_name(vega_auth::KeyStatus::Active),
    })
}
