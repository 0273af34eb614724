//! Changes of keys as values: decided here without I/O, committed by `shared/store`.

use crate::{
    ApiKey, CurrentUser, EventKind, Groups, KeyId, KeyRecord, KeyState, KeyStatus, Network, ScopeName, Timestamp,
};

/// A change of one key: the record before and after, the audit events it causes, and the reason for them.
/// Only this module creates one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Transition {
    /// The record that the change was decided on; `None` for a new key.
    pub before: Option<KeyRecord>,
    /// The record once the change is committed.
    pub after: KeyRecord,
    /// The audit events, in order.
    pub events: Vec<EventKind>,
    /// The reason, if one was given.
    pub reason: Option<String>,
}

impl Transition {
    /// The creation of a key.
    pub fn creation(record: KeyRecord) -> Self {
        Self { before: None, after: record, events: vec![EventKind::Created], reason: None }
    }

    /// `after` as the next version of `before`.
    fn to(before: &KeyRecord, after: KeyRecord, events: Vec<EventKind>, reason: Option<&str>) -> Self {
        let after = KeyRecord { version: before.version + 1, ..after };
        Self { before: Some(before.clone()), after, events, reason: reason.map(str::to_owned) }
    }

    /// Whether the key can do something that it couldn't before, or for longer. A new key always can.
    pub fn gives_more(&self) -> bool {
        self.before.as_ref().is_none_or(|before| self.after.gives_more_than(before))
    }
}

/// The attributes that a person changes, validated; `None` leaves one as it is.
#[derive(Clone, Debug, Default)]
pub struct KeyChange {
    /// The new name.
    pub name: Option<String>,
    /// The new description.
    pub description: Option<String>,
    /// The new groups.
    pub groups: Option<Groups>,
    /// The new scopes.
    pub scopes: Option<Vec<ScopeName>>,
    /// The new networks.
    pub cidrs: Option<Vec<Network>>,
    /// `false` disables the key, `true` enables it again.
    pub is_enabled: Option<bool>,
}

/// A rotation: two transitions, to be committed together.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// The creation of the successor.
    pub successor: Transition,
    /// The old key, which expires at the end of the overlap.
    pub old: Transition,
}

/// Why a key can't be changed or rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotChangeable {
    /// It is revoked.
    Revoked,
    /// It has expired.
    Expired,
    /// It is disabled, and can't be rotated: a successor would be a way around that.
    Disabled,
    /// It has a successor already, which can be rotated instead.
    Rotated(KeyId),
}

impl KeyRecord {
    /// The longest time a key stays valid beside its successor: 7 days.
    pub const MAX_OVERLAP_SECONDS: i64 = 7 * 24 * 60 * 60;

