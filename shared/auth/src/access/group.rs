use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::is_hidden;

/// The name of a group of the user pool. Two names are equal if their characters are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(Arc<str>);

impl Group {
    /// Longest name, in characters.
    pub const MAX_CHARACTERS: usize = 128;

    /// The name in Cognito, the access rules and the API.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// The name is not one that a group can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a group's name has 1 to {max} characters, none of them a space or hidden", max = Group::MAX_CHARACTERS)]
pub struct InvalidGroup;

/// Accepts every name that Cognito does: `[\p{L}\p{M}\p{S}\p{N}\p{P}]+`
/// ([reference](https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_CreateGroup.html)). Commas are
/// possible, spaces are not.
impl FromStr for Group {
    type Err = InvalidGroup;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let is_plain = |character: char| !character.is_whitespace() && !is_hidden(character);
        if !(1..=Self::MAX_CHARACTERS).contains(&name.chars().count()) || !name.chars().all(is_plain) {
            return Err(InvalidGroup);
        }
        Ok(Self(name.into()))
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A set of groups, written as a sorted list of names: `["root","user"]`, or `root user`.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Groups(Vec<Group>);

impl Groups {
    /// No group: authenticated, nothing more.
    pub const NONE: Self = Self(Vec::new());

    /// The groups with these names. No group can have an invalid one, so it grants nothing.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        names.into_iter().filter_map(|name| name.parse().ok()).collect()
    }

    /// Whether `group` is in the set.
    pub fn contains(&self, group: &Group) -> bool {
        self.position(group).is_some()
    }

    /// The place of `group` in the set.
    pub(super) fn position(&self, group: &Group) -> Option<usize> {
        self.0.binary_search(group).ok()
    }

    /// Whether the two sets share a group.
    pub fn intersects(&self, other: &Self) -> bool {
        self.iter().any(|group| other.contains(group))
    }

    /// Whether every group of this set is in `other`.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.iter().all(|group| other.contains(group))
    }

    /// The groups in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.iter().filter(|group| other.contains(group)).cloned().collect())
    }

    /// The groups in this set alone.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        Self(self.iter().filter(|group| !other.contains(group)).cloned().collect())
    }

    /// The groups in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.iter().chain(other.iter()).cloned().collect()
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of groups.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The groups, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &Group> {
        self.0.iter()
    }
}

impl FromIterator<Group> for Groups {
    fn from_iter<I: IntoIterator<Item = Group>>(groups: I) -> Self {
        let mut groups: Vec<Group> = groups.into_iter().collect();
        groups.sort_unstable();
        groups.dedup();
        Self(groups)
    }
}

/// The names joined by spaces, which no name contains; empty without groups.
impl fmt::Display for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, group) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
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

/// Reads names joined by spaces. An invalid name is an error.
impl FromStr for Groups {
    type Err = InvalidGroup;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self::NONE);
        }
        text.split(' ').map(str::parse).collect()
    }
}

impl Serialize for Groups {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Group::name))
    }
}

/// Reads a list of names. An invalid name is an error, whose message doesn't repeat it; tokens are read by
/// [`Groups::named`] instead.
impl<'de> Deserialize<'de> for Groups {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        names.iter().map(|name| name.parse()).collect::<Result<_, InvalidGroup>>().map_err(|_| {
            let other = de::Unexpected::Other("a name that no group can have");
            de::Error::invalid_value(other, &"names of groups")
        })
    }
}

#[cfg(test)]
mod tests {
    use icu_properties::CodePointMapData;
    use icu_properties::props::GeneralCategory as Category;

    use super::*;

    #[test]
    fn groups_are_always_written_in_the_same_order() {
        let groups = Groups::named(["user", "root", "user"]);
        assert_eq!(groups.to_string(), "root user");
        assert_eq!(serde_json::to_string(&groups).unwrap(), r#"["root","user"]"#);
        assert_eq!("root user".parse(), Ok(groups));
    }

    #[test]
    fn a_group_has_any_name_that_cognito_allows() {
        let category = CodePointMapData::<Category>::new();
        for character in '\0'..=char::MAX {
            let category = category.get(character);
            // A token can contain a letter that is newer than our tables: unassigned and private ones are accepted too.
            let is_refused = matches!(
                category,
                Category::Control
                    | Category::Format
                    | Category::SpaceSeparator
                    | Category::LineSeparator
                    | Category::ParagraphSeparator
            );
            assert_eq!(character.to_string().parse::<Group>().is_err(), is_refused, "{character:?}");
        }
        let longest = "\u{1f600}".repeat(Group::MAX_CHARACTERS);
        assert_eq!(longest.parse::<Group>().unwrap().name(), longest);
        for name in ["", "a b", "root ", &format!("{longest}x")] {
            assert_eq!(name.parse::<Group>(), Err(InvalidGroup), "{name:?}");
        }
    }

    #[test]
    fn names_with_commas_and_quotes_stay_apart() {
        let groups = Groups::named(["a,b", "a", "\"b\"", "[root]", "r\u{f6}\u{f6}t"]);
        assert_eq!(groups.len(), 5);
        assert_eq!(groups.to_string().parse(), Ok(groups.clone()));
        assert_eq!(serde_json::from_str::<Groups>(&serde_json::to_string(&groups).unwrap()).unwrap(), groups);
        assert!(!groups.contains(&"b".parse().unwrap()) && !groups.contains(&"root".parse().unwrap()));
    }

    #[test]
    fn an_invalid_group_grants_nothing_and_is_refused_in_a_list() {
        assert_eq!(Groups::named(["root ", "", "a\tb", "\u{202e}toor"]), Groups::NONE);
        let error = serde_json::from_str::<Groups>(r#"["my admins"]"#).unwrap_err().to_string();
        assert!(error.contains("expected names of groups") && !error.contains("my admins"), "{error}");
        for text in [" ", "root ", " root", "root  user", "root,user\n"] {
            assert_eq!(text.parse::<Groups>(), Err(InvalidGroup), "{text:?}");
        }
    }

    #[test]
    fn a_subset_has_no_group_that_the_other_lacks() {
        let [all, user] = [Groups::named(["root", "operator", "user"]), Groups::named(["user"])];
        assert!(user.is_subset(&all) && Groups::NONE.is_subset(&user));
        assert!(!all.is_subset(&user));
        assert!(all.intersects(&user) && !Groups::NONE.intersects(&all));
        let other = Groups::named(["operator", "user"]);
        assert_eq!(Groups::named(["root", "user"]).intersection(&other), user);
        assert_eq!(Groups::named(["root", "user"]).union(&other), all);
        assert_eq!(all.difference(&other), Groups::named(["root"]));
    }
}
