use std::collections::HashSet;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The names of the members that a struct doesn't declare. None may occur twice, just as no declared one may: two readers
/// could pick different ones (RFC 8725 section 2.4; RFC 7519 section 4).
///
/// Flatten it into the struct. serde then reads every value whole, so ignored members are valid JSON of limited depth too.
#[derive(Debug, Default)]
pub struct OtherMembers(HashSet<String>);

impl OtherMembers {
    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}

impl<'de> Deserialize<'de> for OtherMembers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = OtherMembers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut names = HashSet::new();
                while let Some((name, _)) = map.next_entry::<String, IgnoredAny>()? {
                    if !names.insert(name) {
                        return Err(serde::de::Error::custom("duplicate member"));
                    }
                }
                Ok(OtherMembers(names))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Document {
        #[serde(rename = "a")]
        _a: u8,
        #[serde(flatten)]
        others: OtherMembers,
    }

    #[test]
    fn no_member_may_occur_twice_declared_or_not() {
        let read = |json| serde_json::from_str::<Document>(json).map(|document| document.others);
        let others = read(r#"{"a":1,"b":[{"c":1}],"d":null}"#).unwrap();
        assert!(others.contains("b") && others.contains("d"));
        assert!(!others.contains("a") && !others.contains("c"));
        for json in [r#"{"a":1,"a":1}"#, r#"{"a":1,"b":1,"b":1}"#, r#"{"a":1,"b":1,"\u0062":1}"#] {
            assert!(read(json).is_err(), "{json}");
        }
    }
}