    /// Changes attributes of the key. `None` if that leaves it as it is.
    /// Fails when the key is revoked, or has expired by `now`.
    pub fn change(
        &self,
        change: &KeyChange,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<Option<Transition>, NotChangeable> {
        match self.state(now) {
            KeyState::Active | KeyState::Disabled => {}
            KeyState::Expired => return Err(NotChangeable::Expired),
            KeyState::Revoked => return Err(NotChangeable::Revoked),
        }
        let mut after = Self {
            name: change.name.as_ref().unwrap_or(&self.name).clone(),
            description: change.description.as_ref().unwrap_or(&self.description).clone(),
            groups: change.groups.as_ref().unwrap_or(&self.groups).clone(),
            scopes: change.scopes.as_ref().unwrap_or(&self.scopes).clone(),
            cidrs: change.cidrs.as_ref().unwrap_or(&self.cidrs).clone(),
            ..self.clone()
        };
        let mut events = Vec::new();
        if after.audited(now) != self.audited(now) {
            events.push(EventKind::Changed);
        }
        // Disabling or enabling a key is an event of its own, whatever else changes with it.
        match change.is_enabled {
            Some(true) if self.status == KeyStatus::Disabled => {
                (after.status, after.disabled_with_owner) = (KeyStatus::Active, false);
                events.push(EventKind::Enabled);
            }
            // A person who disables it wants it disabled, whatever becomes of its owner.
            Some(false) if self.status == KeyStatus::Active || self.disabled_with_owner => {
                (after.status, after.disabled_with_owner) = (KeyStatus::Disabled, false);
                events.push(EventKind::Disabled);
            }
            _ => {}
        }
        Ok((!events.is_empty()).then(|| Transition::to(self, after, events, reason)))
    }

    /// Disables the key because its owner was disabled. `None` if it isn't active.
    pub fn disable_with_owner(&self, now: Timestamp) -> Option<Transition> {
        let after = Self { status: KeyStatus::Disabled, disabled_with_owner: true, ..self.clone() };
        let is_due = self.state(now) == KeyState::Active;
        is_due.then(|| Transition::to(self, after, vec![EventKind::Disabled], Some("owner_disabled")))
    }

    /// Enables the key again after its owner was. `None` unless it was disabled with them, and hasn't ended since.
    pub fn enable_with_owner(&self, reason: Option<&str>, now: Timestamp) -> Option<Transition> {
        let after = Self { status: KeyStatus::Active, disabled_with_owner: false, ..self.clone() };
        let is_due = self.state(now) == KeyState::Disabled && self.disabled_with_owner;
        let reason = reason.unwrap_or("owner_enabled");
        is_due.then(|| Transition::to(self, after, vec![EventKind::Enabled], Some(reason)))
    }

    /// Revokes the key for good, even if it has expired. `None` if it is revoked: the first reason is kept.
    pub fn revoke(&self, reason: Option<&str>, now: Timestamp) -> Option<Transition> {
        self.revoke_by(EventKind::Revoked, reason, now)
    }

    /// Revokes a key that was found in the open, at `found_at` if that is known. `None` if it is of no use any more.
    pub fn revoke_leaked(&self, found_at: &str, now: Timestamp) -> Option<Transition> {
        let reason = if found_at.is_empty() { "leaked".to_owned() } else { format!("leaked: {found_at}") };
        self.state(now).is_live().then(|| self.revoke_by(EventKind::Leaked, Some(&reason), now))?
    }

    fn revoke_by(&self, event: EventKind, reason: Option<&str>, now: Timestamp) -> Option<Transition> {
        let after = Self {
            status: KeyStatus::Revoked,
            revoked_at: Some(now),
            revoked_reason: reason.map(str::to_owned),
            ..self.clone()
        };
        (self.status != KeyStatus::Revoked).then(|| Transition::to(self, after, vec![event], reason))
    }

    /// Takes the groups in `lost` from the key. `None` if it has none of them.
    pub fn lose_groups(&self, lost: &Groups, reason: &str) -> Option<Transition> {
        let after = Self { groups: self.groups.difference(lost), ..self.clone() };
        (after.groups != self.groups).then(|| Transition::to(self, after, vec![EventKind::GroupsReduced], Some(reason)))
    }

    /// Replaces this key with `key`, which inherits everything, keeps only the groups `owner` still has, and expires when this
    /// one would have. This one stays valid for `overlap_seconds`, but never for longer than it was.
    /// Fails when this key can't be rotated at `now`.
    pub fn rotate(
        &self,
        key: &ApiKey,
        owner: &CurrentUser,
        overlap_seconds: i64,
        now: Timestamp,
    ) -> Result<Rotation, NotChangeable> {
        if let Some(successor) = self.rotated_to {
            return Err(NotChangeable::Rotated(successor));
        }
        match self.state(now) {
            KeyState::Active => {}
            KeyState::Disabled => return Err(NotChangeable::Disabled),
            KeyState::Expired => return Err(NotChangeable::Expired),
            KeyState::Revoked => return Err(NotChangeable::Revoked),
        }
        let successor = Self {
            owner_username: owner.username.clone(),
            name: self.name.clone(),
            description: self.description.clone(),
            groups: self.groups.intersection(&owner.groups),
            scopes: self.scopes.clone(),
            cidrs: self.cidrs.clone(),
            expires_at: self.expires_at,
            rotated_from: Some(self.id),
            ..Self::new(key, &self.owner, now)
        };
        let deadline = now.plus(overlap_seconds.clamp(0, Self::MAX_OVERLAP_SECONDS));
        let old = Self {
            expires_at: Some(self.expires_at.map_or(deadline, |end| end.min(deadline))),
            rotated_to: Some(successor.id),
            rotated_at: Some(now),
            ..self.clone()
        };
        Ok(Rotation {
            successor: Transition::creation(successor),
            old: Transition::to(self, old, vec![EventKind::Rotated], None),
        })
    }
}

#[cfg(test)]
mod tests {
    use KeyStatus::{Active, Disabled, Revoked};

    use super::*;
    use crate::key::record::tests::{NOW, key, record};
    use crate::{Authentication, KeySecret, LastUse, Rejection};

