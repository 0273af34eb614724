//! Request bodies, validated member by member.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Deserialize;
use vega_auth::{
    AccessRules, ApiKey, CurrentUser, Groups, HIDDEN, KeyChange, KeyRecord, Network, ScopeName, Timestamp, is_hidden,
    not_null,
};

use crate::problem::{InvalidValue, InvalidValues};

/// The longest name, in characters.
pub const MAX_NAME: usize = 100;
/// The longest description, in characters.
pub const MAX_DESCRIPTION: usize = 500;
/// Default lifetime of a key, in days.
const DEFAULT_DAYS: i64 = 90;
/// Longest lifetime a caller may request, in days; `null` means no expiry.
pub const MAX_DAYS: i64 = 3650;
const DAY_SECONDS: i64 = 24 * 60 * 60;

/// `POST /v1/api-keys`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// The name, without control or format characters, and without spaces around it.
    #[schemars(length(min = 1, max = MAX_NAME), regex(pattern = name_pattern()))]
    name: String,
    /// The purpose.
    #[serde(default)]
    #[schemars(length(max = MAX_DESCRIPTION), regex(pattern = description_pattern()))]
    description: String,
    /// A subset of the caller's groups; all of them by default.
    #[serde(default, deserialize_with = "not_null")]
    #[schemars(with = "Groups")]
    groups: Option<Groups>,
    /// The scopes that the key is limited to, by name (see `GET /v1/scopes`); unlimited by default.
    #[serde(default)]
    #[schemars(with = "Vec<ScopeName>", length(max = KeyRecord::MAX_RESTRICTIONS))]
    scopes: Vec<String>,
    /// The networks that the key can be used from; anywhere by default.
    #[serde(default)]
    #[schemars(with = "Vec<Network>", length(max = KeyRecord::MAX_RESTRICTIONS))]
    cidrs: Vec<String>,
    /// A future time within 3650 days, or `null` for never. Not together with `expires_in_days`.
    #[serde(default, deserialize_with = "not_null")]
    #[schemars(with = "Option<Timestamp>")]
    expires_at: Option<Expiry>,
    /// Days from now; 90 if neither is given.
    #[serde(default, deserialize_with = "not_null")]
    #[schemars(with = "i64", range(min = 1, max = MAX_DAYS))]
    expires_in_days: Option<i64>,
}

/// `null` means never. A missing member means the default.
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

/// `PATCH /v1/api-keys/{id}`: a JSON merge patch (RFC 7396). No member can be removed, so none can be `null`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyPatch {
    /// The name, as for a new key.
    #[serde(default, deserialize_with = "not_null")]
    #[schemars(with = "String", length(min = 1, max = MAX_NAME), regex(pattern = name_pattern()))]
    name: Option<String>,
    /// The purpose, as for a new key.
    #[serde(default, deserialize_with = "not_null")]
    #[schemars(with = "String", length(max = MAX_DESCRIPTION), regex(pattern = description_pattern()))]
    description: Option<String>,
    /// A subset of the caller's groups.
    #[serde(default, deserialize_with = "not_null")]
    #[schemars(with = "Groups")]
    groups: Option<Groups>,
    /// The complete list of scopes, which replaces the present one.
    #[serde(default, deserialize_with = "not_null")]
    #[schemars(with = "Vec<ScopeName>", length(max = KeyRecord::MAX_RESTRICTIONS))]
    scopes: Option<Vec<String>>,
    /// The complete list of networks, which replaces the present one.
    #[serde(default, deserialize_with = "not_null")]
    #[schemars(with = "Vec<Network>", length(max = KeyRecord::MAX_RESTRICTIONS))]
    cidrs: Option<Vec<String>>,
    /// Disables the key, or enables it again.
    #[serde(default, deserialize_with = "not_null")]
    #[schemars(with = "SetStatus")]
    status: Option<SetStatus>,
}

/// `POST /v1/api-keys/{id}/rotate`.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// The time for which the old key stays valid, in seconds; a day by default.
    #[serde(default, deserialize_with = "not_null")]
    #[schemars(with = "i64", range(min = 0, max = KeyRecord::MAX_OVERLAP_SECONDS))]
    overlap_seconds: Option<i64>,
}

