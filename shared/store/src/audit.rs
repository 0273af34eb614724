//! The audit trail: written with each change, read newest first.

use aws_sdk_dynamodb::types::Put;
use aws_sdk_dynamodb::types::builders::PutBuilder;
use serde_json::Value;
use vega_auth::{Actor, AuditEvent, Fault, KeyId, Timestamp, Transition};
use vega_key_table::{Item, Malformed};

use crate::Store;
use crate::item::{SdkItem, from_sdk, number, owner_pk, string};
use crate::transact::fault;

/// An event's position in the trail of its key: the version it belongs to, and its index among that version's events. So
/// neither clocks that differ nor changes within one second get the trail out of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventCursor {
    /// The key's version.
    pub version: u64,
    /// Counts the events of one version, from 0.
    pub index: u32,
}

impl EventCursor {
    /// Follows every recorded event of a version.
    const LAST: u32 = 99;

    fn sort_key(self, id: KeyId) -> String {
        format!("{}{:010}#{:02}", trail(id), self.version, self.index)
    }

    fn of(item: &Item, id: KeyId) -> Option<Self> {
        let (version, index) = item.text("sk").ok()?.strip_prefix(&trail(id))?.split_once('#')?;
        Some(Self { version: version.parse().ok()?, index: index.parse().ok()? })
    }
}

/// The prefix of the sort keys of a key's events.
fn trail(id: KeyId) -> String {
    format!("E#{id}#")
}

impl Store {
    /// The audit events of a transition, to be written with it.
    pub(crate) fn audit_events(
        &self,
        transition: &Transition,
        actor: &Actor,
        now: Timestamp,
    ) -> impl Iterator<Item = PutBuilder> {
        let after = &transition.after;
        let before = transition.before.as_ref().map_or(Value::Null, |record| record.audited(now));
        let put = Put::builder()
            .table_name(&self.table)
            .item("pk", owner_pk(&after.owner))
            .item("key_id", string(after.id.as_str()))
            .item("actor", string(&actor.id))
            .item("actor_username", string(&actor.username))
            .item("address", string(&actor.address))
            .item("request_id", string(&actor.request_id))
            .item("at", number(now.0))
            .item("before", string(before.to_string()))
            .item("after", string(after.audited(now).to_string()));
        let put = match &transition.reason {
            Some(reason) => put.item("reason", string(reason)),
            None => put,
        };
        (0..).zip(&transition.events).map(move |(index, event)| {
            let position = EventCursor { version: after.version, index };
            put.clone().item("sk", string(position.sort_key(after.id))).item("event", string(event.to_string()))
        })
    }

    /// At most `limit` events of a key of `owner`, newest first, starting after `after`; and a cursor, if there are more. None
    /// if the key isn't theirs.
    ///
    /// Once the key has expired, the first event is a derived `expired`.
    pub async fn events(
        &self,
        owner: &str,
        id: KeyId,
        limit: u32,
        after: Option<EventCursor>,
        now: Timestamp,
    ) -> Result<(Vec<AuditEvent>, Option<EventCursor>), Fault> {
        let start = after
            .map(|cursor| SdkItem::from([("pk".into(), owner_pk(owner)), ("sk".into(), string(cursor.sort_key(id)))]));
        // One more than requested, which shows whether there are more.
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
            let item = from_sdk(&item);
            let cursor = EventCursor::of(&item, id).ok_or(Malformed("sk"))?;
            events.push((cursor, read(&item)?));
        }
        if after.is_none()
            && let Some((cursor, newest)) = events.first()
            && let Some(expired) = newest.expiry(now)
        {
            events.insert(0, (EventCursor { index: EventCursor::LAST, ..*cursor }, expired));
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = events.len() > limit;
        events.truncate(limit);
        let next = events.last().map(|(cursor, _)| *cursor).filter(|_| more);
        Ok((events.into_iter().map(|(_, event)| event).collect(), next))
    }
}

fn read(item: &Item) -> Result<AuditEvent, Malformed> {
    let text = |name| item.text(name).map(str::to_owned);
    let json = |name| serde_json::from_str(item.text(name)?).map_err(|_| Malformed(name));
    Ok(AuditEvent {
        at: item.time("at")?,
        event: item.parsed("event")?,
        key_id: item.parsed("key_id")?,
        actor: Some(text("actor")?),
        actor_username: Some(text("actor_username")?),
        address: Some(text("address")?),
        request_id: Some(text("request_id")?),
        reason: item.optional("reason", Item::text)?.map(str::to_owned),
        before: json("before")?,
        after: json("after")?,
    })
}
