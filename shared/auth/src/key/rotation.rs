use crate::{ApiKey, CurrentUser, DIGEST_VERSION, KeyId, KeyRecord, KeyState, Timestamp};

/// Why a key can't be rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotRotatable {
    /// It has a successor already: that one can be rotated.
    Rotated(KeyId),
    /// It is revoked.
    Revoked,
    /// It expired.
    Expired,
    /// It is disabled: a successor would be a way around that.
    Disabled,
}

impl KeyRecord {
    /// The longest time that a key may live on beside its successor: 7 days.
    pub const MAX_OVERLAP_SECONDS: i64 = 7 * 24 * 60 * 60;

    /// The record of `key`, which takes this one's place: it inherits everything, and ends when this one would have.
    /// Of the groups it gets those that `owner` is still in.
    ///
    /// # Errors
    /// When this key can't be rotated at `now`.
    pub fn successor(&self, key: &ApiKey, owner: &CurrentUser, now: Timestamp) -> Result<Self, NotRotatable> {
        if let Some(successor) = self.rotated_to {
            return Err(NotRotatable::Rotated(successor));
        }
        match self.state(now) {
            KeyState::Active => {}
            KeyState::Disabled => return Err(NotRotatable::Disabled),
            KeyState::Expired => return Err(NotRotatable::Expired),
            KeyState::Revoked => return Err(NotRotatable::Revoked),
        }
        Ok(Self {
            id: key.id(),
            owner_username: owner.username.clone(),
            digest: key.digest(),
            digest_version: DIGEST_VERSION,
            groups: self.groups.iter().filter(|group| owner.groups.contains(*group)).collect(),
            created_at: now,
            rotated_from: Some(self.id),
            rotated_to: None,
            version: 1,
            last_use: None,
            ..self.clone()
        })
    }

    /// This record once `successor` took its place: good until `overlap_seconds` from `now`, and never for longer than it was.
    #[must_use]
    pub fn superseded(&self, successor: KeyId, overlap_seconds: i64, now: Timestamp) -> Self {
        let deadline = now.plus(overlap_seconds.clamp(0, Self::MAX_OVERLAP_SECONDS));
        Self {
            expires_at: Some(self.expires_at.map_or(deadline, |end| end.min(deadline))),
            rotated_to: Some(successor),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::record::tests::{NOW, key, record};
    use crate::{Authentication, Groups, KeySecret, KeyStatus, LastUse, Rejection};

    fn owner(groups: &[&str]) -> CurrentUser {
        CurrentUser {
            id: "user-1".into(),
            username: "ada lovelace".into(),
            groups: Groups::known(groups.iter().copied()),
            authentication: Authentication::Jwt,
            issued_at: None,
            expires_at: None,
        }
    }

    fn new_key() -> ApiKey {
        ApiKey::new("000000000000".parse().unwrap(), &KeySecret::from_entropy(&mut [9; 32]))
    }

    #[test]
    fn a_successor_inherits_everything_and_never_outlives_the_original() {
        let old = KeyRecord {
            description: "for the pipeline".into(),
            groups: Groups::known(["operator", "user"]),
            scopes: vec!["read".parse().unwrap()],
            cidrs: vec!["192.0.2.0/24".parse().unwrap()],
            expires_at: Some(NOW.plus(1)),
            version: 7,
            last_use: Some(LastUse { at: NOW, address: "192.0.2.1".into(), user_agent: String::new(), moved_at: None }),
            ..record()
        };
        let new = old.successor(&new_key(), &owner(&["operator", "user"]), NOW).unwrap();
        assert_eq!(
            (&new.owner, &new.name, &new.description, new.groups, &new.scopes, &new.cidrs, new.expires_at),
            (&old.owner, &old.name, &old.description, old.groups, &old.scopes, &old.cidrs, old.expires_at)
        );
        assert_eq!((new.id, new.rotated_from, new.rotated_to), (new_key().id(), Some(old.id), None));
        assert_eq!((new.version, new.created_at, new.last_use.is_none()), (1, NOW, true));
        assert!(new.digest.matches(&new_key()) && !new.digest.matches(&key(1)));
        let for_ever = record().successor(&new_key(), &owner(&["user"]), NOW).unwrap();
        assert_eq!(for_ever.expires_at, None);
    }

    #[test]
    fn a_successor_has_no_group_that_its_owner_has_left() {
        let old = KeyRecord { groups: Groups::known(["root", "user"]), ..record() };
        let new = old.successor(&new_key(), &owner(&["operator", "user"]), NOW).unwrap();
        assert_eq!(new.groups, Groups::known(["user"]));
        assert_eq!(old.successor(&new_key(), &owner(&[]), NOW).unwrap().groups, Groups::NONE);
    }

    #[test]
    fn only_a_good_key_without_a_successor_can_be_rotated() {
        let other = new_key().id();
        let check = |change: &dyn Fn(&mut KeyRecord), expected| {
            let mut old = record();
            change(&mut old);
            assert_eq!(old.successor(&new_key(), &owner(&["user"]), NOW).map(|new| new.id), expected);
        };
        check(&|_| {}, Ok(other));
        check(&|old| old.expires_at = Some(NOW.plus(1)), Ok(other));
        check(&|old| old.expires_at = Some(NOW), Err(NotRotatable::Expired));
        check(&|old| old.status = KeyStatus::Disabled, Err(NotRotatable::Disabled));
        check(&|old| old.status = KeyStatus::Revoked, Err(NotRotatable::Revoked));
        // what the retry of a rotation whose answer was lost should hear, whatever became of the key since
        let rotated = KeyRecord { rotated_to: Some(other), ..record() };
        for status in [KeyStatus::Active, KeyStatus::Disabled, KeyStatus::Revoked] {
            let old = KeyRecord { status, expires_at: Some(NOW), ..rotated.clone() };
            let refused = old.successor(&new_key(), &owner(&["user"]), NOW).unwrap_err();
            assert_eq!(refused, NotRotatable::Rotated(other));
        }
    }

    #[test]
    fn the_old_key_is_good_until_the_deadline_and_not_at_it() {
        let deadline = |expires_at, overlap| {
            let old = KeyRecord { expires_at, ..record() };
            old.superseded(new_key().id(), overlap, NOW).expires_at.unwrap()
        };
        assert_eq!(deadline(None, 3600), NOW.plus(3600));
        assert_eq!(deadline(Some(NOW.plus(3601)), 3600), NOW.plus(3600));
        assert_eq!(deadline(Some(NOW.plus(3599)), 3600), NOW.plus(3599), "a life is never lengthened");
        assert_eq!(deadline(None, 0), NOW);
        assert_eq!(deadline(None, -1), NOW);
        assert_eq!(deadline(None, i64::MAX), NOW.plus(KeyRecord::MAX_OVERLAP_SECONDS));
        let old = record().superseded(new_key().id(), 60, NOW);
        assert_eq!(old.rotated_to, Some(new_key().id()));
        assert!(old.authenticate(&key(1), None, NOW.plus(59)).is_ok());
        assert_eq!(old.authenticate(&key(1), None, NOW.plus(60)).unwrap_err(), Rejection::KeyExpired);
    }
}
