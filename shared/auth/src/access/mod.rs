//! Access rules: the groups and scopes that each route requires.

mod group;
mod route;
mod rules;
mod scope;

pub use group::{Group, Groups, UnknownGroup};
pub use route::{MethodPattern, PathPattern, Route};
pub use rules::{Access, AccessRules, DeniedAs, RulesError};
pub use scope::{InvalidScopeName, ScopeName};
