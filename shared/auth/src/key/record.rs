use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{
    ApiKey, Authentication, CurrentUser, DIGEST_VERSION, Groups, KeyDigest, KeyId, Network, Rejection, ScopeName,
    Timestamp, is_hidden,
};

/// The stored record of an API key: everything except the key itself.
#[derive(Clone, Debug)]
pub struct KeyRecord {
    /// The public id.
    pub id: KeyId,
    /// The owner's stable id (`sub`).
    pub owner: String,
    /// The owner's name when the key was created, for display only.
    pub owner_username: String,
    /// SHA-256 of the key.
    pub digest: KeyDigest,
    /// The scheme of [`Self::digest`]; only [`DIGEST_VERSION`] is accepted.
    pub digest_version: u32,
    /// The status that people set. Expiry isn't a status: the clock decides that.
    pub status: KeyStatus,
    /// Whether it was disabled because its owner was.
    pub disabled_with_owner: bool,
    /// The name its owner gave it: 1 to 100 characters.
    pub name: String,
    /// Its purpose, in the owner's words; may be empty.
    pub description: String,
    /// A subset of the owner's groups.
    pub groups: Groups,
    /// Limits the key to these scopes, unless empty.
    pub scopes: Vec<ScopeName>,
    /// Limits the key to these networks, unless empty.
    pub cidrs: Vec<Network>,
    /// When it was created.
    pub created_at: Timestamp,
    /// The first second at which it is no longer valid; `None` for no expiry.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// The reason given for the revocation.
    pub revoked_reason: Option<String>,
    /// The key this one replaces.
    pub rotated_from: Option<KeyId>,
    /// The key that replaces this one.
    pub rotated_to: Option<KeyId>,
    /// When it was replaced. `None` too for a key replaced before this was recorded.
    pub rotated_at: Option<Timestamp>,
    /// Counts the key's versions, from 1: the `ETag`.
    pub version: u64,
    /// Its last recorded use.
    pub last_use: Option<LastUse>,
}

/// The status that people set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyStatus {
    /// Valid, until it expires.
    Active,
    /// Disabled; its owner can enable it again.
    Disabled,
    /// Revoked, for good.
    Revoked,
}

/// The state of a key at an instant, from its status and the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Valid.
    Active,
    /// Disabled; its owner can enable it again.
    Disabled,
    /// Past its expiry, for good.
    Expired,
    /// Revoked, for good.
    Revoked,
}

/// When and from where a key was last used. At most [`LastUse::NOTED_EVERY_SECONDS`] old, and less for a use from another
/// network: see [`KeyRecord::use_to_record`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastUse {
    /// The instant.
    pub at: Timestamp,
    /// The caller's address, as API Gateway saw it.
    pub address: String,
    /// The caller's `User-Agent`, cut at 256 characters.
    pub user_agent: String,
    /// When a use was last recorded early because it came from another network.
    #[serde(skip)]
    pub moved_at: Option<Timestamp>,
}

impl LastUse {
    /// The least time between two recorded uses, so that a busy key doesn't cost a write per request.
    pub const NOTED_EVERY_SECONDS: i64 = 60;

    /// Whether this use is recorded early.
    pub fn is_move(&self) -> bool {
        self.moved_at == Some(self.at)
    }

    /// Whether `address` is in another network than this use.
    fn is_elsewhere(&self, address: &str) -> bool {
        // The address is nearly always the same, and nothing is parsed then.
        self.address != address && {
            let [then, now] = [&self.address, address].map(|text| text.parse().ok().map(Network::around));
            now.is_some() && now != then
        }
    }
}

impl KeyState {
    /// Whether the key works or can be enabled again. Live keys count towards their owner's limit.
    pub fn is_live(self) -> bool {
        match self {
            Self::Active | Self::Disabled => true,
            Self::Expired | Self::Revoked => false,
        }
    }
}

impl KeyRecord {
    /// Maximum number of scopes, and of networks, per key: the authorizer's response contains all of them.
    pub const MAX_RESTRICTIONS: usize = 20;

