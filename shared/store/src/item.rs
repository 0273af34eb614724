//! Items as the SDK has them. How they are laid out and read is known to `vega_key_table` alone.

use std::collections::HashMap;
use std::fmt::Display;
use std::str::FromStr;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use vega_auth::{Fault, KeyId, KeyRecord, KeyStatus, LastUse};
use vega_key_table::{Attribute, Malformed};
pub use vega_key_table::{purge_at, purge_time as purge_at_of};

/// An item of the SDK.
pub type Item = HashMap<String, AttributeValue>;

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

pub fn status_name(status: KeyStatus) -> &'static str {
    match status {
        KeyStatus::Active => "active",
        KeyStatus::Disabled => "disabled",
        KeyStatus::Revoked => "revoked",
    }
}

/// The item `A` of a record.
pub fn write(record: &KeyRecord) -> Item {
    vega_key_table::write_record(record).into_iter().map(|(name, value)| (name, to_sdk(value))).collect()
}

/// The record of a key with its last use, from all its items. `None` where there is no record.
pub fn read_key(items: &[Item], id: KeyId) -> Result<Option<KeyRecord>, Fault> {
    vega_key_table::read_key(&items.iter().map(from_sdk).collect::<Vec<_>>(), id)
}

/// The record of an item `A`, without its last use.
pub fn read(item: &Item) -> Result<KeyRecord, Fault> {
    Ok(vega_key_table::read_record(&from_sdk(item))?)
}

/// The set `name` of an owner's item `M`; empty, where there is none.
pub fn read_ids(item: &Item, name: &'static str) -> Result<Vec<KeyId>, Fault> {
    Ok(from_sdk(item).set(name)?)
}

/// The item `U`, if it is one.
pub fn read_last_use(item: &Item) -> Option<LastUse> {
    vega_key_table::read_last_use(&from_sdk(item))
}

/// An absent number is `None`; a malformed one, above all an expiry, is an error.
pub fn integer<T: FromStr>(item: &Item, name: &'static str) -> Result<Option<T>, &'static str> {
    from_sdk(item).optional(name, vega_key_table::Item::number).map_err(|Malformed(name)| name)
}

/// A list that must be there, each entry of which must be one: what can't be read might be a restriction.
pub fn list<T: FromStr>(item: &Item, name: &'static str) -> Result<Vec<T>, &'static str> {
    from_sdk(item).list(name).map_err(|Malformed(name)| name)
}

/// An attribute of a type that the table has nowhere becomes one that no reader takes.
fn from_sdk(item: &Item) -> vega_key_table::Item {
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
        let item: vega_key_table::Item = [
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
        let sdk: Item = item.clone().into_iter().map(|(name, value)| (name, to_sdk(value))).collect();
        assert_eq!(from_sdk(&sdk), item);
    }
}
