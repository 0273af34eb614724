//! Repairs of items that older versions wrote, or whose follow-up got lost: a deletion time, an entry in the index, an id of a
//! purged key. None of this decides about a request.

use std::collections::HashSet;

use aws_sdk_dynamodb::types::Select;
use vega_auth::{Fault, KeyId, KeyStatus, Timestamp};
use vega_key_table::{Item, Malformed, parse_key_pk, purge_time};

use crate::item::{from_sdk, key_pk, primary_key};
use crate::transact::{fault, put_write, update_write};
use crate::{Place, Store};

/// Items per page. An owner's item can have 26 KB; most items have less than 1.
const ITEMS_PER_PAGE: i32 = 500;
/// The attributes that are read: no secret, no address, no name. template.yaml allows the scan no others.
const READ: &str = "pk, sk, #owner, #status, expires_at, revoked_at, purge_at, holder, live, ended";

/// Something in the table to put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// A record lacks its deletion time or its entry in the index, or has a wrong one.
    Record(KeyId),
    /// A key has expired, and was never moved to its owner's ended ones.
    Expired {
        /// The key.
        id: KeyId,
        /// Its owner.
        owner: String,
        /// When it expired.
        end: Timestamp,
    },
    /// A key's last use lacks its deletion time, or has a wrong one.
    LastUse {
        /// The key.
        id: KeyId,
        /// The deletion time.
        purge_at: Timestamp,
    },
    /// An owner's item has keys that were purged, or no key at all.
    Lists {
        /// The owner.
        owner: String,
        /// The purged keys among the live ones.
        live: Vec<KeyId>,
        /// The purged keys among the ended ones.
        ended: Vec<KeyId>,
    },
}

/// A page of the table.
#[derive(Debug)]
pub struct RepairPage {
    /// The number of items.
    pub scanned: usize,
    /// What to repair, and items that can't be read.
    pub repairs: Vec<Result<Repair, Fault>>,
    /// The place of the next page.
    pub next: Option<Place>,
}

impl Store {
    /// Finds what to repair on a page of the table.
    /// Fails when the store doesn't answer.
    pub async fn repairs(&self, place: Option<Place>, now: Timestamp) -> Result<RepairPage, Fault> {
        let page = self
            .client
            .scan()
            .table_name(&self.table)
            .limit(ITEMS_PER_PAGE)
            .consistent_read(true)
            .select(Select::SpecificAttributes)
            .projection_expression(READ)
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_names("#status", "status")
            .set_exclusive_start_key(place.map(|place| place.0))
            .send()
            .await
            .map_err(fault)?;
        let items: Vec<Item> = page.items.unwrap_or_default().iter().map(from_sdk).collect();
        let mut repairs = Vec::new();
        // A key's items follow each other: first its record, then its last use.
        let mut before = None;
        for item in &items {
            repairs.extend(self.repair_of(item, before, now).await.transpose());
            before = Some(item);
        }
        Ok(RepairPage { scanned: items.len(), repairs, next: page.last_evaluated_key.map(Place) })
    }

    async fn repair_of(&self, item: &Item, before: Option<&Item>, now: Timestamp) -> Result<Option<Repair>, Fault> {
        let pk = item.text("pk")?;
        match (pk.split_at_checked(2), item.text("sk")?) {
            (Some(("K#", _)), "A") => Ok(repair_of_record(item, now)?),
            (Some(("K#", _)), "U") => {
                let id = parse_key_pk(pk).ok_or(Malformed("pk"))?;
                let record = match before.filter(|item| item.text("pk") == Ok(pk)) {
                    Some(record) => Some(record.clone()),
                    None => self.get_all(vec![primary_key(key_pk(id), "A")]).await?.first().map(from_sdk),
                };
                let purge_at = match &record {
                    // What repairs the record repairs this, too.
                    Some(record) if repair_of_record(record, now)?.is_some() => return Ok(None),
                    Some(record) => end(record)?.map(purge_time),
                    None => Some(now),
                };
                let is_right = |at: &Timestamp| item.time("purge_at").is_ok_and(|found| found <= *at);
                Ok(purge_at.filter(|at| !is_right(at)).map(|purge_at| Repair::LastUse { id, purge_at }))
            }
            (Some(("U#", owner)), "M") => {
                let (live, ended) = (item.set("live")?, item.set("ended")?);
                let is_forgotten = live.is_empty() && ended.is_empty() && !item.has("purge_at");
                let (live, ended) = (self.purged(live).await?, self.purged(ended).await?);
                let is_due = is_forgotten || !live.is_empty() || !ended.is_empty();
                Ok(is_due.then(|| Repair::Lists { owner: owner.to_owned(), live, ended }))
            }
            _ => Ok(None),
        }
    }

    /// Those of these keys that have no record.
    async fn purged(&self, mut ids: Vec<KeyId>) -> Result<Vec<KeyId>, Fault> {
        let found = self.get_all(ids.iter().map(|id| primary_key(key_pk(*id), "A")).collect()).await?;
        let found: HashSet<_> = found.iter().filter_map(|item| item.get("pk")?.as_s().ok()).collect();
        ids.retain(|id| !found.contains(&vega_key_table::key_pk(*id)));
        Ok(ids)
    }

    /// Makes a repair. A key that has changed meanwhile is left alone, since every change writes what a repair would.
    /// Fails when the store doesn't answer.
    pub async fn repair(&self, repair: &Repair, now: Timestamp) -> Result<(), Fault> {
        match repair {
            Repair::Record(id) => {
                let Some(record) = self.find(*id).await? else { return Ok(()) };
                let mut writes = vec![put_write(self.put_record(Some(&record), &record))?];
                if let Some(purge_at) = vega_key_table::purge_at(&record) {
                    writes.push(update_write(self.schedule_purge(*id, "U", purge_at))?);
                }
                self.transact_if_due(writes).await.map(drop)
            }
            Repair::Expired { id, owner, end } => self.end_expired(owner, &[(*id, *end)]).await,
            Repair::LastUse { id, purge_at } => {
                self.transact_if_due(vec![update_write(self.schedule_purge(*id, "U", *purge_at))?]).await.map(drop)
            }
            Repair::Lists { owner, live, ended } => {
                for id in live {
                    self.drop_purged(owner, *id).await?;
                }
                self.unlist(owner, ended, now).await
            }
        }
    }
}

/// The repair that a record needs, if any.
fn repair_of_record(item: &Item, now: Timestamp) -> Result<Option<Repair>, Malformed> {
    let id = parse_key_pk(item.text("pk")?).ok_or(Malformed("pk"))?;
    let is_revoked = item.parsed::<KeyStatus>("status")? == KeyStatus::Revoked;
    let is_scheduled = item.optional("purge_at", Item::time)? == end(item)?.map(purge_time);
    let repair = match item.optional("expires_at", Item::time)? {
        Some(end) if now >= end && !is_revoked => {
            let owner = item.text("owner")?.to_owned();
            (!is_scheduled || item.has("holder")).then_some(Repair::Expired { id, owner, end })
        }
        _ => (!is_scheduled || item.has("holder") == is_revoked).then_some(Repair::Record(id)),
    };
    Ok(repair)
}

/// When a key ends or ended, if ever.
fn end(record: &Item) -> Result<Option<Timestamp>, Malformed> {
    let time = |name| record.optional(name, Item::time);
    Ok([time("expires_at")?, time("revoked_at")?].into_iter().flatten().min())
}
