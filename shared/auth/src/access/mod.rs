//! Access rules: which groups and scopes may call which route.

mod group;
mod rules;
mod scope;

pub use group::{Group, Groups, UnknownGroup};
pub use rules::{Access, AccessRules, MethodPattern, PathPattern, Route, RulesError};
pub use scope::{InvalidScopeName, ScopeName};
