//! JSON Schemas of the types in the API, for docs/openapi.json, and of the access rules, for access/schema.json.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::access::{Document, MAX_GROUPS};
use crate::{Group, Groups, HIDDEN, KeyId, Network, Route, ScopeName, Timestamp};

/// The JSON Schema of a rules file.
pub fn rules_schema() -> Schema {
    SchemaGenerator::default().into_root_schema_for::<Document<'_>>()
}

/// The groups that rules can name.
pub(crate) fn groups(generator: &mut SchemaGenerator) -> Schema {
    let group = generator.subschema_for::<Group>();
    json_schema!({ "type": "array", "items": group, "minItems": 1, "maxItems": MAX_GROUPS, "uniqueItems": true })
}

/// The groups that a rule requires.
pub(crate) fn required_groups(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [
        { "const": "any" },
        { "type": "array", "items": generator.subschema_for::<Group>(), "minItems": 1 },
    ] })
}

/// The scopes that the rules define.
pub(crate) fn scopes(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "propertyNames": { "allOf": [generator.subschema_for::<ScopeName>(), { "not": { "const": ScopeName::READ } }] },
        "additionalProperties": { "type": "array", "items": generator.subschema_for::<Route>(), "minItems": 1 },
    })
}

impl JsonSchema for Route {
    fn schema_name() -> Cow<'static, str> {
        "Route".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let methods = Self::METHODS.join("|");
        let (literal, name) = (r"[A-Za-z0-9\-_~:][A-Za-z0-9\-._~:]*", r"\{[A-Za-z0-9\-._~:]+\}");
        let segment = format!("/({literal}|{name})");
        let pattern =
            format!(r"^(\$connect|(\*|ANY|{methods}) (/|({segment})*({segment}|/\*|/\{{[A-Za-z0-9\-._~:]+\+\}})))$");
        json_schema!({
            "type": "string", "pattern": pattern, "examples": ["GET /v1/projects/{id}", "ANY /files/{proxy+}", "* /v1/api-keys/*"],
            "description": "A method, ANY or *, a space, and a path as API Gateway writes it. /* at the end covers everything below the path, not itself.",
        })
    }
}

/// Each type's schema under the type's name.
macro_rules! schemas {
    ($($type:ident: $schema:tt)*) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

schemas! {
    KeyId: {
        "type": "string", "pattern": "^[0-9A-Za-z]{12}$", "example": "7Gh2kQ9XbT4m",
        "description": "The public id of an API key: the part between `vk_` and the next `_`.",
    }
    Timestamp: {
        "type": "string", "format": "date-time", "example": "2026-11-24T05:00:00Z",
        "description": "An instant in whole seconds (RFC 3339). In responses always in UTC.",
    }
    Group: {
        "type": "string", "pattern": format!(r"^[^\s\x00-\x1f{HIDDEN}]+$"), "maxLength": Group::MAX_CHARACTERS, "example": "user",
        "description": "The name of a group of the user pool.",
    }
    Groups: {
        "type": "array", "items": Group::json_schema(&mut SchemaGenerator::default()), "example": ["user"],
        "description": "Names of groups of the user pool.",
    }
    ScopeName: {
        "type": "string", "pattern": format!("^[a-z0-9_:-]{{1,{}}}$", ScopeName::MAX_CHARACTERS), "example": ScopeName::READ,
        "description": "A set of routes defined in the access rules. `read` always exists: GET and HEAD.",
    }
    Network: {
        "type": "string", "pattern": "^[0-9A-Fa-f:.]+/[0-9]{1,3}$", "example": "203.0.113.0/24",
        "description": "A range of IPv4 or IPv6 addresses (CIDR) without bits set after the prefix.",
    }
}