    /// The record of a new key that belongs to `owner` (a `sub`), without a name, an expiry, a limit or a group. Every new
    /// record starts here.
    pub fn new(key: &ApiKey, owner: impl Into<String>, created_at: Timestamp) -> Self {
        Self {
            id: key.id(),
            owner: owner.into(),
            owner_username: String::new(),
            digest: key.digest(),
            digest_version: DIGEST_VERSION,
            status: KeyStatus::Active,
            disabled_with_owner: false,
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
            rotated_at: None,
            version: 1,
            last_use: None,
        }
    }

    /// The key's state at `now`.
    pub fn state(&self, now: Timestamp) -> KeyState {
        match self.status {
            KeyStatus::Revoked => KeyState::Revoked,
            _ if self.expires_at.is_some_and(|end| now >= end) => KeyState::Expired,
            KeyStatus::Disabled => KeyState::Disabled,
            KeyStatus::Active => KeyState::Active,
        }
    }

    /// Whether this is the record of `key`, compared in constant time. A digest of an unknown scheme matches no key.
    pub fn is_of(&self, key: &ApiKey) -> bool {
        self.digest_version == DIGEST_VERSION && self.id == key.id() && self.digest.matches(key)
    }

    /// Whether the key can do something now that it couldn't `before`, or for longer.
    pub fn gives_more_than(&self, before: &Self) -> bool {
        (self.status == KeyStatus::Active && before.status != KeyStatus::Active)
            || !self.groups.is_subset(&before.groups)
            || is_wider(&self.scopes, &before.scopes, |one, other| one == other)
            || is_wider(&self.cidrs, &before.cidrs, Network::holds)
            || before.expires_at.is_some_and(|end| self.expires_at.is_none_or(|later| later > end))
    }

    /// A use at `now`, if it should be recorded.
    ///
    /// That is a minute after the last recorded use. A use from another network is recorded at once, since otherwise a thief
    /// who uses a busy key would be seen only by chance; but again at most once a minute, so that a key used from two networks
    /// costs one more write per minute, and not one per request. The first use after a rotation is recorded at once as well, so
    /// that a key without a use since its rotation had none.
    pub fn use_to_record(&self, address: &str, user_agent: &str, now: Timestamp) -> Option<LastUse> {
        let is_minute_ago = |then: Timestamp| now >= then.plus(LastUse::NOTED_EVERY_SECONDS);
        // Within the second of the rotation, the order of the two is unknown: a use in it counts as a later one.
        let is_before_rotation = |then: Timestamp| self.rotated_at.is_some_and(|at| then < at && at <= now);
        let moved_at = match &self.last_use {
            None => None,
            Some(last) if is_minute_ago(last.at) || is_before_rotation(last.at) => last.moved_at,
            Some(last) if now >= last.at && last.moved_at.is_none_or(is_minute_ago) && last.is_elsewhere(address) => {
                Some(now)
            }
            Some(_) => return None,
        };
        Some(LastUse {
            at: now,
            address: address.to_owned(),
            user_agent: user_agent.chars().filter(|character| !is_hidden(*character)).take(256).collect(),
            moved_at,
        })
    }