/// The statuses that a person can set. Revocation is `DELETE`, since it can't be undone.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum SetStatus {
    /// Valid until it expires.
    Active,
    /// Rejected until it is active again.
    Disabled,
}

/// The pattern that [`name`] accepts, for the OpenAPI document.
fn name_pattern() -> String {
    format!(r"^[^\s\x00-\x1f{HIDDEN}]([^\x00-\x1f{HIDDEN}]*[^\s\x00-\x1f{HIDDEN}])?$")
}

/// The pattern that [`description`] accepts, for the OpenAPI document.
fn description_pattern() -> String {
    format!(r"^[^\x00-\x09\x0b-\x1f{HIDDEN}]*$")
}

impl NewKey {
    /// The record of `key`, created by `owner` at `now`; 422 for an invalid member.
    pub fn into_record(
        self,
        key: &ApiKey,
        owner: &CurrentUser,
        rules: &AccessRules,
        now: Timestamp,
    ) -> Result<KeyRecord, InvalidValues> {
        let mut invalid = InvalidValues::default();
        let record = KeyRecord {
            owner_username: owner.username.clone(),
            name: invalid.take(name(self.name)),
            description: invalid.take(description(self.description)),
            groups: invalid.take(groups(self.groups.unwrap_or_else(|| owner.groups.clone()), owner)),
            scopes: scopes(&self.scopes, rules, &mut invalid),
            cidrs: cidrs(&self.cidrs, &mut invalid),
            expires_at: invalid.take(expiry(self.expires_at, self.expires_in_days, now)),
            ..KeyRecord::new(key, &owner.id, now)
        };
        invalid.check(record)
    }
}

impl KeyPatch {
    /// The change; 422 for an invalid member.
    pub fn check(self, owner: &CurrentUser, rules: &AccessRules) -> Result<KeyChange, InvalidValues> {
        let mut invalid = InvalidValues::default();
        let change = KeyChange {
            name: self.name.map(|text| invalid.take(name(text))),
            description: self.description.map(|text| invalid.take(description(text))),
            groups: self.groups.map(|wanted| invalid.take(groups(wanted, owner))),
            scopes: self.scopes.map(|wanted| scopes(&wanted, rules, &mut invalid)),
            cidrs: self.cidrs.map(|wanted| cidrs(&wanted, &mut invalid)),
            is_enabled: self.status.map(|status| match status {
                SetStatus::Active => true,
                SetStatus::Disabled => false,
            }),
        };
        invalid.check(change)
    }
}

impl Rotation {
    /// The overlap in seconds; 422 if it is out of range.
    pub fn check(self) -> Result<i64, InvalidValue> {
        let overlap = self.overlap_seconds.unwrap_or(DAY_SECONDS);
        if !(0..=KeyRecord::MAX_OVERLAP_SECONDS).contains(&overlap) {
            return Err(InvalidValue::Overlap);
        }
        Ok(overlap)
    }
}

fn name(text: String) -> Result<String, InvalidValue> {
    let count = text.chars().count();
    if text.trim().is_empty() || text.trim() != text || count > MAX_NAME || text.contains(is_hidden) {
        return Err(InvalidValue::Name);
    }
    Ok(text)
}

fn description(text: String) -> Result<String, InvalidValue> {
    let is_too_long = text.chars().count() > MAX_DESCRIPTION;
    if is_too_long || text.contains(|character: char| is_hidden(character) && character != '\n') {
        return Err(InvalidValue::Description);
    }
    Ok(text)
}

/// A key never outranks its owner.
fn groups(wanted: Groups, owner: &CurrentUser) -> Result<Groups, InvalidValue> {
    if !wanted.is_subset(&owner.groups) {
        return Err(InvalidValue::Groups(owner.groups.clone()));
    }
    Ok(wanted)
}

fn scopes(wanted: &[String], rules: &AccessRules, invalid: &mut InvalidValues) -> Vec<ScopeName> {
    each("scopes", wanted, invalid, |index, name| {
        let name = name.parse().ok().filter(|name| rules.scopes().any(|(known, _)| known == name));
        name.ok_or(InvalidValue::Scope(index))
    })
}

fn cidrs(wanted: &[String], invalid: &mut InvalidValues) -> Vec<Network> {
    each("cidrs", wanted, invalid, |index, text| text.parse().map_err(|problem| InvalidValue::Network(index, problem)))
}

