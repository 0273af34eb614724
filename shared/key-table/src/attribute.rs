use std::collections::HashMap;
use std::fmt::Display;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use vega_auth::{Fault, Timestamp};

/// A value in `DynamoDB`'s JSON
/// ([reference](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html)). An item with
/// any other type of attribute is unreadable: none of ours has one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attribute {
    /// Text.
    S(String),
    /// A number, as digits.
    N(String),
    /// Bytes.
    B(#[serde(with = "base64_text")] Vec<u8>),
    /// A set of texts.
    #[serde(rename = "SS")]
    Set(Vec<String>),
    /// A list.
    L(Vec<Attribute>),
    /// A truth value.
    #[serde(rename = "BOOL")]
    Bool(bool),
    /// No value.
    #[serde(rename = "NULL")]
    Null(bool),
}

impl Attribute {
    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::S(text.into())
    }

    /// A number.
    pub fn number(value: impl Display) -> Self {
        Self::N(value.to_string())
    }

    /// A list of texts.
    pub fn list<T: Display>(values: impl IntoIterator<Item = T>) -> Self {
        Self::L(values.into_iter().map(|value| Self::S(value.to_string())).collect())
    }
}

/// The attributes of an item, by name. Reading is strict: an attribute that breaks the contract is an error, never a
/// guess.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Item(HashMap<String, Attribute>);

/// An attribute that is missing or malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("attribute {0} missing or malformed")]
pub struct Malformed(pub &'static str);

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Self::Record(malformed.into())
    }
}

impl Item {
    /// Sets an attribute.
    pub fn insert(&mut self, name: &str, value: Attribute) {
        self.0.insert(name.to_owned(), value);
    }

    /// Whether it has this attribute.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A text.
    pub fn text(&self, name: &'static str) -> Result<&str, Malformed> {
        match self.0.get(name) {
            Some(Attribute::S(text)) => Ok(text),
            _ => Err(Malformed(name)),
        }
    }

    /// A value that is stored as text.
    pub fn parsed<T: FromStr>(&self, name: &'static str) -> Result<T, Malformed> {
        self.text(name)?.parse().map_err(|_| Malformed(name))
    }

    /// A number.
    pub fn number<T: FromStr>(&self, name: &'static str) -> Result<T, Malformed> {
        match self.0.get(name) {
            Some(Attribute::N(digits)) => digits.parse().map_err(|_| Malformed(name)),
            _ => Err(Malformed(name)),
        }
    }

    /// An instant.
    pub fn time(&self, name: &'static str) -> Result<Timestamp, Malformed> {
        self.number(name).map(Timestamp)
    }

    /// Bytes.
    pub fn bytes(&self, name: &'static str) -> Result<&[u8], Malformed> {
        match self.0.get(name) {
            Some(Attribute::B(bytes)) => Ok(bytes),
            _ => Err(Malformed(name)),
        }
    }

    /// Values that are stored as a list of texts.
    /// A malformed entry is an error: it might be a restriction.
    pub fn list<T: FromStr>(&self, name: &'static str) -> Result<Vec<T>, Malformed> {
        let Some(Attribute::L(values)) = self.0.get(name) else { return Err(Malformed(name)) };
        let value = |entry: &Attribute| match entry {
            Attribute::S(text) => text.parse().ok(),
            _ => None,
        };
        values.iter().map(|entry| value(entry).ok_or(Malformed(name))).collect()
    }

    /// Values that are stored as a set of texts. A missing set is empty: `DynamoDB` stores no empty set.
    pub fn set<T: FromStr>(&self, name: &'static str) -> Result<Vec<T>, Malformed> {
        match self.0.get(name) {
            None => Ok(Vec::new()),
            Some(Attribute::Set(values)) => {
                values.iter().map(|value| value.parse().map_err(|_| Malformed(name))).collect()
            }
            Some(_) => Err(Malformed(name)),
        }
    }

    /// An attribute that may be missing, read by another method. A malformed one is an error all the same: an expiry that
    /// can't be read is an expiry.
    pub fn optional<'a, T>(
        &'a self,
        name: &'static str,
        read: impl FnOnce(&'a Self, &'static str) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if self.has(name) { read(self, name).map(Some) } else { Ok(None) }
    }
}

impl FromIterator<(String, Attribute)> for Item {
    fn from_iter<I: IntoIterator<Item = (String, Attribute)>>(attributes: I) -> Self {
        Self(attributes.into_iter().collect())
    }
}

impl IntoIterator for Item {
    type Item = (String, Attribute);
    type IntoIter = std::collections::hash_map::IntoIter<String, Attribute>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

mod base64_text {
    use std::borrow::Cow;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        STANDARD.decode(text.as_bytes()).map_err(|_| D::Error::custom("not base64"))
    }
}
