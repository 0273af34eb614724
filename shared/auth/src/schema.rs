//! JSON Schemas of the types in the API, for docs/openapi.json.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::{Group, Groups, KeyId, Network, ScopeName, Timestamp};

impl JsonSchema for KeyId {
    fn schema_name() -> Cow<'static, str> {
        "KeyId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "pattern": "^[0-9A-Za-z]{12}$", "example": "7Gh2kQ9XbT4m",
            "description": "The public id of an API key: the part between `vk_` and the next `_`.",
        })
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "format": "date-time", "example": "2026-11-24T05:00:00Z",
            "description": "An instant in whole seconds (RFC 3339). In responses always in UTC.",
        })
    }
}

impl JsonSchema for Groups {
    fn schema_name() -> Cow<'static, str> {
        "Groups".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array", "items": { "type": "string", "enum": Group::ALL.map(Group::name) }, "example": ["user"],
            "description": "The groups that access rules can name.",
        })
    }
}

impl JsonSchema for ScopeName {
    fn schema_name() -> Cow<'static, str> {
        "ScopeName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "pattern": format!("^[a-z0-9_:-]{{1,{}}}$", Self::MAX_CHARACTERS), "example": Self::READ,
            "description": "A set of routes defined in the access rules. `read` always exists: GET and HEAD.",
        })
    }
}

impl JsonSchema for Network {
    fn schema_name() -> Cow<'static, str> {
        "Network".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "pattern": "^[0-9A-Fa-f:.]+/[0-9]{1,3}$", "example": "203.0.113.0/24",
            "description": "A range of IPv4 or IPv6 addresses (CIDR) without bits set after the prefix.",
        })
    }
}
