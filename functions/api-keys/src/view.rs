//! What people see of a key: all but the digest.

use serde::Serialize;
use vega_auth::{Groups, KeyId, KeyRecord, KeyStatus, Network, ScopeName, Timestamp};

/// A key as the API shows it.
#[derive(Serialize)]
pub struct KeyView {
    id: KeyId,
    name: String,
    description: String,
    status: Status,
    groups: Groups,
    /// What it is narrowed to; not narrowed, where empty.
    scopes: Vec<ScopeName>,
    /// Where it may be used from; anywhere, where empty.
    cidrs: Vec<Network>,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    /// These three are at most a minute behind; all `null` for a key that was never used.
    last_used_at: Option<Timestamp>,
    last_used_address: Option<String>,
    last_used_user_agent: Option<String>,
    version: u64,
}

/// What the key is good for at this instant: the clock's word counts as much as its owner's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Active,
    Disabled,
    Expired,
    Revoked,
}

impl Status {
    pub fn of(record: &KeyRecord, now: Timestamp) -> Self {
        match record.status {
            KeyStatus::Revoked => Self::Revoked,
            _ if record.expires_at.is_some_and(|end| now >= end) => Self::Expired,
            KeyStatus::Disabled => Self::Disabled,
            KeyStatus::Active => Self::Active,
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "active" => Some(Self::Active),
            "disabled" => Some(Self::Disabled),
            "expired" => Some(Self::Expired),
            "revoked" => Some(Self::Revoked),
            _ => None,
        }
    }
}

impl KeyView {
    pub fn new(record: KeyRecord, now: Timestamp) -> Self {
        let last = record.last_use.as_ref();
        Self {
            last_used_at: last.map(|last| last.at),
            last_used_address: last.map(|last| last.address.clone()),
            last_used_user_agent: last.map(|last| last.user_agent.clone()),
            status: Status::of(&record, now),
            id: record.id,
            name: record.name,
            description: record.description,
            groups: record.groups,
            scopes: record.scopes,
            cidrs: record.cidrs,
            created_at: record.created_at,
            expires_at: record.expires_at,
            revoked_at: record.revoked_at,
            version: record.version,
        }
    }
}
