//! What people send: checked here once, member by member.

use serde::{Deserialize, Deserializer};
use vega_auth::{CurrentUser, Groups, KeyStatus, Timestamp};
use vega_http::Problem;
use vega_store::Change;

/// The longest name, in characters.
const MAX_NAME: usize = 100;
/// The longest description, in characters.
const MAX_DESCRIPTION: usize = 500;
/// How long a key lives unless asked otherwise, in days.
const DEFAULT_DAYS: i64 = 90;
/// The longest expiry that can be asked for; `null` is for ever.
const MAX_DAYS: i64 = 3650;
const DAY_SECONDS: i64 = 24 * 60 * 60;

/// `POST /v1/api-keys`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    name: String,
    #[serde(default)]
    description: String,
    /// The owner's groups, where left out.
    groups: Option<Groups>,
    /// A date, or `null` for never.
    #[serde(default, deserialize_with = "not_null")]
    expires_at: Option<Expiry>,
    /// Days from now.
    expires_in_days: Option<i64>,
}

/// `null` is for ever, which a member that isn't there is not.
#[derive(Clone, Copy, Deserialize)]
#[serde(from = "Option<Timestamp>")]
enum Expiry {
    Never,
    At(Timestamp),
}

impl From<Option<Timestamp>> for Expiry {
    fn from(at: Option<Timestamp>) -> Self {
        at.map_or(Self::Never, Self::At)
    }
}

/// A new key's attributes, all of them good.
#[derive(Debug)]
pub struct Wanted {
    pub name: String,
    pub description: String,
    pub groups: Groups,
    pub expires_at: Option<Timestamp>,
}

/// `PATCH /v1/api-keys/{id}`: a JSON merge patch (RFC 7396). None of the members can be removed, so none can be `null`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyPatch {
    #[serde(default, deserialize_with = "not_null")]
    name: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    description: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    groups: Option<Groups>,
    #[serde(default, deserialize_with = "not_null")]
    status: Option<SetStatus>,
}

/// What a person may set. Revoking is `DELETE`, since it can't be undone.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SetStatus {
    Active,
    Disabled,
}

impl NewKey {
    /// # Errors
    /// 422 with the member that is not good.
    pub fn check(self, owner: &CurrentUser, now: Timestamp) -> Result<Wanted, Problem> {
        Ok(Wanted {
            name: name(self.name)?,
            description: description(self.description)?,
            groups: groups(self.groups.unwrap_or(owner.groups), owner)?,
            expires_at: expiry(self.expires_at, self.expires_in_days, now)?,
        })
    }
}

impl KeyPatch {
    /// # Errors
    /// 422 with the member that is not good.
    pub fn check(self, owner: &CurrentUser) -> Result<Change, Problem> {
        Ok(Change {
            name: self.name.map(name).transpose()?,
            description: self.description.map(description).transpose()?,
            groups: self.groups.map(|wanted| groups(wanted, owner)).transpose()?,
            status: self.status.map(|status| match status {
                SetStatus::Active => KeyStatus::Active,
                SetStatus::Disabled => KeyStatus::Disabled,
            }),
        })
    }
}

fn name(text: String) -> Result<String, Problem> {
    let count = text.chars().count();
    if text.trim().is_empty() || text.trim() != text || count > MAX_NAME || text.contains(char::is_control) {
        return Err(invalid(format!(
            "name: expected 1 to {MAX_NAME} characters, without control characters or spaces around it"
        )));
    }
    Ok(text)
}

fn description(text: String) -> Result<String, Problem> {
    if text.chars().count() > MAX_DESCRIPTION
        || text.contains(|character: char| character.is_control() && character != '\n')
    {
        return Err(invalid(format!("description: expected at most {MAX_DESCRIPTION} characters")));
    }
    Ok(text)
}

/// A key never outranks its owner.
fn groups(wanted: Groups, owner: &CurrentUser) -> Result<Groups, Problem> {
    if !wanted.is_subset(owner.groups) {
        return Err(invalid(format!("groups: a key can have only groups that you are in: {}", owner.groups)));
    }
    Ok(wanted)
}

