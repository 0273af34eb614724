//! Query parameters, validated once.

use lambda_http::aws_lambda_events::query_map::QueryMap;
use lambda_http::{Request, RequestExt as _};
use serde::de::DeserializeOwned;
use vega_auth::is_hidden;

use crate::cursor;
use crate::problem::InvalidQuery;

/// Maximum length of a reason, in characters.
pub const MAX_REASON: usize = 200;

/// Query parameters, each known and given once. An empty one counts as missing.
pub struct Parameters(QueryMap);

impl Parameters {
    /// 400 if a parameter isn't `known`, or is given twice.
    pub fn read(request: &Request, known: &[&str]) -> Result<Self, InvalidQuery> {
        let parameters = request.query_string_parameters();
        if parameters.iter().any(|(name, _)| !known.contains(&name)) {
            return Err(InvalidQuery::Unknown(known.join(", ")));
        }
        if let Some(name) = known.iter().find(|name| parameters.all(name).is_some_and(|values| values.len() > 1)) {
            return Err(InvalidQuery::Twice((*name).to_owned()));
        }
        Ok(Self(parameters))
    }

    pub fn one(&self, name: &str) -> Option<&str> {
        self.0.first(name).filter(|value| !value.is_empty())
    }

    /// The maximum number of items per page.
    pub fn limit(&self, default: u32, max: u32) -> Result<u32, InvalidQuery> {
        self.one("limit")
            .map_or(Some(default), |text| text.parse().ok().filter(|limit| (1..=max).contains(limit)))
            .ok_or(InvalidQuery::Limit { max })
    }

    /// The position in this list that `cursor` contains.
    pub fn cursor<T: DeserializeOwned>(&self, list: &[&str]) -> Result<Option<T>, InvalidQuery> {
        self.one("cursor").map(|cursor| cursor::read(list, cursor).ok_or(InvalidQuery::Cursor)).transpose()
    }

    /// A boolean parameter, `false` by default.
    pub fn flag(&self, name: &'static str) -> Result<bool, InvalidQuery> {
        self.one(name).map_or(Some(false), |text| text.parse().ok()).ok_or(InvalidQuery::Flag(name))
    }

    /// The optional `reason`, recorded in the audit trail.
    pub fn reason(&self) -> Result<Option<String>, InvalidQuery> {
        let Some(reason) = self.one("reason") else { return Ok(None) };
        if reason.chars().count() > MAX_REASON || reason.contains(is_hidden) {
            return Err(InvalidQuery::Reason);
        }
        Ok(Some(reason.to_owned()))
    }
}
