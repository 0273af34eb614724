//! When a notification is due, and how long its having been sent is remembered.

use vega_auth::Timestamp;
use vega_notification::Kind;
use vega_store::Expiring;

const DAY_SECONDS: i64 = 24 * 60 * 60;
/// How long after its expiry a key is still reported as expired.
const EXPIRED_DAYS: i64 = 7;
/// How long a network counts as known once a notification named it.
const NETWORK_DAYS: i64 = 90;
/// Longer than a stream keeps its records, and than a person takes to fix whatever blocks it.
const STREAM_DAYS: i64 = 7;

/// Until when to remember that a notification was sent: as long as something could trigger it again.
pub fn remembered_until(kind: Kind, expires_at: Option<Timestamp>, now: Timestamp) -> Timestamp {
    match kind {
        Kind::Created | Kind::FirstUsed | Kind::Leaked | Kind::Revoked | Kind::Narrowed => {
            now.plus(STREAM_DAYS * DAY_SECONDS)
        }
        Kind::NewNetwork => now.plus(NETWORK_DAYS * DAY_SECONDS),
        Kind::ExpiresIn14Days | Kind::ExpiresIn3Days | Kind::Expired => {
            expires_at.unwrap_or(now).plus((EXPIRED_DAYS + 1) * DAY_SECONDS)
        }
    }
}

/// Whether a key that expired at `expired_at` is still reported as expired.
pub fn is_news(expired_at: Timestamp, now: Timestamp) -> bool {
    now < expired_at.plus(EXPIRED_DAYS * DAY_SECONDS)
}

/// The notification that is due at `now` for a key that expires. A key with a shorter lifetime than 3 or 14 days isn't
/// reported as about to expire: its owner chose that.
pub fn due(key: &Expiring, now: Timestamp) -> Option<Kind> {
    let (left, lifetime) = (key.expires_at.0 - now.0, key.expires_at.0 - key.created_at.0);
    let within = |days| left <= days * DAY_SECONDS && lifetime > days * DAY_SECONDS;
    if left <= 0 {
        is_news(key.expires_at, now).then_some(Kind::Expired)
    } else if key.is_rotated {
        None
    } else if within(3) {
        Some(Kind::ExpiresIn3Days)
    } else if within(14) {
        Some(Kind::ExpiresIn14Days)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
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
            assert_eq!(due(&key, NOW), expected, "{left} of {life}");
            let rotated = Expiring { is_rotated: true, ..key };
            assert_eq!(due(&rotated, NOW), expected.filter(|kind| *kind == Kind::Expired), "rotated: its owner knows");
        }
    }

    #[test]
    fn a_notification_is_remembered_while_it_can_be_triggered() {
        for kind in [Kind::ExpiresIn14Days, Kind::ExpiresIn3Days, Kind::Expired] {
            let end = NOW.plus(14 * DAY_SECONDS);
            let until = remembered_until(kind, Some(end), NOW);
            let id = "000000000000".parse().unwrap();
            let key = Expiring { id, created_at: Timestamp(0), expires_at: end, is_rotated: false };
            assert_eq!(due(&key, until), None, "{kind:?}");
        }
    }
}
