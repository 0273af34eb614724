use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Groups, KeyId, Network, ScopeName, Timestamp};

/// The caller, as the authorizer identified them. The functions behind it know nothing else about the caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CurrentUser {
    /// The stable id: the `sub` of the person, also for a key that they own; `{pool id}:{sub}` for a person of another user
    /// pool; `client:{client id}` for a machine.
    pub id: String,
    /// The display name; a machine's client id. It can change, so nothing may be decided by it.
    pub username: String,
    /// The groups that apply to this request. A key has its own, never more than its owner's.
    pub groups: Groups,
    /// The kind of credential.
    #[serde(flatten)]
    pub authentication: Authentication,
    /// The OAuth scopes of resource servers in an access token, `{resource server}/{name}`, sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(default))]
    pub oauth_scopes: Vec<String>,
    /// When the access token was issued, for functions that must not trust a token from before a change to its owner. Never
    /// shown to anybody.
    #[serde(skip)]
    pub issued_at: Option<Timestamp>,
    /// When the credential expires; absent if never.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Timestamp"))]
    pub expires_at: Option<Timestamp>,
}

/// The kind of credential that identified the caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "authenticated_by", rename_all = "snake_case")]
pub enum Authentication {
    /// An access token of the provider's own user pool: a person who signed in.
    Jwt,
    /// An access token of another user pool: a person who can't own API keys.
    OtherPool,
    /// An access token by the grant `client_credentials`: a program that acts for itself.
    Machine,
    /// An API key: a program that acts for its owner.
    ApiKey {
        /// The key's public id.
        key_id: KeyId,
        /// The scopes the key is limited to; unlimited if empty. The policy enforces them, so no function has to.
        scopes: Vec<ScopeName>,
        /// The networks the key is limited to; unlimited if empty. The policy enforces them too. Only the authorizer knows
        /// them: they are not in the request context.
        #[serde(skip)]
        networks: Vec<Network>,
    },
}

impl Authentication {
    /// The name in the request context and the log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::OtherPool => "other_pool",
            Self::Machine => "machine",
            Self::ApiKey { .. } => "api_key",
        }
    }

    /// Whether the caller is a person, rather than a program.
    pub fn is_person(&self) -> bool {
        match self {
            Self::Jwt | Self::OtherPool => true,
            Self::Machine | Self::ApiKey { .. } => false,
        }
    }
}

