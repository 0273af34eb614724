//! What the functions say of their routes, and the OpenAPI 3.1 document that it makes.
//!
//! Each function has a `routes()` beside its handlers; the wire types derive [`JsonSchema`]. What holds for every route
//! (who may call it, what API Gateway answers by itself) is added here, so that a route says only what is its own.
//! Nothing of this runs in a deployed function: docs/openapi.json is written by a test and served as it is.

mod document;
mod route;

pub use document::{SchemaConflict, document};
pub use route::Route;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// The schema of a type by itself, for a parameter.
pub fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| (settings.inline_subschemas, settings.meta_schema) = (true, None));
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.remove("title");
    schema.to_value()
}
