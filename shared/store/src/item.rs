//! Conversion between the SDK's items and the table's own, which `vega_key_table` reads and writes.

use std::collections::HashMap;
use std::fmt::Display;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use vega_auth::{KeyId, KeyRecord};
use vega_key_table::{Attribute, Item};

/// An item as the SDK has it.
pub type SdkItem = HashMap<String, AttributeValue>;

pub fn key_pk(id: KeyId) -> AttributeValue {
    string(vega_key_table::key_pk(id))
}

pub fn owner_pk(owner: &str) -> AttributeValue {
    string(vega_key_table::owner_pk(owner))
}

pub fn string(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub fn number(value: impl Display) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// The primary key of an item.
pub fn primary_key(pk: AttributeValue, sk: &str) -> SdkItem {
    HashMap::from([("pk".into(), pk), ("sk".into(), string(sk))])
}

/// The item `A` of a record.
pub fn write(record: &KeyRecord) -> SdkItem {
    vega_key_table::write_record(record).into_iter().map(|(name, value)| (name, to_sdk(value))).collect()
}

/// The item as everything reads it. An attribute of a type that the table doesn't use becomes one that no reader accepts.
pub fn from_sdk(item: &SdkItem) -> Item {
    item.iter().map(|(name, value)| (name.clone(), attribute(value))).collect()
}

fn attribute(value: &AttributeValue) -> Attribute {
    match value {
        AttributeValue::S(text) => Attribute::S(text.clone()),
        AttributeValue::N(digits) => Attribute::N(digits.clone()),
        AttributeValue::B(bytes) => Attribute::B(bytes.as_ref().to_vec()),
        AttributeValue::Ss(values) => Attribute::Set(values.clone()),
        AttributeValue::L(values) => Attribute::L(values.iter().map(attribute).collect()),
        AttributeValue::Bool(value) => Attribute::Bool(*value),
        _ => Attribute::Null(true),
    }
}

fn to_sdk(value: Attribute) -> AttributeValue {
    match value {
        Attribute::S(text) => AttributeValue::S(text),
        Attribute::N(digits) => AttributeValue::N(digits),
        Attribute::B(bytes) => AttributeValue::B(Blob::new(bytes)),
        Attribute::Set(values) => AttributeValue::Ss(values),
        Attribute::L(values) => AttributeValue::L(values.into_iter().map(to_sdk).collect()),
        Attribute::Bool(value) => AttributeValue::Bool(value),
        Attribute::Null(value) => AttributeValue::Null(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_the_same_to_the_sdk_and_back() {
        let item: Item = [
            ("text", Attribute::text("ada")),
            ("number", Attribute::number(7)),
            ("bytes", Attribute::B(vec![0, 255])),
            ("set", Attribute::Set(vec!["a".into(), "b".into()])),
            ("list", Attribute::list(["a", "b"])),
            ("bool", Attribute::Bool(true)),
            ("null", Attribute::Null(true)),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        let sdk: SdkItem = item.clone().into_iter().map(|(name, value)| (name, to_sdk(value))).collect();
        assert_eq!(from_sdk(&sdk), item);
    }
}
