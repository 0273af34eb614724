//! Builder for the OpenAPI 3.1 document of all functions.
//!
//! Each function has a `routes()` next to its handlers; the wire types derive [`JsonSchema`]. This crate adds what all routes
//! have in common: their callers, and API Gateway's own responses. None of it runs in a deployed function: a test
//! writes docs/openapi.json, which is served as a file.

mod document;
mod route;

pub use document::{SchemaConflict, codes_with_meanings, document};
pub use route::{GatewayProblem, Route};

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// The self-contained schema of a type, for a parameter.
pub fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| (settings.inline_subschemas, settings.meta_schema) = (true, None));
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.remove("title");
    schema.to_value()
}
