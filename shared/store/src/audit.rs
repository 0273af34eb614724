//! What happened to a key: who did it, from where and why, and what the key was before and after.

use aws_sdk_dynamodb::types::Put;
use aws_sdk_dynamodb::types::builders::PutBuilder;
use serde::Serialize;
use serde_json::{Value, json};
use vega_auth::{Fault, Groups, KeyId, KeyRecord, Timestamp};

use crate::Store;
use crate::item::{Item, number, owner_pk, string};
use crate::transact::fault;

/// Who makes a change, and by which request: what its audit events say of that.
#[derive(Clone, Debug, Default)]
pub struct Actor {
    /// The caller's stable id: a person's `sub`, or what the program that acts calls itself.
    pub id: String,
    /// The caller's name at the time.
    pub username: String,
    /// The caller's address.
    pub address: String,
    /// API Gateway's id of the request: the same on all events of it.
    pub request_id: String,
    /// When the access token was issued that a person acts by. It stands in no event.
    pub token_issued_at: Option<Timestamp>,
    /// The groups that token says they are in. These stand in no event either.
    pub token_groups: Groups,
}

/// What can happen to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// It was made, by itself or as the successor of another one.
    Created,
    /// Its owner changed it.
    Changed,
    /// A successor took its place.
    Rotated,
    /// It was switched off.
    Disabled,
    /// It was switched on again.
    Enabled,
    /// It was ended for good.
    Revoked,
    /// Its time was over. Nobody does that, so nobody writes it: see [`Store::events`].
    Expired,
    /// It was found where it doesn't belong, and ended for good.
    Leaked,
    /// Its owner left a group, and so did it.
    GroupsReduced,
}

impl EventKind {
    const ALL: [(Self, &str); 9] = [
        (Self::Created, "created"),
        (Self::Changed, "changed"),
        (Self::Rotated, "rotated"),
        (Self::Disabled, "disabled"),
        (Self::Enabled, "enabled"),
        (Self::Revoked, "revoked"),
        (Self::Expired, "expired"),
        (Self::Leaked, "leaked"),
        (Self::GroupsReduced, "groups_reduced"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
    }
}

/// An audit event, as it is shown. It holds no digest, and nothing else that a key could be made or guessed from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AuditEvent {
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub event: EventKind,
    /// To which key.
    pub key_id: KeyId,
    /// Who did it; nobody, where time did.
    pub actor: Option<String>,
    /// Their name at the time.
    pub actor_username: Option<String>,
    /// From where.
    pub address: Option<String>,
    /// By which request. All events of one request have the same.
    pub request_id: Option<String>,
    /// Why, where they said.
    pub reason: Option<String>,
    /// The key before; `null` for a new one.
    pub before: Value,
    /// The key after.
    pub after: Value,
}

/// Where an event stands in the trail of its key: by the version that it made, and its place among the events of that.
/// The clocks of two machines can't get two changes of a key out of order, nor can two changes within a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventCursor {
    /// The version of the key.
    pub version: u64,
    /// From 0, of the events of one version.
    pub index: u32,
}

impl EventCursor {
    /// After all that was written of a version.
    const LAST: u32 = 99;

    fn sort_key(self, id: KeyId) -> String {
        format!("{}{:010}#{:02}", trail(id), self.version, self.index)
    }

    fn of(item: &Item, id: KeyId) -> Option<Self> {
        let (version, index) = item.get("sk")?.as_s().ok()?.strip_prefix(&trail(id))?.split_once('#')?;
        Some(Self { version: version.parse().ok()?, index: index.parse().ok()? })
    }
}

/// What the sort keys of a key's events begin with.
fn trail(id: KeyId) -> String {
    format!("E#{id}#")
}

/// What a change did to a key, for its audit event.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    pub kind: EventKind,
    pub reason: Option<&'a str>,
    pub before: Option<&'a KeyRecord>,
    pub after: &'a KeyRecord,
}

impl Store {
    /// The audit event of a change, to be written with it. `index` counts the events of this version of the key.
    pub(crate) fn audit(&self, entry: Entry<'_>, index: u32, actor: &Actor, now: Timestamp) -> PutBuilder {
        let Entry { kind, reason, before, after } = entry;
        let place = EventCursor { version: after.version, index };
        let before = before.map_or(Value::Null, |record| audited(record, now));
        let put = Put::builder()
            .table_name(&self.table)
            .item("pk", owner_pk(&after.owner))
            .item("sk", string(place.sort_key(after.id)))
            .item("event", string(kind.name()))
            .item("key_id", string(after.id.as_str()))
            .item("actor", string(&actor.id))
            .item("actor_username", string(&actor.username))
            .item("address", string(&actor.address))
            .item("request_id", string(&actor.request_id))
            .item("at", number(now.0))
            .item("before", string(before.to_string()))
            .item("after", string(audited(after, now).to_string()));
        match reason {
            Some(reason) => put.item("reason", string(reason)),
            None => put,
        }
    }