/// Sorted and deduplicated. An invalid entry is reported by index, never echoed.
fn each<T: Ord>(
    member: &'static str,
    wanted: &[String],
    invalid: &mut InvalidValues,
    parse: impl Fn(usize, &str) -> Result<T, InvalidValue>,
) -> Vec<T> {
    if wanted.len() > KeyRecord::MAX_RESTRICTIONS {
        return invalid.take(Err(InvalidValue::TooMany(member)));
    }
    let parsed = wanted.iter().enumerate().filter_map(|(index, text)| invalid.take(parse(index, text).map(Some)));
    parsed.collect::<BTreeSet<T>>().into_iter().collect()
}

fn expiry(at: Option<Expiry>, in_days: Option<i64>, now: Timestamp) -> Result<Option<Timestamp>, InvalidValue> {
    match (at, in_days) {
        (Some(_), Some(_)) => Err(InvalidValue::TwoExpiries),
        (Some(Expiry::Never), None) => Ok(None),
        (Some(Expiry::At(at)), None) if at > now && at <= now.plus(MAX_DAYS * DAY_SECONDS) => Ok(Some(at)),
        (Some(Expiry::At(_)), None) => Err(InvalidValue::ExpiresAt),
        (None, days) => {
            let days = days.unwrap_or(DEFAULT_DAYS);
            if !(1..=MAX_DAYS).contains(&days) {
                return Err(InvalidValue::ExpiresInDays);
            }
            Ok(Some(now.plus(days * DAY_SECONDS)))
        }
    }
}

#[cfg(test)]
mod tests {
    use vega_auth::{Authentication, KeySecret};

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn owner() -> CurrentUser {
        CurrentUser {
            id: "user-1".into(),
            username: "ada".into(),
            groups: Groups::named(["operator", "user"]),
            authentication: Authentication::Jwt,
            oauth_scopes: Vec::new(),
            issued_at: None,
            expires_at: None,
        }
    }

    fn rules() -> AccessRules {
        r#"{"rules":[{"route":"* /v1/*","groups":"any"}],"scopes":{"deploy":["POST /v1/deployments/*"]}}"#.parse().unwrap()
    }

    fn wanted(json: &str) -> Result<KeyRecord, String> {
        let new: NewKey = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let key = ApiKey::new("000000000000".parse().unwrap(), &KeySecret::from_entropy(&mut [7; 32]));
        new.into_record(&key, &owner(), &rules(), NOW).map_err(|problem| problem.to_string())
    }

    #[test]
    fn a_new_record_has_the_members_that_were_sent() {
        let key = wanted(
            r#"{"name":"ci","description":"for the pipeline","groups":["user"],"scopes":["read"],"cidrs":["192.0.2.0/24"]}"#,
        );
        let key = key.unwrap();
        assert_eq!(
            (key.name.as_str(), key.description.as_str(), key.groups),
            ("ci", "for the pipeline", Groups::named(["user"]))
        );
        assert_eq!((key.scopes[0].as_str(), key.cidrs[0].to_string().as_str()), ("read", "192.0.2.0/24"));
        assert_eq!((key.owner.as_str(), key.owner_username.as_str(), key.created_at), ("user-1", "ada", NOW));
    }