/// The request context contains no `CurrentUser`: the request did not come through the authorizer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request context contains no current user: member {0:?} is missing or malformed")]
pub struct ContextError(pub &'static str);

const ID: &str = "id";
const USERNAME: &str = "username";
const GROUPS: &str = "groups";
const AUTHENTICATED_BY: &str = "authenticated_by";
const KEY_ID: &str = "key_id";
const SCOPES: &str = "scopes";
const OAUTH_SCOPES: &str = "oauth_scopes";
const ISSUED_AT: &str = "issued_at";
const EXPIRES_AT: &str = "expires_at";

impl CurrentUser {
    /// The authorizer's `context`: a flat map of strings, since API Gateway carries nothing else to a REST integration
    /// ([output of a Lambda authorizer](https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-output.html)).
    pub fn to_context(&self) -> BTreeMap<&'static str, String> {
        let mut context = BTreeMap::from([(ID, self.id.clone()), (USERNAME, self.username.clone())]);
        // AWS doesn't document that an empty value arrives, so none is written. A missing one grants nothing. Groups and OAuth
        // scopes can contain a comma, not a space.
        if !self.groups.is_empty() {
            context.insert(GROUPS, self.groups.to_string());
        }
        context.insert(AUTHENTICATED_BY, self.authentication.name().into());
        if let Authentication::ApiKey { key_id, scopes, networks: _ } = &self.authentication {
            context.insert(KEY_ID, key_id.to_string());
            if !scopes.is_empty() {
                let names: Vec<&str> = scopes.iter().map(ScopeName::as_str).collect();
                context.insert(SCOPES, names.join(","));
            }
        }
        if !self.oauth_scopes.is_empty() {
            context.insert(OAUTH_SCOPES, self.oauth_scopes.join(" "));
        }
        for (name, instant) in [(ISSUED_AT, self.issued_at), (EXPIRES_AT, self.expires_at)] {
            if let Some(instant) = instant {
                context.insert(name, instant.to_string());
            }
        }
        context
    }

    /// Reads the members of [`Self::to_context`] from a function's request context.
    /// Fails when a member is missing or malformed. The request then counts as unauthenticated: fail closed.
    pub fn from_context<'a>(member: impl Fn(&str) -> Option<&'a str>) -> Result<Self, ContextError> {
        let required = |name| member(name).filter(|text| !text.is_empty()).ok_or(ContextError(name));
        let instant = |name| member(name).map(|text| text.parse().map_err(|_| ContextError(name))).transpose();
        Ok(Self {
            id: required(ID)?.to_owned(),
            username: required(USERNAME)?.to_owned(),
            groups: member(GROUPS).unwrap_or_default().parse().map_err(|_| ContextError(GROUPS))?,
            authentication: match required(AUTHENTICATED_BY)? {
                "jwt" => Authentication::Jwt,
                "other_pool" => Authentication::OtherPool,
                "machine" => Authentication::Machine,
                "api_key" => Authentication::ApiKey {
                    key_id: required(KEY_ID)?.parse().map_err(|_| ContextError(KEY_ID))?,
                    scopes: member(SCOPES)
                        .map(|names| names.split(',').map(str::parse).collect())
                        .transpose()
                        .map_err(|_| ContextError(SCOPES))?
                        .unwrap_or_default(),
                    networks: Vec::new(),
                },
                _ => return Err(ContextError(AUTHENTICATED_BY)),
            },
            oauth_scopes: member(OAUTH_SCOPES)
                .map_or_else(Vec::new, |names| names.split(' ').map(str::to_owned).collect()),
            issued_at: instant(ISSUED_AT)?,
            expires_at: instant(EXPIRES_AT)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_user() -> CurrentUser {
        CurrentUser {
            id: "user-1".into(),
            username: "ada".into(),
            groups: Groups::named(["root", "user"]),
            authentication: Authentication::ApiKey {
                key_id: "7Gh2kQ9XbT4m".parse().unwrap(),
                scopes: vec!["deploy".parse().unwrap(), "read".parse().unwrap()],
                networks: vec![],
            },
            oauth_scopes: vec![],
            issued_at: None,
            expires_at: Some(Timestamp(1_800_000_000)),
        }
    }

    #[test]
    fn a_function_reads_the_user_that_the_authorizer_wrote() {
        let mut jwt_user = key_user();
        jwt_user.authentication = Authentication::Jwt;
        (jwt_user.issued_at, jwt_user.expires_at) = (Some(Timestamp(1_799_999_000)), None);
        jwt_user.groups = Groups::NONE;
        let mut wide_key = key_user();
        wide_key.authentication =
            Authentication::ApiKey { key_id: "7Gh2kQ9XbT4m".parse().unwrap(), scopes: vec![], networks: vec![] };
        let mut machine = jwt_user.clone();
        machine.authentication = Authentication::Machine;
        machine.oauth_scopes = vec!["https://api.example.com/read,write".into(), "orders/read".into()];
        let guest = CurrentUser { authentication: Authentication::OtherPool, ..jwt_user.clone() };
        for user in [key_user(), jwt_user, machine, guest, wide_key] {
            let context = user.to_context();
            assert_eq!(CurrentUser::from_context(|name| context.get(name).map(String::as_str)), Ok(user));
        }
    }

    #[test]
    fn a_missing_or_malformed_member_means_no_user() {
        for name in [ID, USERNAME, AUTHENTICATED_BY, KEY_ID] {
            let mut context = key_user().to_context();
            context.remove(name);
            assert_eq!(
                CurrentUser::from_context(|member| context.get(member).map(String::as_str)),
                Err(ContextError(name))
            );
        }
        for (name, value) in [
            (GROUPS, "user "),
            (AUTHENTICATED_BY, "trust me"),
            (KEY_ID, "short"),
            (EXPIRES_AT, "soon"),
            (ISSUED_AT, ""),
            (SCOPES, "read,"),
            (SCOPES, ""),
        ] {
            let mut context = key_user().to_context();
            context.insert(name, value.into());
            assert_eq!(
                CurrentUser::from_context(|member| context.get(member).map(String::as_str)),
                Err(ContextError(name))
            );
        }
    }

    #[test]
    fn a_context_without_groups_grants_none() {
        let mut context = key_user().to_context();
        context.remove(GROUPS);
        let user = CurrentUser::from_context(|member| context.get(member).map(String::as_str)).unwrap();
        assert_eq!(user.groups, Groups::NONE);
    }

    #[test]
    fn a_user_is_flat_json() {
        assert_eq!(
            serde_json::to_value(key_user()).unwrap(),
            serde_json::json!({
                "id": "user-1", "username": "ada", "groups": ["root", "user"],
                "authenticated_by": "api_key", "key_id": "7Gh2kQ9XbT4m", "scopes": ["deploy", "read"],
                "expires_at": "2027-01-15T08:00:00Z"
            })
        );
    }
}
