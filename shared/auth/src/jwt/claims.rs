use std::ops::Range;

use serde::{Deserialize, Deserializer, Serialize};

use super::OtherMembers;
use crate::{Authentication, CurrentUser, Groups, Rejection, Timestamp};

/// Tolerance for `nbf` and `iat`, because the issuer's clock can be ahead of ours. `exp` has none: an expired token is expired.
const LEEWAY_SECONDS: i64 = 30;

/// Longest accepted `sub`, `username` or `kid`, in bytes. Cognito's usernames have at most 128 characters.
pub(super) const MAX_NAME_BYTES: usize = 512;

/// The purpose of a token. Provider `custom`'s refresh tokens differ from its access tokens only in this; Cognito's refresh
/// tokens are opaque.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenUse {
    /// For the API.
    Access,
    /// For the login function, in exchange for a new access token.
    Refresh,
    /// For the client that signed the person in, never for an API.
    Id,
}

/// The claims that decide, named as in Cognito's access tokens. Provider `custom` issues the same ones.
#[derive(Debug, Serialize, Deserialize)]
pub struct Claims {
    /// The issuer.
    pub iss: String,
    /// The subject: the person's stable id.
    pub sub: String,
    /// The display name.
    pub username: String,
    /// The client that the token was issued to. Cognito's access tokens have no `aud`.
    pub client_id: String,
    /// Access, refresh or ID.
    pub token_use: TokenUse,
    /// The first second at which the token is expired.
    pub exp: i64,
    /// The first second at which the token is valid.
    #[serde(default, deserialize_with = "never_null", skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// The time of issue.
    pub iat: i64,
    /// The person's groups; absent for a person without any.
    #[serde(default, rename = "cognito:groups", skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Claims that decide nothing.
    #[serde(flatten, skip_serializing)]
    pub others: OtherMembers,
}

/// The issuer, client and purpose that a token must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected<'a> {
    /// The exact `iss`.
    pub issuer: &'a str,
    /// The exact `client_id`.
    pub client_id: &'a str,
    /// The exact `token_use`.
    pub token_use: TokenUse,
}

impl Expected<'static> {
    /// A token of provider `custom`. Its issuer is no URL, so no user pool can have it.
    pub fn custom(token_use: TokenUse) -> Self {
        Self { issuer: "vega:custom", client_id: "vega-debug", token_use }
    }
}

impl Claims {
    /// Checks the claims of a token whose signature was verified.
    ///
    /// # Errors
    /// When the token is not the expected one, not valid at `now`, or names no usable subject.
    pub fn validate(&self, expected: &Expected<'_>, now: Timestamp) -> Result<(), Rejection> {
        if self.iss != expected.issuer {
            return Err(Rejection::Issuer);
        }
        if self.token_use != expected.token_use {
            return Err(Rejection::TokenUse);
        }
        if self.client_id != expected.client_id {
            return Err(Rejection::Client);
        }
        let latest_start = now.0.saturating_add(LEEWAY_SECONDS);
        if self.iat > latest_start || self.nbf.is_some_and(|nbf| nbf > latest_start) {
            return Err(Rejection::NotYetValid);
        }
        if self.exp <= now.0 || self.exp > Timestamp::MAX.0 {
            return Err(Rejection::Expired);
        }
        let usable = |name: &str| !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.contains(char::is_control);
        if !usable(&self.sub) || !usable(&self.username) {
            return Err(Rejection::Subject);
        }
        Ok(())
    }

    /// The seconds at which [`Self::validate`] finds the token neither early nor expired.
    pub(crate) fn validity(&self) -> Range<i64> {
        self.nbf.map_or(self.iat, |nbf| nbf.max(self.iat)).saturating_sub(LEEWAY_SECONDS)..self.exp
    }

    /// The person whom the token identifies.
    pub fn into_current_user(self) -> CurrentUser {
        CurrentUser {
            groups: Groups::known(self.groups.iter().map(String::as_str)),
            id: self.sub,
            username: self.username,
            authentication: Authentication::Jwt,
            // Clamped to what RFC 3339 can write: `validate` sets no lower bound for `iat`.
            issued_at: Some(Timestamp(self.iat).plus(0)),
            expires_at: Some(Timestamp(self.exp)),
        }
    }
}

/// A claim that can be absent, but is a number if present.
fn never_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    i64::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn claims() -> Claims {
        Claims {
            iss: "vega:custom".into(),
            sub: "user-1".into(),
            username: "ada".into(),
            client_id: "vega-debug".into(),
            token_use: TokenUse::Access,
            exp: NOW.0 + 60,
            nbf: None,
            iat: NOW.0,
            groups: vec!["user".into(), "admins".into()],
            others: OtherMembers::default(),
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Claims), expected: Result<(), Rejection>) {
        let mut claims = claims();
        change(&mut claims);
        assert_eq!(claims.validate(&Expected::custom(TokenUse::Access), NOW), expected);
        let is_in_time = !matches!(expected, Err(Rejection::NotYetValid | Rejection::Expired));
        assert_eq!(claims.validity().contains(&NOW.0), is_in_time || claims.exp > Timestamp::MAX.0);
    }

    #[test]
    fn issuer_client_and_use_must_match_exactly() {
        check(|_| {}, Ok(()));
        check(|claims| claims.iss = "vega:custom/".into(), Err(Rejection::Issuer));
        check(|claims| claims.iss = String::new(), Err(Rejection::Issuer));
        check(|claims| claims.client_id = "Vega-debug".into(), Err(Rejection::Client));
        check(|claims| claims.token_use = TokenUse::Refresh, Err(Rejection::TokenUse));
        check(|claims| claims.token_use = TokenUse::Id, Err(Rejection::TokenUse));
    }

    #[test]
    fn a_token_is_valid_until_the_second_it_expires() {
        check(|claims| claims.exp = NOW.0 + 1, Ok(()));
        check(|claims| claims.exp = NOW.0, Err(Rejection::Expired));
        check(|claims| claims.exp = Timestamp::MAX.0, Ok(()));
        check(|claims| claims.exp = Timestamp::MAX.0 + 1, Err(Rejection::Expired));
    }

    #[test]
    fn iat_and_nbf_may_be_30_seconds_ahead() {
        check(|claims| claims.iat = NOW.0 + 30, Ok(()));
        check(|claims| claims.iat = NOW.0 + 31, Err(Rejection::NotYetValid));
        check(|claims| claims.nbf = Some(NOW.0 + 30), Ok(()));
        check(|claims| claims.nbf = Some(NOW.0 + 31), Err(Rejection::NotYetValid));
    }

    #[test]
    fn a_subject_has_a_printable_id_and_name() {
        for name in [String::new(), "a\n".into(), "x".repeat(MAX_NAME_BYTES + 1)] {
            check(|claims| claims.sub.clone_from(&name), Err(Rejection::Subject));
            check(|claims| claims.username = name, Err(Rejection::Subject));
        }
        check(|claims| claims.sub = "x".repeat(MAX_NAME_BYTES), Ok(()));
    }

    #[test]
    fn the_user_has_the_known_groups_and_both_times() {
        let user = claims().into_current_user();
        assert_eq!((user.id.as_str(), user.username.as_str()), ("user-1", "ada"));
        assert_eq!(user.groups, Groups::known(["user"]));
        assert_eq!((user.issued_at, user.expires_at), (Some(NOW), Some(NOW.plus(60))));
    }
}
