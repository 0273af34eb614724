//! Access rules: the groups and scopes that each route requires.

mod group;
mod route;
mod rules;
mod scope;
mod source;
mod table;

pub use group::{Group, Groups, InvalidGroup};
pub use route::{MethodPattern, PathPattern, Rest, Route, Segment};
pub use rules::{Access, AccessRules, Caching, DeniedAs, Target};
#[cfg(feature = "schema")]
pub(crate) use rules::{Document, MAX_GROUPS};
pub use scope::{InvalidScopeName, ScopeName};
pub use source::{Problem, RulesError};
