use serde::Serialize;
use vega_auth::{KeyId, KeyRecord, Network, Timestamp};
use vega_store::Expiring;

use crate::task::KeyEvent;

const DAY_SECONDS: i64 = 24 * 60 * 60;
/// For so long after its end a key is said to have expired. After that it is history.
const EXPIRED_DAYS: i64 = 7;
/// For so long a network counts as known after a key was first used from there.
const NETWORK_DAYS: i64 = 90;
/// Longer than a stream keeps its records, and than a person takes to mend what stops it.
const STREAM_DAYS: i64 = 7;

/// What a notification is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The key was made.
    Created,
    /// It was used for the first time.
    FirstUsed,
    /// It was used from a network that it wasn't used from within 90 days.
    NewNetwork,
    /// It ends within 14 days.
    #[serde(rename = "expires_in_14_days")]
    ExpiresIn14Days,
    /// It ends within 3 days.
    #[serde(rename = "expires_in_3_days")]
    ExpiresIn3Days,
    /// Its time was over.
    Expired,
    /// It was found in the open, and ended.
    Leaked,
    /// It was ended.
    Revoked,
}

/// A notification, as it is sent: the `detail` of an `EventBridge` event. docs/notifications.schema.json describes it.
#[derive(Debug, Serialize)]
pub struct Notification {
    /// The same for each time that this notification is sent: `<key id>/<kind>`, and the network where there is one for each.
    pub id: String,
    /// What it is about.
    #[serde(rename = "notice")]
    pub kind: Kind,
    /// When that happened.
    pub at: Timestamp,
    /// The key's public id.
    pub key_id: KeyId,
    /// What its owner calls it.
    pub key_name: String,
    /// The owner's stable id.
    pub owner: String,
    /// The owner's name when the key was made.
    pub owner_username: String,
    /// When the key ends; `null` is never.
    pub expires_at: Option<Timestamp>,
    /// From where it was used: the network, not the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Why it ended, in the words of whoever ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Notification {
    /// The notification of what happened to the key of this record.
    pub fn new(happened: KeyEvent, record: KeyRecord) -> Self {
        let KeyEvent { key, kind, at, network } = happened;
        Self {
            id: format!("{key}/{}", kind.marker(network.as_deref())),
            kind,
            at,
            key_id: key,
            key_name: record.name,
            owner: record.owner,
            owner_username: record.owner_username,
            expires_at: record.expires_at,
            network,
            reason: record.revoked_reason.filter(|_| matches!(kind, Kind::Leaked | Kind::Revoked)),
        }
    }
}

impl Kind {
    /// What tells this notification from the others about the same key.
    pub fn marker(self, network: Option<&str>) -> String {
        let name = match self {
            Self::Created => "created",
            Self::FirstUsed => "first_used",
            Self::NewNetwork => return format!("network/{}", network.unwrap_or_default()),
            Self::ExpiresIn14Days => "expires_in_14_days",
            Self::ExpiresIn3Days => "expires_in_3_days",
            Self::Expired => "expired",
            Self::Leaked => "leaked",
            Self::Revoked => "revoked",
        };
        name.to_owned()
    }

    /// Until when it has to be known that the notification was sent: as long as something may ask for it again.
    pub fn remembered_until(self, expires_at: Option<Timestamp>, now: Timestamp) -> Timestamp {
        match self {
            Self::Created | Self::FirstUsed | Self::Leaked | Self::Revoked => now.plus(STREAM_DAYS * DAY_SECONDS),
            Self::NewNetwork => now.plus(NETWORK_DAYS * DAY_SECONDS),
            Self::ExpiresIn14Days | Self::ExpiresIn3Days | Self::Expired => {
                expires_at.unwrap_or(now).plus((EXPIRED_DAYS + 1) * DAY_SECONDS)
            }
        }
    }

    /// Whether a key that expired at `end` is still said to have.
    pub fn is_news(end: Timestamp, now: Timestamp) -> bool {
        now < end.plus(EXPIRED_DAYS * DAY_SECONDS)
    }

    /// The notification that is due at `now` for a key that expires. One that was made for less than that is not said to end soon.
    pub fn due(key: &Expiring, now: Timestamp) -> Option<Self> {
        let (left, life) = (key.expires_at.0 - now.0, key.expires_at.0 - key.created_at.0);
        let within = |days| left <= days * DAY_SECONDS && life > days * DAY_SECONDS;
        if left <= 0 {
            Self::is_news(key.expires_at, now).then_some(Self::Expired)
        } else if key.is_rotated {
            None
        } else if within(3) {
            Some(Self::ExpiresIn3Days)
        } else if within(14) {
            Some(Self::ExpiresIn14Days)
        } else {
            None
        }
    }
}

/// The network of an address, to tell an owner.
pub fn network(address: &str) -> Option<String> {
    Some(Network::around(address.parse().ok()?).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    #[test]
    fn a_key_near_its_end_is_due_for_one_notice_at_a_time() {
        const DAY: i64 = DAY_SECONDS;
        let (soon, very_soon, expired) = (Some(Kind::ExpiresIn14Days), Some(Kind::ExpiresIn3Days), Some(Kind::Expired));
        for (left, life, due) in [
            (14 * DAY + 1, 90 * DAY, None),
            (14 * DAY, 90 * DAY, soon),
            (3 * DAY + 1, 90 * DAY, soon),
            (3 * DAY, 90 * DAY, very_soon),
            (1, 90 * DAY, very_soon),
            (0, 90 * DAY, expired),
            (1 - 7 * DAY, 90 * DAY, expired),
            (-7 * DAY, 90 * DAY, None),
            // made for less than that
            (14 * DAY, 14 * DAY, None),
            (3 * DAY, 14 * DAY, very_soon),
            (3 * DAY, 3 * DAY, None),
            (60, 3600, None),
            (0, 3600, expired),
        ] {
            let id = "000000000000".parse().unwrap();
            let expires_at = NOW.plus(left);
            let key = Expiring { id, created_at: expires_at.plus(-life), expires_at, is_rotated: false };
            assert_eq!(Kind::due(&key, NOW), due, "{left} of {life}");
            let rotated = Expiring { is_rotated: true, ..key };
            assert_eq!(Kind::due(&rotated, NOW), due.filter(|kind| *kind == Kind::Expired), "its owner knows");
        }
    }

    #[test]
    fn a_notice_is_remembered_for_as_long_as_it_may_be_asked_for() {
        for kind in [Kind::ExpiresIn14Days, Kind::ExpiresIn3Days, Kind::Expired] {
            let end = NOW.plus(14 * DAY_SECONDS);
            let until = kind.remembered_until(Some(end), NOW);
            let id = "000000000000".parse().unwrap();
            let key = Expiring { id, created_at: Timestamp(0), expires_at: end, is_rotated: false };
            assert_eq!(Kind::due(&key, until), None, "{kind:?}");
        }
    }

    #[test]
    fn a_network_is_what_neighbours_share() {
        for (address, expected) in [
            ("203.0.113.7", Some("203.0.113.0/24")),
            ("203.0.113.255", Some("203.0.113.0/24")),
            ("::ffff:203.0.113.7", Some("203.0.113.0/24")),
            ("2001:db8:1:2::7", Some("2001:db8:1::/48")),
            ("2001:db8:1:ffff:ffff::", Some("2001:db8:1::/48")),
            ("", None),
            ("nonsense", None),
        ] {
            assert_eq!(network(address).as_deref(), expected, "{address}");
        }
    }
}
