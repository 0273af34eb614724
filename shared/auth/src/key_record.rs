use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{
    ApiKey, Authentication, CurrentUser, DIGEST_VERSION, Groups, KeyDigest, KeyId, Network, Rejection, ScopeName,
    Timestamp,
};

/// What the store knows of an API key: everything but the key.
#[derive(Clone, Debug)]
pub struct KeyRecord {
    /// The public id.
    pub id: KeyId,
    /// The owner's stable id (`sub`).
    pub owner: String,
    /// The owner's name when the key was made; to show, not to decide.
    pub owner_username: String,
    /// SHA-256 of the key.
    pub digest: KeyDigest,
    /// The scheme of [`Self::digest`]; only [`DIGEST_VERSION`] is honoured.
    pub digest_version: u32,
    /// What people made of it. Expiry is not a status: the clock decides that.
    pub status: KeyStatus,
    /// What its owner calls it: 1 to 100 characters.
    pub name: String,
    /// What it is for; may be empty.
    pub description: String,
    /// A subset of the owner's groups.
    pub groups: Groups,
    /// Restricts the key to these scopes, where there are any.
    pub scopes: Vec<ScopeName>,
    /// Restricts the key to these networks, where there are any.
    pub cidrs: Vec<Network>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The first second at which it is no longer good; never, where absent.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Why, as the one who revoked it put it.
    pub revoked_reason: Option<String>,
    /// The key this one replaces.
    pub rotated_from: Option<KeyId>,
    /// The key that replaces this one.
    pub rotated_to: Option<KeyId>,
    /// Counts the changes, from 1: the `ETag`.
    pub version: u64,
    /// When it was last used, as far as noted.
    pub last_use: Option<LastUse>,
}

/// What people made of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyStatus {
    /// Good, until it expires.
    Active,
    /// Switched off by its owner; may come back.
    Disabled,
    /// Ended for good.
    Revoked,
}

/// What a key is at an instant: the clock's word counts as much as people's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Good.
    Active,
    /// Switched off by its owner; may come back.
    Disabled,
    /// Ended by time, for good.
    Expired,
    /// Ended by a person, for good.
    Revoked,
}

/// When and from where a key was last used. At most [`LastUse::NOTED_EVERY_SECONDS`] behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastUse {
    /// The instant.
    pub at: Timestamp,
    /// The caller's address, as API Gateway saw it.
    pub address: String,
    /// The caller's `User-Agent`, cut at 256 characters.
    pub user_agent: String,
}

impl LastUse {
    /// A use is noted only this long after the one noted before, so that a busy key isn't a write a request.
    pub const NOTED_EVERY_SECONDS: i64 = 60;
}

impl KeyRecord {
    /// How many scopes a key may have, and how many networks: all of them stand in the authorizer's answer.
    pub const MAX_RESTRICTIONS: usize = 20;

    /// The record of a new key of `owner`'s (their `sub`): good for ever, from everywhere, and for nothing that wants a
    /// group. The names and all the rest are the maker's to add.
    pub fn new(key: &ApiKey, owner: impl Into<String>, created_at: Timestamp) -> Self {
        Self {
            id: key.id(),
            owner: owner.into(),
            owner_username: String::new(),
            digest: key.digest(),
            digest_version: DIGEST_VERSION,
            status: KeyStatus::Active,
            name: String::new(),
            description: String::new(),
            groups: Groups::NONE,
            scopes: Vec::new(),
            cidrs: Vec::new(),
            created_at,
            expires_at: None,
            revoked_at: None,
            revoked_reason: None,
            rotated_from: None,
            rotated_to: None,
            version: 1,
            last_use: None,
        }
    }

    /// What the key is at `now`.
    pub fn state(&self, now: Timestamp) -> KeyState {
        match self.status {
            KeyStatus::Revoked => KeyState::Revoked,
            _ if self.expires_at.is_some_and(|end| now >= end) => KeyState::Expired,
            KeyStatus::Disabled => KeyState::Disabled,
            KeyStatus::Active => KeyState::Active,
        }
    }

    /// Whether a use at `now` is worth a write.
    pub fn is_use_due(&self, now: Timestamp) -> bool {
        self.last_use.as_ref().is_none_or(|last| now >= last.at.plus(LastUse::NOTED_EVERY_SECONDS))
    }