    /// At most `limit` events of a key of `owner`, newest first, from the one after `after` on; and where to go on, if there
    /// are more. Of a key that isn't theirs there are none.
    ///
    /// The trail begins with `expired` from the second on at which the key is no longer good.
    ///
    /// # Errors
    /// When the store could not answer.
    pub async fn events(
        &self,
        owner: &str,
        id: KeyId,
        limit: u32,
        after: Option<EventCursor>,
        now: Timestamp,
    ) -> Result<(Vec<AuditEvent>, Option<EventCursor>), Fault> {
        let start =
            after.map(|place| Item::from([("pk".into(), owner_pk(owner)), ("sk".into(), string(place.sort_key(id)))]));
        // One more than asked for, which tells whether there are more.
        let wanted = limit.saturating_add(1);
        let found = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk AND begins_with(sk, :trail)")
            .expression_attribute_values(":pk", owner_pk(owner))
            .expression_attribute_values(":trail", string(trail(id)))
            .set_exclusive_start_key(start)
            .scan_index_forward(false)
            .consistent_read(true)
            .limit(i32::try_from(wanted).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(fault)?;
        let mut events = Vec::new();
        for item in found.items.unwrap_or_default() {
            let unreadable = |member| Fault::Record(format!("audit event: {member} missing or malformed").into());
            let place = EventCursor::of(&item, id).ok_or_else(|| unreadable("sk"))?;
            events.push((place, read(&item).map_err(unreadable)?));
        }
        if after.is_none()
            && let Some((place, newest)) = events.first()
            && let Some(expired) = expiry(newest, now)
        {
            events.insert(0, (EventCursor { index: EventCursor::LAST, ..*place }, expired));
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = events.len() > limit;
        events.truncate(limit);
        let next = events.last().map(|(place, _)| *place).filter(|_| more);
        Ok((events.into_iter().map(|(_, event)| event).collect(), next))
    }
}

/// What a person may see of a record before and after a change. No digest.
pub fn audited(record: &KeyRecord, now: Timestamp) -> Value {
    json!({
        "name": record.name, "description": record.description, "status": record.state(now), "groups": record.groups,
        "scopes": record.scopes, "cidrs": record.cidrs, "expires_at": record.expires_at,
        "rotated_from": record.rotated_from, "rotated_to": record.rotated_to, "version": record.version,
    })
}

/// The event of a key's expiry by `now`, if `newest` is the last that was done to it.
fn expiry(newest: &AuditEvent, now: Timestamp) -> Option<AuditEvent> {
    let expires_at: Timestamp = newest.after.get("expires_at")?.as_str()?.parse().ok()?;
    if now < expires_at || newest.after.get("status")? == "revoked" {
        return None;
    }
    let mut after = newest.after.clone();
    *after.get_mut("status")? = json!("expired");
    Some(AuditEvent {
        at: expires_at,
        event: EventKind::Expired,
        key_id: newest.key_id,
        actor: None,
        actor_username: None,
        address: None,
        request_id: None,
        reason: None,
        before: newest.after.clone(),
        after,
    })
}

fn read(item: &Item) -> Result<AuditEvent, &'static str> {
    let text = |name: &'static str| item.get(name).and_then(|value| value.as_s().ok()).cloned().ok_or(name);
    let json = |name: &'static str| serde_json::from_str(&text(name)?).map_err(|_| name);
    Ok(AuditEvent {
        at: item.get("at").and_then(|at| Some(Timestamp(at.as_n().ok()?.parse().ok()?))).ok_or("at")?,
        event: EventKind::from_name(&text("event")?).ok_or("event")?,
        key_id: text("key_id")?.parse().map_err(|_| "key_id")?,
        actor: Some(text("actor")?),
        actor_username: Some(text("actor_username")?),
        address: Some(text("address")?),
        request_id: Some(text("request_id")?),
        reason: text("reason").ok(),
        before: json("before")?,
        after: json("after")?,
    })
}
