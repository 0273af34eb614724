use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Groups, KeyId, ScopeName, Timestamp};

/// Who is calling: what the authorizer found out, and all that a function behind it knows of the caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CurrentUser {
    /// The stable id: the `sub` of the JWT, or of the person who owns the key.
    pub id: String,
    /// The name to show. Can change; nothing may be decided by it.
    pub username: String,
    /// The groups that count for this request. For a key: its own, never more than its owner's.
    pub groups: Groups,
    /// How they proved it.
    #[serde(flatten)]
    pub authentication: Authentication,
    /// When the access token was issued. It is for functions that must not rest on a token from before something happened to
    /// its owner, and is shown to nobody.
    #[serde(skip)]
    pub issued_at: Option<Timestamp>,
    /// When the credential stops being good; never, where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Timestamp"))]
    pub expires_at: Option<Timestamp>,
}

/// How the caller proved who they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "authenticated_by", rename_all = "snake_case")]
pub enum Authentication {
    /// An access token of the provider: a person who signed in.
    Jwt,
    /// An API key: a program of that person's.
    ApiKey {
        /// The key's public id.
        key_id: KeyId,
        /// What the key is narrowed to; not narrowed, where empty. The policy has seen to it: nothing else has to.
        scopes: Vec<ScopeName>,
    },
}

/// The request context does not hold a `CurrentUser`: the request did not come through the authorizer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request context holds no current user: member {0:?} is missing or malformed")]
pub struct ContextError(pub &'static str);

const ID: &str = "id";
const USERNAME: &str = "username";
const GROUPS: &str = "groups";
const AUTHENTICATED_BY: &str = "authenticated_by";
const KEY_ID: &str = "key_id";
const SCOPES: &str = "scopes";
const ISSUED_AT: &str = "issued_at";
const EXPIRES_AT: &str = "expires_at";

impl CurrentUser {
    /// The authorizer's `context`: a flat map of strings, since API Gateway carries nothing else to a REST integration
    /// ([output of a Lambda authorizer](https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-output.html)).
    pub fn to_context(&self) -> BTreeMap<&'static str, String> {
        let mut context = BTreeMap::from([(ID, self.id.clone()), (USERNAME, self.username.clone())]);
        // Nothing says that an empty value arrives: none is written, and a missing one grants nothing.
        if !self.groups.is_empty() {
            context.insert(GROUPS, self.groups.to_string());
        }
        match &self.authentication {
            Authentication::Jwt => {
                context.insert(AUTHENTICATED_BY, "jwt".into());
            }
            Authentication::ApiKey { key_id, scopes } => {
                context.insert(AUTHENTICATED_BY, "api_key".into());
                context.insert(KEY_ID, key_id.to_string());
                if !scopes.is_empty() {
                    let names: Vec<&str> = scopes.iter().map(ScopeName::as_str).collect();
                    context.insert(SCOPES, names.join(","));
                }
            }
        }
        for (name, instant) in [(ISSUED_AT, self.issued_at), (EXPIRES_AT, self.expires_at)] {
            if let Some(instant) = instant {
                context.insert(name, instant.to_string());
            }
        }
        context
    }

    /// Reads what [`Self::to_context`] wrote, from the request context of the function behind the authorizer.
    ///
    /// # Errors
    /// When a member is missing or malformed. The request is then unauthenticated, whatever let it through: fail closed.
    pub fn from_context<'a>(member: impl Fn(&str) -> Option<&'a str>) -> Result<Self, ContextError> {
        let required = |name| member(name).filter(|text| !text.is_empty()).ok_or(ContextError(name));
        let instant = |name| member(name).map(|text| text.parse().map_err(|_| ContextError(name))).transpose();
        Ok(Self {
            id: required(ID)?.to_owned(),
            username: required(USERNAME)?.to_owned(),
            groups: member(GROUPS).unwrap_or_default().parse().map_err(|_| ContextError(GROUPS))?,
            authentication: match required(AUTHENTICATED_BY)? {
                "jwt" => Authentication::Jwt,
                "api_key" => Authentication::ApiKey {
                    key_id: required(KEY_ID)?.parse().map_err(|_| ContextError(KEY_ID))?,
                    scopes: member(SCOPES)
                        .map(|names| names.split(',').map(str::parse).collect())
                        .transpose()
                        .map_err(|_| ContextError(SCOPES))?
                        .unwrap_or_default(),
                },
                _ => return Err(ContextError(AUTHENTICATED_BY)),
            },
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
            groups: Groups::known(["root", "user"]),
            authentication: Authentication::ApiKey {
                key_id: "7Gh2kQ9XbT4m".parse().unwrap(),
                scopes: vec!["deploy".parse().unwrap(), "read".parse().unwrap()],
            },
            issued_at: None,
            expires_at: Some(Timestamp(1_800_000_000)),
        }
    }

    #[test]
    fn what_the_authorizer_writes_the_function_reads() {
        let mut jwt_user = key_user();
        jwt_user.authentication = Authentication::Jwt;
        (jwt_user.issued_at, jwt_user.expires_at) = (Some(Timestamp(1_799_999_000)), None);
        jwt_user.groups = Groups::NONE;
        let mut wide_key = key_user();
        wide_key.authentication = Authentication::ApiKey { key_id: "7Gh2kQ9XbT4m".parse().unwrap(), scopes: vec![] };
        for user in [key_user(), jwt_user, wide_key] {
            let context = user.to_context();
            assert_eq!(CurrentUser::from_context(|name| context.get(name).map(String::as_str)), Ok(user));
        }
    }

    #[test]
    fn a_context_that_lacks_or_garbles_a_member_is_nobody() {
        for name in [ID, USERNAME, AUTHENTICATED_BY, KEY_ID] {
            let mut context = key_user().to_context();
            context.remove(name);
            assert_eq!(
                CurrentUser::from_context(|member| context.get(member).map(String::as_str)),
                Err(ContextError(name))
            );
        }
        for (name, value) in [
            (GROUPS, "admins"),
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
    fn the_api_shows_it_as_flat_json() {
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
