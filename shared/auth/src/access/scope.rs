use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// The name of a scope: a set of routes, defined in the access rules, that an API key can be limited to.
/// 1 to [`Self::MAX_CHARACTERS`] lower-case letters, digits, `-`, `_` and `:`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ScopeName(String);

impl ScopeName {
    /// Longest name: the request context that API Gateway passes on contains all of a key's scopes.
    pub const MAX_CHARACTERS: usize = 40;
    /// The scope that always exists: GET and HEAD on every route that the groups allow.
    pub const READ: &str = "read";

    pub(crate) fn read() -> Self {
        Self(Self::READ.to_owned())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not a scope name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a scope name has 1 to 40 lower-case letters, digits, - _ and :")]
pub struct InvalidScopeName;

impl FromStr for ScopeName {
    type Err = InvalidScopeName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_:".contains(&byte);
        if !(1..=Self::MAX_CHARACTERS).contains(&name.len()) || !name.bytes().all(is_plain) {
            return Err(InvalidScopeName);
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for ScopeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_name_has_1_to_40_plain_characters() {
        for good in ["read", "projects:read", "a", "0-9_x", &"x".repeat(40)] {
            assert_eq!(good.parse::<ScopeName>().unwrap().as_str(), good);
        }
        for bad in ["", "Read", "a b", "a,b", "a*", "a/b", "\u{e4}", &"x".repeat(41)] {
            assert_eq!(bad.parse::<ScopeName>(), Err(InvalidScopeName), "{bad:?}");
        }
    }
}