    /// Who the holder of `key` is at this instant, calling from `address`, if we were told one.
    ///
    /// The secret is compared first: only its holder learns (from how long we take) what state a key is in.
    ///
    /// # Errors
    /// When the secret is another one, the key is no longer good at `now`, or it isn't meant for this address.
    pub fn principal(&self, key: &ApiKey, address: Option<IpAddr>, now: Timestamp) -> Result<CurrentUser, Rejection> {
        if self.digest_version != DIGEST_VERSION {
            return Err(Rejection::UnsupportedRecord);
        }
        if self.id != key.id() || !self.digest.matches(key) {
            return Err(Rejection::WrongSecret);
        }
        match self.status {
            KeyStatus::Active => {}
            KeyStatus::Disabled => return Err(Rejection::KeyDisabled),
            KeyStatus::Revoked => return Err(Rejection::KeyRevoked),
        }
        if self.expires_at.is_some_and(|end| now >= end) {
            return Err(Rejection::KeyExpired);
        }
        let is_inside = |address| self.cidrs.iter().any(|network| network.contains(address));
        if !self.cidrs.is_empty() && !address.is_some_and(is_inside) {
            return Err(Rejection::AddressNotAllowed);
        }
        Ok(CurrentUser {
            id: self.owner.clone(),
            username: self.owner_username.clone(),
            groups: self.groups,
            authentication: Authentication::ApiKey { key_id: self.id, scopes: self.scopes.clone() },
            expires_at: self.expires_at,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::KeySecret;

    pub(crate) const NOW: Timestamp = Timestamp(1_800_000_000);

    pub(crate) fn key(secret: u8) -> ApiKey {
        ApiKey::new("7Gh2kQ9XbT4m".parse().unwrap(), &KeySecret::from_entropy(&mut [secret; 32]))
    }

    pub(crate) fn record() -> KeyRecord {
        KeyRecord {
            owner_username: "ada".into(),
            name: "ci".into(),
            groups: Groups::known(["user"]),
            ..KeyRecord::new(&key(1), "user-1", NOW.plus(-100))
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut KeyRecord), secret: u8, expected: Result<&str, Rejection>) {
        let mut record = record();
        change(&mut record);
        let user = record.principal(&key(secret), None, NOW);
        assert_eq!(user.as_ref().map(|user| user.id.as_str()).map_err(|reason| *reason), expected);
    }

    #[test]
    fn the_holder_of_a_good_key_is_its_owner_with_the_groups_of_the_key() {
        let user = record().principal(&key(1), None, NOW).unwrap();
        assert_eq!((user.id.as_str(), user.groups), ("user-1", Groups::known(["user"])));
        assert_eq!(user.authentication, Authentication::ApiKey { key_id: key(1).id(), scopes: vec![] });
    }

    #[test]
    fn a_key_is_good_until_the_second_it_expires() {
        check(|record| record.expires_at = Some(NOW.plus(1)), 1, Ok("user-1"));
        check(|record| record.expires_at = Some(NOW), 1, Err(Rejection::KeyExpired));
    }

    #[test]
    fn the_state_of_a_key_is_revoked_before_expired_before_disabled() {
        use KeyStatus::{Active, Disabled, Revoked};
        for (status, expires_at, state) in [
            (Active, None, KeyState::Active),
            (Active, Some(NOW.plus(1)), KeyState::Active),
            (Active, Some(NOW), KeyState::Expired),
            (Disabled, Some(NOW.plus(1)), KeyState::Disabled),
            (Disabled, Some(NOW), KeyState::Expired),
            (Revoked, Some(NOW), KeyState::Revoked),
        ] {
            assert_eq!(KeyRecord { status, expires_at, ..record() }.state(NOW), state, "{status:?} {expires_at:?}");
        }
    }

    #[test]
    fn a_disabled_or_revoked_key_is_refused_whatever_its_expiry() {
        check(|record| record.status = KeyStatus::Disabled, 1, Err(Rejection::KeyDisabled));
        check(|record| record.status = KeyStatus::Revoked, 1, Err(Rejection::KeyRevoked));
    }

    #[test]
    fn another_secret_is_refused_before_the_state_is_told() {
        check(|_| {}, 2, Err(Rejection::WrongSecret));
        check(|record| record.status = KeyStatus::Revoked, 2, Err(Rejection::WrongSecret));
    }

    #[test]
    fn a_use_is_noted_at_most_once_a_minute() {
        let used = |at| LastUse { at, address: String::new(), user_agent: String::new() };
        let mut record = record();
        assert!(record.is_use_due(NOW));
        record.last_use = Some(used(NOW.plus(-59)));
        assert!(!record.is_use_due(NOW));
        record.last_use = Some(used(NOW.plus(-60)));
        assert!(record.is_use_due(NOW));
    }

    #[test]
    fn a_key_with_networks_is_good_from_an_address_in_one_of_them_and_from_no_other() {
        let mut record = record();
        record.cidrs = vec!["203.0.113.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        for (address, is_good) in [
            (Some("203.0.113.7"), true),
            (Some("::ffff:203.0.113.7"), true),
            (Some("2001:db8::7"), true),
            (Some("203.0.114.7"), false),
            (Some("2001:db9::7"), false),
            (None, false),
        ] {
            let user = record.principal(&key(1), address.map(|address| address.parse().unwrap()), NOW);
            assert_eq!(user.err(), (!is_good).then_some(Rejection::AddressNotAllowed), "{address:?}");
        }
        // that a key is known, or revoked, isn't told by way of the address
        assert_eq!(record.principal(&key(2), None, NOW), Err(Rejection::WrongSecret));
        record.status = KeyStatus::Revoked;
        assert_eq!(record.principal(&key(1), None, NOW), Err(Rejection::KeyRevoked));
    }

    #[test]
    fn the_scopes_of_a_key_go_with_its_holder() {
        let mut record = record();
        record.scopes = vec!["read".parse().unwrap()];
        let scopes = record.scopes.clone();
        let user = record.principal(&key(1), None, NOW).unwrap();
        assert_eq!(user.authentication, Authentication::ApiKey { key_id: record.id, scopes });
    }

    #[test]
    fn a_digest_scheme_that_this_version_does_not_know_is_refused() {
        check(|record| record.digest_version = 2, 1, Err(Rejection::UnsupportedRecord));
    }
}
