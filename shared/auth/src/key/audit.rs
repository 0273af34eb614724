use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Groups, KeyId, KeyRecord, Timestamp};

/// The caller who makes a change, and their request: recorded in its audit events.
#[derive(Clone, Debug, Default)]
pub struct Actor {
    /// The caller's stable id: a person's `sub`, or the name of a program such as `system:owners`.
    pub id: String,
    /// The caller's name at the time.
    pub username: String,
    /// The caller's address.
    pub address: String,
    /// API Gateway's request id, shared by all events of one request.
    pub request_id: String,
    /// When the person's access token was issued. Checked against a bar on older tokens; recorded nowhere.
    pub token_issued_at: Option<Timestamp>,
    /// The groups in that token. Audit events don't show them.
    pub token_groups: Groups,
}

/// The kinds of events in the life of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// It was created, on its own or as the successor of another key.
    Created,
    /// Its owner changed it.
    Changed,
    /// A successor replaced it.
    Rotated,
    /// It was disabled.
    Disabled,
    /// It was enabled again.
    Enabled,
    /// It was revoked, for good.
    Revoked,
    /// It expired. Derived from the clock, never recorded.
    Expired,
    /// It was found in the open, and revoked for good.
    Leaked,
    /// Its owner left a group, so the key lost it too.
    GroupsReduced,
}

/// An audit event as the API shows it. Without the digest, or anything else from which a key could be derived or guessed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AuditEvent {
    /// When it happened.
    pub at: Timestamp,
    /// The kind of event.
    pub event: EventKind,
    /// The key it happened to.
    pub key_id: KeyId,
    /// The id of the caller who did it; `null` for an expiry.
    pub actor: Option<String>,
    /// Their name at the time.
    pub actor_username: Option<String>,
    /// Their address.
    pub address: Option<String>,
    /// The id of the request, shared by all events of one request.
    pub request_id: Option<String>,
    /// The reason, if one was given.
    pub reason: Option<String>,
    /// The key before; `null` for a new one.
    pub before: Value,
    /// The key after.
    pub after: Value,
}

impl AuditEvent {
    /// The key's expiry by `now`, if this is the newest event that was recorded of it.
    pub fn expiry(&self, now: Timestamp) -> Option<Self> {
        let expires_at: Timestamp = self.after.get("expires_at")?.as_str()?.parse().ok()?;
        if now < expires_at || self.after.get("status")? == "revoked" {
            return None;
        }
        let mut after = self.after.clone();
        *after.get_mut("status")? = json!("expired");
        Some(Self {
            at: expires_at,
            event: EventKind::Expired,
            key_id: self.key_id,
            actor: None,
            actor_username: None,
            address: None,
            request_id: None,
            reason: None,
            before: self.after.clone(),
            after,
        })
    }
}

impl KeyRecord {
    /// The key as its audit events show it: everything a person may see of it, and no digest.
    pub fn audited(&self, now: Timestamp) -> Value {
        json!({
            "name": self.name, "description": self.description, "status": self.state(now), "groups": self.groups,
            "scopes": self.scopes, "cidrs": self.cidrs, "expires_at": self.expires_at,
            "rotated_from": self.rotated_from, "rotated_to": self.rotated_to, "version": self.version,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::record::tests::{NOW, record};

    #[test]
    fn an_event_kind_is_stored_under_its_json_name() {
        for (kind, name) in [(EventKind::Created, "created"), (EventKind::GroupsReduced, "groups_reduced")] {
            assert_eq!(kind.to_string(), name);
            assert_eq!(name.parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), name);
        }
        assert!("Created".parse::<EventKind>().is_err());
    }

    #[test]
    fn an_event_shows_no_digest_and_no_owner() {
        let shown = record().audited(NOW);
        let members: Vec<&String> = shown.as_object().unwrap().keys().collect();
        let expected = "cidrs description expires_at groups name rotated_from rotated_to scopes status version";
        assert_eq!(members, expected.split(' ').collect::<Vec<_>>());
    }

    #[test]
    fn expiry_is_derived_from_the_newest_event_until_revocation() {
        let newest = |expires_at, status| {
            let record = KeyRecord { expires_at, ..record() };
            let mut after = record.audited(NOW.plus(-1));
            after["status"] = json!(status);
            AuditEvent {
                at: NOW.plus(-1),
                event: EventKind::Changed,
                key_id: record.id,
                actor: Some("user-1".into()),
                actor_username: Some("ada".into()),
                address: Some("192.0.2.1".into()),
                request_id: Some("r-1".into()),
                reason: Some("why not".into()),
                before: Value::Null,
                after,
            }
        };
        for (expires_at, status, expected) in [
            (Some(NOW), "active", Some(NOW)),
            (Some(NOW.plus(-9)), "disabled", Some(NOW.plus(-9))),
            (Some(NOW.plus(1)), "active", None),
            (Some(NOW), "revoked", None),
            (None, "active", None),
        ] {
            let newest = newest(expires_at, status);
            let expired = newest.expiry(NOW);
            assert_eq!(expired.as_ref().map(|event| event.at), expected, "{expires_at:?} {status}");
            let Some(expired) = expired else { continue };
            assert_eq!((expired.event, expired.actor, expired.reason), (EventKind::Expired, None, None));
            assert_eq!((&expired.before, &expired.after["status"]), (&newest.after, &json!("expired")));
        }
    }
}
