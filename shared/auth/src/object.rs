use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A struct that only a JSON object can be read into. serde alone also accepts an array, with the members by position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Object<T>(pub T);

impl<T> Deref for Object<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, members: M) -> Result<T, M::Error> {
                T::deserialize(MapAccessDeserializer::new(members))
            }
        }
        deserializer.deserialize_map(Members(PhantomData)).map(Self)
    }
}

/// Reads a member that can be missing, but not `null`: serde treats the two alike.
pub fn not_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Pair {
        a: u8,
        b: Option<Box<Object<Pair>>>,
    }

    #[test]
    fn an_array_is_not_read_as_an_object() {
        let read = |json| serde_json::from_str::<Object<Pair>>(json).map(|Object(pair)| pair).ok();
        assert_eq!(serde_json::from_str::<Pair>("[1,null]").unwrap().a, 1, "serde alone accepts an array");
        assert_eq!(read(r#"{"a":1,"x":[2]}"#), Some(Pair { a: 1, b: None }));
        assert!(read(r#"{"a":1,"b":{"a":2}}"#).is_some());
        for other in ["[1,null]", r#"{"a":1,"b":[2,null]}"#, "[]", "null", "1", r#""a""#] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
