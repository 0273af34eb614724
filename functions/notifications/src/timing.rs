//! The times at which notifications are due, and for which sent ones are remembered.

use vega_auth::{KeyRecord, Timestamp};
use vega_key_table::purge_at;
use vega_notification::{KeyEvent, Kind};
use vega_store::Expiring;

const DAY_SECONDS: i64 = 24 * 60 * 60;
/// A key is reported as expired for this time after its expiry.
const EXPIRED_DAYS: i64 = 7;
/// Time before its expiry from which a key is reported as about to expire.
const SOON_DAYS: i64 = 14;
/// Time for which a notification is remembered, so that it isn't sent again. A network counts as known for as long.
const REMEMBERED_DAYS: i64 = 90;

/// The end of the time for which a notification sent at `now` is remembered: as long as something could trigger it again, but no
/// longer than the key's record is kept.
pub fn remembered_until(key: &KeyRecord, now: Timestamp) -> Timestamp {
    let until = now.plus(REMEMBERED_DAYS * DAY_SECONDS);
    purge_at(key).map_or(until, |purged| until.min(purged))
}

/// Whether a key that expired at `expired_at` is still reported as expired.
pub fn is_news(expired_at: Timestamp, now: Timestamp) -> bool {
    now < expired_at.plus(EXPIRED_DAYS * DAY_SECONDS)
}

/// The first and the last expiry of keys that a notification can be due for at `now`.
pub fn window(now: Timestamp) -> (Timestamp, Timestamp) {
    (now.plus(-EXPIRED_DAYS * DAY_SECONDS), now.plus(SOON_DAYS * DAY_SECONDS))
}

/// The notification that is due at `now` for a key that expires. A key with a shorter lifetime than 3 or 14 days isn't
/// reported as about to expire: its owner chose that.
pub fn due(key: &Expiring, now: Timestamp) -> Option<KeyEvent> {
    let (left, lifetime) = (key.expires_at.0 - now.0, key.expires_at.0 - key.created_at.0);
    let within = |days| left <= days * DAY_SECONDS && lifetime > days * DAY_SECONDS;
    let kind = match left {
        ..=0 if is_news(key.expires_at, now) => Kind::Expired,
        ..=0 => return None,
        _ if key.is_rotated => return None,
        _ if within(3) => Kind::ExpiresIn3Days,
        _ if within(SOON_DAYS) => Kind::ExpiresIn14Days,
        _ => return None,
    };
    let at = if kind == Kind::Expired { key.expires_at } else { now };
    Some(KeyEvent::new(key.id, kind, at))
}

#[cfg(test)]
mod tests {
    use vega_auth::{ApiKey, KeySecret};

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    #[test]
    fn one_notification_is_due_at_a_time_for_an_expiring_key() {
        const DAY: i64 = DAY_SECONDS;
        let (soon, very_soon, expired) = (Some(Kind::ExpiresIn14Days), Some(Kind::ExpiresIn3Days), Some(Kind::Expired));
        for (left, life, expected) in [
            (14 * DAY + 1, 90 * DAY, None),
            (14 * DAY, 90 * DAY, soon),
            (3 * DAY + 1, 90 * DAY, soon),
            (3 * DAY, 90 * DAY, very_soon),
            (1, 90 * DAY, very_soon),
            (0, 90 * DAY, expired),
            (1 - 7 * DAY, 90 * DAY, expired),
            (-7 * DAY, 90 * DAY, None),
            // A lifetime that is shorter than the warning.
            (14 * DAY, 14 * DAY, None),
            (3 * DAY, 14 * DAY, very_soon),
            (3 * DAY, 3 * DAY, None),
            (60, 3600, None),
            (0, 3600, expired),
        ] {
            let id = "000000000000".parse().unwrap();
            let expires_at = NOW.plus(left);
            let key = Expiring { id, created_at: expires_at.plus(-life), expires_at, is_rotated: false };
            let kind = |key: &Expiring| due(key, NOW).map(|event| event.kind);
            assert_eq!(kind(&key), expected, "{left} of {life}");
            let (first, last) = window(NOW);
            assert!(expected.is_none() || (first..=last).contains(&expires_at), "{left} is outside of the window");
            let rotated = Expiring { is_rotated: true, ..key };
            assert_eq!(kind(&rotated), expected.filter(|kind| *kind == Kind::Expired), "rotated: its owner knows");
        }
    }

    #[test]
    fn a_notification_is_remembered_no_longer_than_its_key() {
        const DAY: i64 = DAY_SECONDS;
        let key = ApiKey::new("000000000000".parse().unwrap(), &KeySecret::from_entropy(&mut [7; 32]));
        for (expires_at, revoked_at, expected) in [
            (None, None, 90 * DAY),
            (Some(14 * DAY), None, 90 * DAY),
            (Some(-DAY), None, 89 * DAY),
            (None, Some(-2 * DAY), 88 * DAY),
            (Some(-90 * DAY), None, 0),
        ] {
            let [expires_at, revoked_at] = [expires_at, revoked_at].map(|at| at.map(|at: i64| NOW.plus(at)));
            let key = KeyRecord { expires_at, revoked_at, ..KeyRecord::new(&key, "user-1", Timestamp(0)) };
            assert_eq!(remembered_until(&key, NOW), NOW.plus(expected), "{expires_at:?} {revoked_at:?}");
        }
    }
}