    /// A key of this status that expires then, at version 7.
    fn key_that_is(status: KeyStatus, expires_at: Option<Timestamp>) -> KeyRecord {
        let last_use = LastUse { at: NOW, address: "192.0.2.1".into(), user_agent: String::new(), moved_at: None };
        KeyRecord {
            status,
            expires_at,
            description: "for the pipeline".into(),
            groups: Groups::named(["operator", "user"]),
            scopes: vec!["read".parse().unwrap()],
            cidrs: vec!["192.0.2.0/24".parse().unwrap()],
            version: 7,
            last_use: Some(last_use),
            ..record()
        }
    }

    fn owner(groups: &[&str]) -> CurrentUser {
        CurrentUser {
            id: "user-1".into(),
            username: "ada lovelace".into(),
            groups: Groups::named(groups.iter().copied()),
            authentication: Authentication::Jwt,
            oauth_scopes: Vec::new(),
            issued_at: None,
            expires_at: None,
        }
    }

    fn new_key() -> ApiKey {
        ApiKey::new("000000000000".parse().unwrap(), &KeySecret::from_entropy(&mut [9; 32]))
    }

    fn events(transition: Option<&Transition>) -> &[EventKind] {
        transition.map_or(&[], |transition| transition.events.as_slice())
    }

    type Edit<'a> = &'a dyn Fn(&mut KeyRecord);

    /// Checks that only the version and the attributes that `expected` sets have changed, and the version by one.
    #[track_caller]
    fn check(before: &KeyRecord, transition: &Transition, expected: impl FnOnce(&mut KeyRecord)) {
        let mut after = before.clone();
        after.version += 1;
        expected(&mut after);
        assert_eq!(format!("{:?}", transition.before.as_ref().unwrap()), format!("{before:?}"));
        assert_eq!(format!("{:?}", transition.after), format!("{after:?}"));
    }

    #[test]
    fn a_new_key_is_version_1_and_always_gives_more() {
        let created = Transition::creation(record());
        assert_eq!(created.after.version, 1);
        assert!(created.before.is_none());
        assert!(created.gives_more());
        assert_eq!((created.events, created.reason), (vec![EventKind::Created], None));
    }

