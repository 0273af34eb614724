use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A group that access rules can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Operates the deployment.
    Root,
    /// Manages users and their keys.
    Operator,
    /// Uses the API.
    User,
}

impl Group {
    /// Every group, most powerful first.
    pub const ALL: [Self; 3] = [Self::Root, Self::Operator, Self::User];

    /// The name in Cognito, the access rules and the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Operator => "operator",
            Self::User => "user",
        }
    }

    /// The names of all groups.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        Self::ALL.into_iter().map(Self::name)
    }

    fn bit(self) -> u8 {
        match self {
            Self::Root => 1,
            Self::Operator => 2,
            Self::User => 4,
        }
    }
}

/// The name is not `root`, `operator` or `user`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown group {0:?}: the groups are root, operator, user")]
pub struct UnknownGroup(pub String);

impl FromStr for Group {
    type Err = UnknownGroup;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|group| group.name() == name)
            .ok_or_else(|| UnknownGroup(name.chars().take(64).collect()))
    }
}

/// A set of groups, written as a list of names in a fixed order: `["root","user"]`, or `root,user`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Groups(u8);

impl Groups {
    /// No group: authenticated, nothing more.
    pub const NONE: Self = Self(0);

    /// The known groups among `names`. A pool can have other groups: no rule can name them, so they grant nothing.
    pub fn known<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        names.into_iter().filter_map(|name| name.parse().ok()).collect()
    }

    /// Whether `group` is in the set.
    pub fn contains(self, group: Group) -> bool {
        self.0 & group.bit() != 0
    }

    /// Whether the two sets share a group.
    pub fn intersects(self, other: Self) -> bool {
        !self.intersection(other).is_empty()
    }

    /// Whether every group of this set is in `other`.
    pub fn is_subset(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// The groups in both sets.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The groups in either set.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The groups, most powerful first.
    pub fn iter(self) -> impl Iterator<Item = Group> {
        Group::ALL.into_iter().filter(move |group| self.contains(*group))
    }
}

impl FromIterator<Group> for Groups {
    fn from_iter<I: IntoIterator<Item = Group>>(groups: I) -> Self {
        Self(groups.into_iter().fold(0, |bits, group| bits | group.bit()))
    }
}

/// The names joined by commas; empty without groups.
impl fmt::Display for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, group) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            f.write_str(group.name())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Groups({self})")
    }
}

/// Reads names joined by commas. An unknown name is an error.
impl FromStr for Groups {
    type Err = UnknownGroup;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self::NONE);
        }
        text.split(',').map(str::parse).collect()
    }
}

impl Serialize for Groups {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Group::name))
    }
}

/// Reads a list of names. An unknown name is an error, whose message doesn't repeat it; tokens are read by
/// [`Groups::known`] instead.
impl<'de> Deserialize<'de> for Groups {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        names.iter().map(|name| name.parse()).collect::<Result<_, UnknownGroup>>().map_err(|_| {
            let other = de::Unexpected::Other("an unknown group");
            de::Error::invalid_value(other, &"groups among root, operator, user")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_always_written_in_the_same_order() {
        let groups = Groups::known(["user", "root", "user"]);
        assert_eq!(groups.to_string(), "root,user");
        assert_eq!(serde_json::to_string(&groups).unwrap(), r#"["root","user"]"#);
        assert_eq!("root,user".parse(), Ok(groups));
    }

    #[test]
    fn a_group_that_no_rule_can_name_grants_nothing() {
        assert_eq!(Groups::known(["Root", "root ", "root,user", "admins", ""]), Groups::NONE);
    }

    #[test]
    fn an_unknown_group_in_a_list_is_refused() {
        let error = serde_json::from_str::<Groups>(r#"["admins"]"#).unwrap_err().to_string();
        assert!(error.contains("groups among root, operator, user") && !error.contains("admins"), "{error}");
        assert_eq!("root,".parse::<Groups>(), Err(UnknownGroup(String::new())));
    }

    #[test]
    fn a_subset_has_no_group_that_the_other_lacks() {
        let all: Groups = Group::ALL.into_iter().collect();
        let user = Groups::known(["user"]);
        assert!(user.is_subset(all) && Groups::NONE.is_subset(user));
        assert!(!all.is_subset(user));
        assert!(all.intersects(user) && !Groups::NONE.intersects(all));
        assert_eq!(Groups::known(["root", "user"]).intersection(Groups::known(["operator", "user"])), user);
    }
}
