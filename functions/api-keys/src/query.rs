//! What stands in a query, checked once.

use lambda_http::aws_lambda_events::query_map::QueryMap;
use lambda_http::{Request, RequestExt as _};
use vega_auth::is_hidden;
use vega_http::Problem;

/// The longest reason, in characters.
pub const MAX_REASON: usize = 200;

/// The parameters of a query: each of them known, and given once. An empty one is as good as none.
pub struct Parameters(QueryMap);

impl Parameters {
    /// # Errors
    /// 400 when there is one that isn't `known`, or one twice.
    pub fn read(request: &Request, known: &[&str]) -> Result<Self, Problem> {
        let parameters = request.query_string_parameters();
        if parameters.iter().any(|(name, _)| !known.contains(&name)) {
            return Err(invalid(&format!("the parameters are {}", known.join(", "))));
        }
        if let Some(name) = known.iter().find(|name| parameters.all(name).is_some_and(|values| values.len() > 1)) {
            return Err(invalid(&format!("{name}: given twice")));
        }
        Ok(Self(parameters))
    }

    pub fn one(&self, name: &str) -> Option<&str> {
        self.0.first(name).filter(|value| !value.is_empty())
    }

    /// How many items a page shall have.
    pub fn limit(&self, default: u32, max: u32) -> Result<u32, Problem> {
        self.one("limit")
            .map_or(Some(default), |text| text.parse().ok().filter(|limit| (1..=max).contains(limit)))
            .ok_or_else(|| invalid(&format!("limit: 1 to {max}")))
    }

    /// Whether something is asked for; not, where it is left out.
    pub fn flag(&self, name: &str) -> Result<bool, Problem> {
        self.one(name)
            .map_or(Some(false), |text| text.parse().ok())
            .ok_or_else(|| invalid(&format!("{name}: true or false")))
    }

    /// Why somebody does what they do, for those who read the audit trail.
    pub fn reason(&self) -> Result<Option<String>, Problem> {
        let Some(reason) = self.one("reason") else { return Ok(None) };
        if reason.chars().count() > MAX_REASON || reason.contains(is_hidden) {
            return Err(invalid(&format!("reason: at most {MAX_REASON} characters, none of them hidden")));
        }
        Ok(Some(reason.to_owned()))
    }
}

pub fn invalid(detail: &str) -> Problem {
    Problem::new(400, "invalid_query", detail)
}