    #[test]
    fn a_change_is_one_version_with_its_own_event_for_the_switch() {
        use EventKind::{Changed, Disabled as Off, Enabled as On};
        let (rename, off, on) = (
            KeyChange { name: Some("new".into()), ..KeyChange::default() },
            KeyChange { is_enabled: Some(false), ..KeyChange::default() },
            KeyChange { is_enabled: Some(true), ..KeyChange::default() },
        );
        let both = KeyChange { name: Some("new".into()), ..off.clone() };
        let same = KeyChange { name: Some("ci".into()), ..on.clone() };
        let cases: [(KeyStatus, &KeyChange, &[EventKind], Edit<'_>); 7] = [
            (Active, &rename, &[Changed], &|key| key.name = "new".into()),
            (Active, &off, &[Off], &|key| key.status = Disabled),
            (Disabled, &on, &[On], &|key| key.status = Active),
            (Disabled, &rename, &[Changed], &|key| key.name = "new".into()),
            (Active, &both, &[Changed, Off], &|key| (key.name, key.status) = ("new".into(), Disabled)),
            (Active, &same, &[], &|_| {}),
            (Disabled, &off, &[], &|_| {}),
        ];
        for (status, change, expected, after) in cases {
            let before = key_that_is(status, Some(NOW.plus(1)));
            let changed = before.change(change, Some("tidying up"), NOW).unwrap();
            assert_eq!(events(changed.as_ref()), expected, "{status:?} {change:?}");
            let Some(changed) = changed else { continue };
            check(&before, &changed, after);
            assert_eq!(
                (changed.reason.as_deref(), changed.gives_more()),
                (Some("tidying up"), change.is_enabled == Some(true))
            );
        }
    }

    #[test]
    fn a_change_replaces_each_attribute_it_names_and_no_other() {
        let attributes: [(KeyChange, Edit<'_>); 4] = [
            (KeyChange { description: Some(String::new()), ..KeyChange::default() }, &|key| key.description.clear()),
            (KeyChange { groups: Some(Groups::NONE), ..KeyChange::default() }, &|key| key.groups = Groups::NONE),
            (KeyChange { scopes: Some(vec![]), ..KeyChange::default() }, &|key| key.scopes.clear()),
            (KeyChange { cidrs: Some(vec![]), ..KeyChange::default() }, &|key| key.cidrs.clear()),
        ];
        for (change, after) in attributes {
            let before = key_that_is(Active, None);
            let changed = before.change(&change, None, NOW).unwrap().unwrap();
            check(&before, &changed, after);
            assert_eq!(changed.events, [EventKind::Changed]);
        }
        assert!(key_that_is(Active, None).change(&KeyChange::default(), None, NOW).unwrap().is_none());
    }

    #[test]
    fn only_a_key_disabled_with_its_owner_is_enabled_with_them() {
        let (future, past) = (Some(NOW.plus(1)), Some(NOW));
        for (status, expires_at, with_owner, disabled, enabled) in [
            (Active, None, false, true, false),
            (Active, future, false, true, false),
            (Active, past, false, false, false),
            (Disabled, None, false, false, false),
            (Disabled, None, true, false, true),
            (Disabled, future, true, false, true),
            (Disabled, past, true, false, false),
            (Revoked, None, true, false, false),
        ] {
            let key = KeyRecord { disabled_with_owner: with_owner, ..key_that_is(status, expires_at) };
            let case = format!("{status:?} {expires_at:?} {with_owner}");
            assert_eq!(key.disable_with_owner(NOW).is_some(), disabled, "{case}");
            assert_eq!(key.enable_with_owner(None, NOW).is_some(), enabled, "{case}");
        }
        let active = key_that_is(Active, None);
        let off = active.disable_with_owner(NOW).unwrap();
        check(&active, &off, |key| (key.status, key.disabled_with_owner) = (Disabled, true));
        assert_eq!((&off.events[..], off.reason.as_deref()), (&[EventKind::Disabled][..], Some("owner_disabled")));
        let off = off.after;
        for (given, reason) in [(None, "owner_enabled"), (Some("back"), "back")] {
            let on = off.enable_with_owner(given, NOW).unwrap();
            check(&off, &on, |key| (key.status, key.disabled_with_owner) = (Active, false));
            assert_eq!((&on.events[..], on.reason.as_deref()), (&[EventKind::Enabled][..], Some(reason)));
            assert!(on.gives_more());
        }
    }

    #[test]
    fn a_person_decides_about_a_key_disabled_with_its_owner() {
        let off = key_that_is(Active, None).disable_with_owner(NOW).unwrap().after;
        for (is_enabled, status, event) in [(true, Active, EventKind::Enabled), (false, Disabled, EventKind::Disabled)]
        {
            let change = KeyChange { is_enabled: Some(is_enabled), ..KeyChange::default() };
            let changed = off.change(&change, None, NOW).unwrap().unwrap();
            check(&off, &changed, |key| (key.status, key.disabled_with_owner) = (status, false));
            assert_eq!(changed.events, [event]);
            assert!(changed.after.enable_with_owner(None, NOW).is_none());
        }
    }

    /// For each state: whether a key can be changed, revoked, revoked as leaked, and rotated.
    #[test]
    fn the_state_of_a_key_decides_what_can_happen_to_it() {
        use NotChangeable as Fixed;
        let (future, past) = (Some(NOW.plus(1)), Some(NOW));
        for (status, expires_at, changed, revoked, leaked, rotated) in [
            (Active, None, Ok(true), true, true, Ok(())),
            (Active, future, Ok(true), true, true, Ok(())),
            (Active, past, Err(Fixed::Expired), true, false, Err(Fixed::Expired)),
            (Disabled, future, Ok(true), true, true, Err(Fixed::Disabled)),
            (Disabled, past, Err(Fixed::Expired), true, false, Err(Fixed::Expired)),
            (Revoked, future, Err(Fixed::Revoked), false, false, Err(Fixed::Revoked)),
            (Revoked, past, Err(Fixed::Revoked), false, false, Err(Fixed::Revoked)),
        ] {
            let key = key_that_is(status, expires_at);
            let rename = KeyChange { name: Some("new".into()), ..KeyChange::default() };
            let case = format!("{status:?} {expires_at:?}");
            assert_eq!(key.change(&rename, None, NOW).map(|changed| changed.is_some()), changed, "{case}");
            assert_eq!(key.revoke(None, NOW).is_some(), revoked, "{case}");
            assert_eq!(key.revoke_leaked("", NOW).is_some(), leaked, "{case}");
            let rotation = |key: &KeyRecord| key.rotate(&new_key(), &owner(&["user"]), 60, NOW).map(|_| ());
            assert_eq!(rotation(&key), rotated, "{case}");
            // A retry of a rotation whose response was lost learns the successor, whatever became of the key since.
            let successor = new_key().id();
            let rotated = KeyRecord { rotated_to: Some(successor), ..key };
            assert_eq!(rotation(&rotated), Err(NotChangeable::Rotated(successor)), "{case}");
        }
    }

    #[test]
    fn a_revoked_key_records_when_and_why_and_gets_nothing_more() {
        for status in [Active, Disabled] {
            let before = key_that_is(status, None);
            for (transition, event, reason) in [
                (before.revoke(Some("lost"), NOW), EventKind::Revoked, Some("lost")),
                (before.revoke(None, NOW), EventKind::Revoked, None),
                (before.revoke_leaked("", NOW), EventKind::Leaked, Some("leaked")),
                (before.revoke_leaked("a paste", NOW), EventKind::Leaked, Some("leaked: a paste")),
            ] {
                let revoked = transition.unwrap();
                check(&before, &revoked, |key| {
                    key.status = Revoked;
                    key.revoked_at = Some(NOW);
                    key.revoked_reason = reason.map(str::to_owned);
                });
                assert_eq!((revoked.events.as_slice(), revoked.reason.as_deref()), (&[event][..], reason));
                assert!(!revoked.gives_more());
            }
        }
    }

    #[test]
    fn a_key_loses_groups_and_gains_none() {
        for (lost, kept) in [
            (&[][..], None),
            (&["root"], None),
            (&["root", "operator"], Some(&["user"][..])),
            (&["operator", "user"], Some(&[])),
        ] {
            let before = key_that_is(Active, None);
            let reduced = before.lose_groups(&Groups::named(lost.iter().copied()), "owner_left_group");
            assert_eq!(reduced.is_some(), kept.is_some(), "{lost:?}");
            let (Some(reduced), Some(kept)) = (reduced, kept) else { continue };
            check(&before, &reduced, |key| key.groups = Groups::named(kept.iter().copied()));
            assert_eq!(reduced.events, [EventKind::GroupsReduced]);
            assert_eq!((reduced.reason.as_deref(), reduced.gives_more()), (Some("owner_left_group"), false));
        }
    }

    #[test]
    fn a_successor_inherits_everything_the_expiry_included() {
        for expires_at in [Some(NOW.plus(1)), None] {
            let before = key_that_is(Active, expires_at);
            let rotation = before.rotate(&new_key(), &owner(&["operator", "user"]), 60, NOW).unwrap();
            let expected = KeyRecord {
                id: new_key().id(),
                owner_username: "ada lovelace".into(),
                created_at: NOW,
                rotated_from: Some(before.id),
                version: 1,
                last_use: None,
                ..before.clone()
            };
            assert_eq!(format!("{:?}", rotation.successor.after), format!("{expected:?}"));
            assert!(rotation.successor.after.is_of(&new_key()));
            assert_eq!(
                (rotation.successor.events.as_slice(), rotation.old.events.as_slice()),
                (&[EventKind::Created][..], &[EventKind::Rotated][..])
            );
            assert!(rotation.successor.gives_more());
            assert!(!rotation.old.gives_more());
        }
    }

    #[test]
    fn a_successor_has_no_group_that_its_owner_has_left() {
        for (groups, kept) in [(&["root", "user"][..], &["user"][..]), (&[], &[])] {
            let rotation = key_that_is(Active, None).rotate(&new_key(), &owner(groups), 60, NOW).unwrap();
            assert_eq!(rotation.successor.after.groups, Groups::named(kept.iter().copied()));
        }
    }

    #[test]
    fn the_old_key_is_valid_until_the_deadline_and_not_at_it() {
        const WEEK: i64 = KeyRecord::MAX_OVERLAP_SECONDS;
        for (expires_in, overlap, lives_for) in [
            (None, 3600, 3600),
            (Some(3601), 3600, 3600),
            (Some(3599), 3600, 3599),
            (None, 0, 0),
            (None, -1, 0),
            (None, WEEK, WEEK),
            (None, i64::MAX, WEEK),
        ] {
            let before = key_that_is(Active, expires_in.map(|seconds| NOW.plus(seconds)));
            let rotation = before.rotate(&new_key(), &owner(&["user"]), overlap, NOW).unwrap();
            check(&before, &rotation.old, |key| {
                key.expires_at = Some(NOW.plus(lives_for));
                key.rotated_to = Some(new_key().id());
                key.rotated_at = Some(NOW);
            });
        }
        let old = record().rotate(&new_key(), &owner(&["user"]), 60, NOW).unwrap().old.after;
        assert!(old.authenticate(&key(1), None, NOW.plus(59)).is_ok());
        assert_eq!(old.authenticate(&key(1), None, NOW.plus(60)).unwrap_err(), Rejection::KeyExpired);
    }
}
