//! Who holds live keys. Nothing that lets a caller in is decided here: an index is good enough, and cheap to read whole.

use std::collections::HashMap;

use vega_auth::{Fault, Group, Groups, KeyId, KeyRecord, Timestamp};

use crate::item::{self, Item, string};
use crate::transact::fault;
use crate::{Actor, ChangeError, EventKind, Store};

/// The sparse index of the keys that aren't revoked, nor expired and swept, by their owner.
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
    /// The groups of all their keys that have not expired.
    pub groups: Groups,
    /// Whether there is such a key: one that could be used, or switched on again.
    pub is_live: bool,
    /// Whether one of these is switched on.
    pub is_active: bool,
    /// Their keys that expired and are in the index still, each with the second at which it did.
    pub expired: Vec<(KeyId, Timestamp)>,
}

/// Where a look through the holders got to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderPlace {
    owner: String,
    key_pk: String,
}

impl Store {
    /// Some holders from `after` on as they are at `now`, and where to go on. What was written within the last second may
    /// be missing.
    ///
    /// # Errors
    /// When the store could not answer, or with nonsense.
    pub async fn holders(
        &self,
        after: Option<HolderPlace>,
        now: Timestamp,
    ) -> Result<(Vec<Holder>, Option<HolderPlace>), Fault> {
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
            let key = read(&item, now)
                .map_err(|name| Fault::Record(format!("attribute {name} missing or malformed").into()))?;
            if let Some(known) = places.get(&key.owner).and_then(|at| holders.get_mut(*at)) {
                known.groups = known.groups.iter().chain(key.groups.iter()).collect();
                known.is_live |= key.is_live;
                known.is_active |= key.is_active;
                known.expired.extend(key.expired);
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
fn read(item: &Item, now: Timestamp) -> Result<Holder, &'static str> {
    let text = |name: &'static str| item.get(name).and_then(|value| value.as_s().ok()).ok_or(name);
    let id = text("pk")?.strip_prefix("K#").and_then(|id| id.parse().ok()).ok_or("pk")?;
    let groups: Groups = item::list::<Group>(item, "groups")?.into_iter().collect();
    let expired = item::integer(item, "expires_at")?.map(Timestamp).filter(|end| now >= *end);
    let is_live = expired.is_none();
    Ok(Holder {
        owner: text("holder")?.clone(),
        username: text("owner_username")?.clone(),
        groups: if is_live { groups } else { Groups::NONE },
        is_live,
        is_active: is_live && text("status")? == item::status_name(vega_auth::KeyStatus::Active),
        expired: expired.map(|end| (id, end)).into_iter().collect(),
    })
}