    #[test]
    fn a_key_defaults_to_its_owners_groups_and_90_days() {
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
    fn restrictions_are_sorted_deduplicated_and_normalised() {
        let key =
            wanted(r#"{"name":"ci","scopes":["read","deploy","read"],"cidrs":["2001:0DB8::/32","203.0.113.0/24"]}"#);
        let key = key.unwrap();
        let texts = |list: &[Network]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(key.scopes.iter().map(ScopeName::as_str).collect::<Vec<_>>(), ["deploy", "read"]);
        assert_eq!(texts(&key.cidrs), ["203.0.113.0/24", "2001:db8::/32"]);
        let none = wanted(r#"{"name":"ci"}"#).unwrap();
        assert!(none.scopes.is_empty());
        assert!(none.cidrs.is_empty());
    }

    #[test]
    fn an_invalid_member_is_rejected_by_name() {
        let many = |member: &str, entry: &str| serde_json::json!({ "name": "ci", member: vec![entry; 21] }).to_string();
        let (many_scopes, many_cidrs) = (many("scopes", "read"), many("cidrs", "203.0.113.0/24"));
        let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(10_000));
        for (json, says) in [
            ("{}", "missing field `name`"),
            (r#"{"name":""}"#, "name:"),
            (r#"{"name":" ci"}"#, "name:"),
            (r#"{"name":"a\u0000b"}"#, "name:"),
            (long.as_str(), "name:"),
            ("{\"name\":\"x\u{202e}gnp.exe\"}", "name:"),
            ("{\"name\":\"ci\u{200b}\"}", "name:"),
            ("{\"name\":\"ci\",\"description\":\"\u{2066}\"}", "description:"),
            (r#"{"name":"ci","owner":"user-2"}"#, "unknown field `owner`"),
            (r#"{"name":"ci","groups":["root"]}"#, "groups:"),
            (r#"{"name":"ci","groups":["admins"]}"#, "groups:"),
            (r#"{"name":"ci","groups":["my admins"]}"#, "a name that no group can have"),
            (r#"{"name":"ci","scopes":["read","gone"]}"#, "scopes[1]: there is no such scope"),
            (r#"{"name":"ci","scopes":["Read"]}"#, "scopes[0]: there is no such scope"),
            (r#"{"name":"ci","scopes":"read"}"#, "invalid type"),
            (r#"{"name":"ci","scopes":null}"#, "invalid type"),
            (many_scopes.as_str(), "scopes: expected at most 20"),
            (r#"{"name":"ci","cidrs":["203.0.113.0/24","203.0.113.7/24"]}"#, "cidrs[1]: the address has bits set"),
            (r#"{"name":"ci","cidrs":["203.0.113.7"]}"#, "cidrs[0]: expected a network"),
            (r#"{"name":"ci","cidrs":["::ffff:203.0.113.0/120"]}"#, "cidrs[0]: an IPv4 network"),
            (many_cidrs.as_str(), "cidrs: expected at most 20"),
            (r#"{"name":"ci","expires_at":"2027-01-15T08:00:00Z"}"#, "expires_at:"),
            (r#"{"name":"ci","expires_at":"9999-01-01T00:00:00Z"}"#, "expires_at:"),
            (r#"{"name":"ci","expires_at":"tomorrow"}"#, "RFC 3339"),
            (r#"{"name":"ci","expires_in_days":0}"#, "expires_in_days:"),
            (r#"{"name":"ci","expires_in_days":9223372036854775807}"#, "expires_in_days:"),
            (r#"{"name":"ci","expires_in_days":1,"expires_at":null}"#, "give only one"),
        ] {
            let said = wanted(json).unwrap_err();
            assert!(said.contains(says), "{says}: {said}");
        }
    }

    #[test]
    fn all_invalid_values_are_reported_at_once() {
        let said = wanted(r#"{"name":"","scopes":["read","gone"],"cidrs":["x","10.0.0.0/8","y"],"expires_in_days":0}"#);
        let said = said.unwrap_err();
        for member in ["name: ", "; scopes[1]: ", "; cidrs[0]: ", "; cidrs[2]: ", "; expires_in_days: "] {
            assert!(said.contains(member), "{member}{said}");
        }
    }

    #[test]
    fn a_patch_changes_what_it_names_and_cannot_revoke_or_clear() {
        let patch = |json: &str| -> Result<KeyChange, String> {
            let patch: KeyPatch = serde_json::from_str(json).map_err(|error| error.to_string())?;
            patch.check(&owner(), &rules()).map_err(|problem| problem.to_string())
        };
        assert_eq!(patch(r#"{"status":"disabled"}"#).unwrap().is_enabled, Some(false));
        assert!(patch("{}").unwrap().name.is_none());
        assert!(patch("{}").unwrap().scopes.is_none());
        assert_eq!(
            patch(r#"{"scopes":[],"cidrs":[]}"#).unwrap().scopes,
            Some(vec![]),
            "the key is not narrowed any more"
        );
        for json in [
            r#"{"status":"revoked"}"#,
            r#"{"name":null}"#,
            r#"{"groups":["root"]}"#,
            r#"{"scopes":["gone"]}"#,
            r#"{"scopes":null}"#,
            r#"{"cidrs":["10.0.0.1/8"]}"#,
            r#"{"expires_at":null}"#,
        ] {
            assert!(patch(json).is_err(), "{json}");
        }
    }
}