    /// The user whom `key` authenticates at `now`, calling from `address` if the event has one.
    ///
    /// The secret is compared first: only its holder can learn the key's state, even from the time we take.
    /// Fails when the secret is wrong, the key isn't valid at `now`, or this address isn't in its networks.
    pub fn authenticate(
        &self,
        key: &ApiKey,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<CurrentUser, Rejection> {
        if self.digest_version != DIGEST_VERSION {
            return Err(Rejection::UnsupportedRecord);
        }
        if !self.is_of(key) {
            return Err(Rejection::WrongSecret);
        }
        match self.state(now) {
            KeyState::Active => {}
            KeyState::Disabled => return Err(Rejection::KeyDisabled),
            KeyState::Expired => return Err(Rejection::KeyExpired),
            KeyState::Revoked => return Err(Rejection::KeyRevoked),
        }
        let is_inside = |address| self.cidrs.iter().any(|network| network.contains(address));
        if !self.cidrs.is_empty() && !address.is_some_and(is_inside) {
            return Err(Rejection::AddressNotAllowed);
        }
        Ok(CurrentUser {
            id: self.owner.clone(),
            username: self.owner_username.clone(),
            groups: self.groups.clone(),
            authentication: Authentication::ApiKey {
                key_id: self.id,
                scopes: self.scopes.clone(),
                networks: self.cidrs.clone(),
            },
            oauth_scopes: Vec::new(),
            issued_at: None,
            expires_at: self.expires_at,
        })
    }
}

/// Whether the restrictions allow something that those `before` didn't; an empty list allows everything. `holds` tells whether
/// its first argument allows everything that its second does.
fn is_wider<T>(restrictions: &[T], before: &[T], holds: impl Fn(&T, &T) -> bool) -> bool {
    let was_open = |one: &T| before.iter().any(|other| holds(other, one));
    !before.is_empty() && (restrictions.is_empty() || !restrictions.iter().all(was_open))
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
            groups: Groups::named(["user"]),
            ..KeyRecord::new(&key(1), "user-1", NOW.plus(-100))
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut KeyRecord), secret: u8, expected: Result<&str, Rejection>) {
        let mut record = record();
        change(&mut record);
        let user = record.authenticate(&key(secret), None, NOW);
        assert_eq!(user.as_ref().map(|user| user.id.as_str()).map_err(|reason| *reason), expected);
    }

    #[test]
    fn any_wider_restriction_gives_a_key_more() {
        let narrow = KeyRecord {
            groups: Groups::named(["user"]),
            scopes: vec!["read".parse().unwrap()],
            cidrs: vec!["203.0.113.0/24".parse().unwrap()],
            expires_at: Some(NOW),
            ..record()
        };
        let more = |change: &dyn Fn(&mut KeyRecord)| {
            let mut changed = narrow.clone();
            change(&mut changed);
            // And the reverse, for the opposite change.
            (changed.gives_more_than(&narrow), narrow.gives_more_than(&changed))
        };
        let (more_only, less_only, both, same) = ((true, false), (false, true), (true, true), (false, false));
        assert_eq!(more(&|key| key.groups = Groups::named(["operator", "user"])), more_only);
        assert_eq!(more(&|key| key.groups = Groups::named(["operator"])), both);
        assert_eq!(more(&|key| key.scopes.clear()), more_only);
        assert_eq!(more(&|key| key.scopes.push("deploy".parse().unwrap())), more_only);
        assert_eq!(more(&|key| key.scopes = vec!["deploy".parse().unwrap()]), both);
        assert_eq!(more(&|key| key.cidrs.clear()), more_only);
        assert_eq!(more(&|key| key.cidrs.push("2001:db8::/32".parse().unwrap())), more_only);
        assert_eq!(more(&|key| key.cidrs = vec!["203.0.112.0/23".parse().unwrap()]), more_only);
        assert_eq!(more(&|key| key.cidrs = vec!["203.0.113.7/32".parse().unwrap()]), less_only);
        assert_eq!(more(&|key| key.expires_at = Some(NOW.plus(1))), more_only);
        assert_eq!(more(&|key| key.expires_at = None), more_only);
        assert_eq!(more(&|key| key.status = KeyStatus::Disabled), less_only);
        assert_eq!(more(&|key| key.name = "renamed".into()), same);
    }

    #[test]
    fn a_valid_key_is_its_owner_with_the_groups_of_the_key() {
        let user = record().authenticate(&key(1), None, NOW).unwrap();
        assert_eq!((user.id.as_str(), user.groups), ("user-1", Groups::named(["user"])));
        assert_eq!(
            user.authentication,
            Authentication::ApiKey { key_id: key(1).id(), scopes: vec![], networks: vec![] }
        );
    }

    #[test]
    fn a_key_is_valid_until_the_second_it_expires() {
        check(|record| record.expires_at = Some(NOW.plus(1)), 1, Ok("user-1"));
        check(|record| record.expires_at = Some(NOW), 1, Err(Rejection::KeyExpired));
    }

    #[test]
    fn revoked_outranks_expired_and_expired_outranks_disabled() {
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
    fn a_disabled_or_revoked_key_is_rejected_at_any_expiry() {
        check(|record| record.status = KeyStatus::Disabled, 1, Err(Rejection::KeyDisabled));
        check(|record| record.status = KeyStatus::Revoked, 1, Err(Rejection::KeyRevoked));
    }

    #[test]
    fn a_wrong_secret_is_rejected_before_the_state_is_revealed() {
        check(|_| {}, 2, Err(Rejection::WrongSecret));
        check(|record| record.status = KeyStatus::Revoked, 2, Err(Rejection::WrongSecret));
    }

    #[test]
    fn a_use_is_recorded_at_most_once_a_minute() {
        let mut record = record();
        let is_due = |record: &KeyRecord, at| record.use_to_record("192.0.2.1", "", NOW.plus(at)).is_some();
        assert!(is_due(&record, 0));
        record.last_use = record.use_to_record("192.0.2.1", "curl\n", NOW);
        assert!(!is_due(&record, -60));
        assert!(!is_due(&record, 0));
        assert!(!is_due(&record, 59));
        assert!(is_due(&record, 60));
        assert_eq!(record.last_use.unwrap().user_agent, "curl");
    }

    #[test]
    fn the_first_use_after_a_rotation_is_recorded_at_once() {
        let mut record = KeyRecord { rotated_at: Some(NOW.plus(10)), ..record() };
        let mut written = Vec::new();
        for second in [0, 9, 10, 11, 69, 70, 71] {
            if let Some(last) = record.use_to_record("192.0.2.1", "", NOW.plus(second)) {
                written.push(second);
                record.last_use = Some(last);
            }
        }
        assert_eq!(written, [0, 10, 70]);
    }

    #[test]
    fn a_use_from_another_network_is_recorded_at_once() {
        for (from, to, is_noted) in [
            ("192.0.2.1", "192.0.2.254", false),
            ("192.0.2.1", "::ffff:192.0.2.7", false),
            ("2001:db8:1::1", "2001:db8:1:2::1", false),
            ("192.0.2.1", "192.0.3.1", true),
            ("192.0.2.1", "2001:db8:1::1", true),
            ("2001:db8:1::1", "2001:db8:2::1", true),
            ("", "192.0.2.1", true),
            ("192.0.2.1", "", false),
        ] {
            let mut record = record();
            record.last_use = record.use_to_record(from, "", NOW);
            let noted = record.use_to_record(to, "", NOW.plus(1));
            assert_eq!(noted.is_some_and(|last| last.is_move()), is_noted, "{from} {to}");
            assert!(record.use_to_record(to, "", NOW.plus(-1)).is_none(), "earlier than the last use");
        }
    }

    /// Two people share one key, and one of them uses it every second: the recorded uses, with their addresses.
    #[test]
    fn a_key_in_two_networks_costs_at_most_two_writes_a_minute() {
        let mut record = record();
        let mut written = Vec::new();
        for second in 0..600 {
            let address = if second % 3 == 2 { "198.51.100.1" } else { "192.0.2.1" };
            if let Some(last) = record.use_to_record(address, "", NOW.plus(second)) {
                written.push((second, address));
                record.last_use = Some(last);
            }
        }
        assert_eq!(written[..2], [(0, "192.0.2.1"), (2, "198.51.100.1")]);
        for start in 0..600 {
            let in_a_minute = written.iter().filter(|(second, _)| (start..start + 60).contains(second)).count();
            assert!(in_a_minute <= 2, "{start}: {written:?}");
        }
    }

    #[test]
    fn a_key_with_networks_is_valid_only_from_inside_them() {
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
            let user = record.authenticate(&key(1), address.map(|address| address.parse().unwrap()), NOW);
            assert_eq!(user.err(), (!is_good).then_some(Rejection::AddressNotAllowed), "{address:?}");
        }
        // The address check doesn't reveal whether a key exists or is revoked.
        assert_eq!(record.authenticate(&key(2), None, NOW), Err(Rejection::WrongSecret));
        record.status = KeyStatus::Revoked;
        assert_eq!(record.authenticate(&key(1), None, NOW), Err(Rejection::KeyRevoked));
    }

    #[test]
    fn the_user_carries_the_scopes_of_the_key() {
        let mut record = record();
        record.scopes = vec!["read".parse().unwrap()];
        let scopes = record.scopes.clone();
        let user = record.authenticate(&key(1), None, NOW).unwrap();
        assert_eq!(user.authentication, Authentication::ApiKey { key_id: record.id, scopes, networks: vec![] });
    }

    #[test]
    fn an_unknown_digest_scheme_is_rejected() {
        check(|record| record.digest_version = 2, 1, Err(Rejection::UnsupportedRecord));
    }
}
