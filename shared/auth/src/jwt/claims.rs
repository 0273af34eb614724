use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::OtherMembers;
use crate::{Authentication, CurrentUser, Groups, Rejection, Timestamp, not_null};

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
    /// The display name. A machine's token has none.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The client that the token was issued to. Cognito's access tokens have no `aud`.
    pub client_id: String,
    /// Access, refresh or ID.
    pub token_use: TokenUse,
    /// The first second at which the token is expired.
    pub exp: i64,
    /// The first second at which the token is valid.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// The time of issue.
    pub iat: i64,
    /// The OAuth scopes, separated by spaces.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The person's groups; absent for a person without any.
    #[serde(default, rename = "cognito:groups", skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Claims that decide nothing.
    #[serde(flatten, skip_serializing)]
    pub others: OtherMembers,
}

/// The issuer of provider `custom`. It is no URL, so no user pool can have it.
pub(super) const CUSTOM_ISSUER: &str = "vega:custom";
/// The client of provider `custom`.
const CUSTOM_CLIENT: &str = "vega-debug";

impl Claims {
    /// Claims of provider `custom`, without groups.
    pub fn custom(token_use: TokenUse, subject: &str, username: &str, iat: Timestamp, exp: Timestamp) -> Self {
        Self {
            iss: CUSTOM_ISSUER.into(),
            sub: subject.into(),
            username: Some(username.into()),
            client_id: CUSTOM_CLIENT.into(),
            token_use,
            exp: exp.0,
            nbf: None,
            iat: iat.0,
            scope: None,
            groups: Vec::new(),
            others: OtherMembers::default(),
        }
    }

    /// The user of provider `custom`, from the claims of a token with a verified signature.
    /// Fails when they aren't valid at `now` for this use.
    pub fn into_custom_user(self, token_use: TokenUse, now: Timestamp) -> Result<CurrentUser, Rejection> {
        if self.iss != CUSTOM_ISSUER {
            return Err(Rejection::Issuer);
        }
        self.check(token_use, now)?;
        if self.client_id != CUSTOM_CLIENT {
            return Err(Rejection::Client);
        }
        self.into_person()
    }

    /// Checks an access token, apart from its issuer, client and kind.
    pub(super) fn validate(&self, now: Timestamp) -> Result<(), Rejection> {
        self.check(TokenUse::Access, now)
    }

    fn check(&self, token_use: TokenUse, now: Timestamp) -> Result<(), Rejection> {
        if self.token_use != token_use {
            return Err(Rejection::TokenUse);
        }
        let latest_start = now.0.saturating_add(LEEWAY_SECONDS);
        if self.iat > latest_start || self.nbf.is_some_and(|nbf| nbf > latest_start) {
            return Err(Rejection::NotYetValid);
        }
        if self.exp <= now.0 || self.exp > Timestamp::MAX.0 {
            return Err(Rejection::Expired);
        }
        if is_usable(&self.sub) { Ok(()) } else { Err(Rejection::Subject) }
    }

    /// The seconds at which [`Self::validate`] finds the token neither early nor expired.
    pub(crate) fn validity(&self) -> Range<i64> {
        self.nbf.map_or(self.iat, |nbf| nbf.max(self.iat)).saturating_sub(LEEWAY_SECONDS)..self.exp
    }

    /// The person whom the token identifies.
    pub(super) fn into_person(self) -> Result<CurrentUser, Rejection> {
        let username = self.username.clone().filter(|name| is_usable(name)).ok_or(Rejection::Subject)?;
        let groups = Groups::named(self.groups.iter().map(String::as_str));
        Ok(CurrentUser { username, ..self.into_user(groups, Authentication::Jwt) })
    }

    /// The client that the token was issued to, and for. It has no groups in Cognito, whatever the token says.
    pub(super) fn into_machine(self, groups: Groups) -> CurrentUser {
        let id = format!("client:{}", self.client_id);
        CurrentUser { id, ..self.into_user(groups, Authentication::Machine) }
    }

    fn into_user(self, groups: Groups, authentication: Authentication) -> CurrentUser {
        CurrentUser {
            id: self.sub,
            username: self.client_id,
            groups,
            authentication,
            oauth_scopes: self.scope.as_deref().map_or_else(Vec::new, custom_scopes),
            // Clamped to what RFC 3339 can write: `check` sets no lower bound for `iat`.
            issued_at: Some(Timestamp(self.iat).plus(0)),
            expires_at: Some(Timestamp(self.exp)),
        }
    }
}

fn is_usable(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.contains(char::is_control)
}

/// The scopes of resource servers, `{resource server}/{name}`, sorted. Cognito's own, such as `openid`, are about its own API.
fn custom_scopes(scope: &str) -> Vec<String> {
    let is_custom = |name: &&str| name.contains('/') && name.bytes().all(|byte| byte.is_ascii_graphic());
    let mut scopes: Vec<String> = scope.split(' ').filter(is_custom).map(str::to_owned).collect();
    scopes.sort_unstable();
    scopes.dedup();
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn claims() -> Claims {
        let groups = vec!["user".into(), "admins".into(), "no group".into()];
        Claims { groups, ..Claims::custom(TokenUse::Access, "user-1", "ada", NOW, NOW.plus(60)) }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Claims), expected: Result<(), Rejection>) {
        let mut claims = claims();
        change(&mut claims);
        let is_in_time = !matches!(expected, Err(Rejection::NotYetValid | Rejection::Expired));
        assert_eq!(claims.validity().contains(&NOW.0), is_in_time || claims.exp > Timestamp::MAX.0);
        assert_eq!(claims.into_custom_user(TokenUse::Access, NOW).map(|_| ()), expected);
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
            check(|claims| claims.username = Some(name), Err(Rejection::Subject));
        }
        check(|claims| claims.username = None, Err(Rejection::Subject));
        check(|claims| claims.sub = "x".repeat(MAX_NAME_BYTES), Ok(()));
    }

    #[test]
    fn the_user_has_the_tokens_groups_and_both_times() {
        let user = claims().into_custom_user(TokenUse::Access, NOW).unwrap();
        assert_eq!((user.id.as_str(), user.username.as_str()), ("user-1", "ada"));
        assert_eq!(user.groups, Groups::named(["admins", "user"]));
        assert_eq!((user.issued_at, user.expires_at), (Some(NOW), Some(NOW.plus(60))));
    }

    #[test]
    fn only_scopes_of_resource_servers_reach_the_user() {
        for (scope, expected) in [
            ("aws.cognito.signin.user.admin openid", &[][..]),
            ("b/write a/read b/write email", &["a/read", "b/write"]),
            ("https://api.example.com/v1/read", &["https://api.example.com/v1/read"]),
            ("  a/read\u{a0}x  b/\u{430} ", &[]),
        ] {
            let claims = Claims { scope: Some(scope.into()), ..claims() };
            assert_eq!(claims.into_custom_user(TokenUse::Access, NOW).unwrap().oauth_scopes, expected, "{scope}");
        }
    }
}