fn expiry(at: Option<Expiry>, in_days: Option<i64>, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
    match (at, in_days) {
        (Some(_), Some(_)) => Err(invalid("expires_at, expires_in_days: give one of them")),
        (Some(Expiry::Never), None) => Ok(None),
        (Some(Expiry::At(at)), None) if at > now && at <= now.plus(MAX_DAYS * DAY_SECONDS) => Ok(Some(at)),
        (Some(Expiry::At(_)), None) => {
            Err(invalid(format!("expires_at: expected a time ahead, within {MAX_DAYS} days, or null for never")))
        }
        (None, days) => {
            let days = days.unwrap_or(DEFAULT_DAYS);
            if !(1..=MAX_DAYS).contains(&days) {
                return Err(invalid(format!("expires_in_days: expected 1 to {MAX_DAYS}")));
            }
            Ok(Some(now.plus(days * DAY_SECONDS)))
        }
    }
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(422, "invalid_value", detail)
}

/// A member that is there. Without this serde takes `null` for one that isn't.
fn not_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use vega_auth::Authentication;

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn owner() -> CurrentUser {
        CurrentUser {
            id: "user-1".into(),
            username: "ada".into(),
            groups: Groups::known(["operator", "user"]),
            authentication: Authentication::Jwt,
            expires_at: None,
        }
    }

    fn wanted(json: &str) -> Result<Wanted, String> {
        let new: NewKey = serde_json::from_str(json).map_err(|error| error.to_string())?;
        new.check(&owner(), NOW).map_err(|problem| problem.detail)
    }

    #[test]
    fn a_key_has_its_owners_groups_and_90_days_unless_asked_otherwise() {
        let key = wanted(r#"{"name":"ci"}"#).unwrap();
        assert_eq!((key.groups, key.expires_at), (owner().groups, Some(NOW.plus(90 * DAY_SECONDS))));
        assert_eq!(wanted(r#"{"name":"ci","expires_at":null}"#).unwrap().expires_at, None);
        assert_eq!(wanted(r#"{"name":"ci","expires_in_days":7}"#).unwrap().expires_at, Some(NOW.plus(7 * DAY_SECONDS)));
        assert_eq!(
            wanted(r#"{"name":"ci","expires_at":"2027-01-15T08:00:01Z"}"#).unwrap().expires_at,
            Some(NOW.plus(1))
        );
    }

    #[test]
    fn what_is_not_good_is_refused_by_its_name() {
        let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(10_000));
        for (json, says) in [
            ("{}", "missing field `name`"),
            (r#"{"name":""}"#, "name:"),
            (r#"{"name":" ci"}"#, "name:"),
            (r#"{"name":"a\u0000b"}"#, "name:"),
            (long.as_str(), "name:"),
            (r#"{"name":"ci","owner":"user-2"}"#, "unknown field `owner`"),
            (r#"{"name":"ci","groups":["root"]}"#, "groups:"),
            (r#"{"name":"ci","groups":["admins"]}"#, "unknown group"),
            (r#"{"name":"ci","expires_at":"2027-01-15T08:00:00Z"}"#, "expires_at:"),
            (r#"{"name":"ci","expires_at":"9999-01-01T00:00:00Z"}"#, "expires_at:"),
            (r#"{"name":"ci","expires_at":"tomorrow"}"#, "RFC 3339"),
            (r#"{"name":"ci","expires_in_days":0}"#, "expires_in_days:"),
            (r#"{"name":"ci","expires_in_days":9223372036854775807}"#, "expires_in_days:"),
            (r#"{"name":"ci","expires_in_days":1,"expires_at":null}"#, "give one"),
        ] {
            let said = wanted(json).unwrap_err();
            assert!(said.contains(says), "{says}: {said}");
        }
    }

    #[test]
    fn a_patch_changes_what_it_names_and_cannot_revoke_or_clear() {
        let patch = |json: &str| -> Result<Change, String> {
            let patch: KeyPatch = serde_json::from_str(json).map_err(|error| error.to_string())?;
            patch.check(&owner()).map_err(|problem| problem.detail)
        };
        assert_eq!(patch(r#"{"status":"disabled"}"#).unwrap().status, Some(KeyStatus::Disabled));
        assert!(patch("{}").unwrap().name.is_none());
        for json in [r#"{"status":"revoked"}"#, r#"{"name":null}"#, r#"{"groups":["root"]}"#, r#"{"expires_at":null}"#]
        {
            assert!(patch(json).is_err(), "{json}");
        }
    }
}
