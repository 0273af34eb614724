//! Access rules: the groups and scopes that each route requires.

mod group;
mod route;
mod rules;
mod scope;
mod source;

pub use group::{Group, Groups, UnknownGroup};
pub use route::{MethodPattern, PathPattern, Route};
#[cfg(feature = "schema")]
pub(crate) use rules::Document;
pub use rules::{Access, AccessRules, DeniedAs};
pub use scope::{InvalidScopeName, ScopeName};
pub use source::{Problem, RulesError};
