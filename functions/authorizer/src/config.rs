use std::str::FromStr;

use vega_auth::config::{Environment, Provider, text};
use vega_auth::{AccessRules, RulesError};

use crate::policy_size::check_size;

/// Configuration, read from environment variables.
pub struct Config {
    /// The issuer of the tokens.
    pub provider: Provider,
    /// The table of keys.
    pub keys_table: String,
    /// The groups and scopes that each route requires.
    pub rules: AccessRules,
    /// The response that an HTTP API expects: `VEGA_HTTP_API_RESPONSE`.
    pub http_api_response: HttpApiResponse,
    /// How long a key record may be served from memory: `VEGA_KEY_CACHE_SECONDS`.
    pub key_cache_seconds: u16,
    /// Whether API Gateway caches responses: `VEGA_AUTHORIZER_CACHE_SECONDS` is above 0.
    pub gateway_caches: bool,
}

impl Config {
    /// Reads every variable. The problems are collected in `environment`.
    pub fn read<L: Fn(&str) -> Option<String>>(environment: &mut Environment<L>) -> Option<Self> {
        let provider = Provider::read(environment);
        let keys_table = environment.required("VEGA_KEYS_TABLE", text);
        let rules = environment.required("VEGA_ACCESS_RULES", |json| {
            let rules: AccessRules = json.parse().map_err(|error: RulesError| error.to_string())?;
            check_size(&rules).map(|()| rules)
        });
        let http_api_response = environment.optional("VEGA_HTTP_API_RESPONSE", HttpApiResponse::Policy, str::parse);
        let key_cache_seconds = environment.optional("VEGA_KEY_CACHE_SECONDS", 0, |text| {
            text.parse().ok().filter(|seconds| *seconds <= 3600).ok_or("expected a number of seconds, at most 3600")
        });
        let gateway_caches = environment.optional("VEGA_AUTHORIZER_CACHE_SECONDS", false, |text| {
            text.parse().map(|seconds: u16| seconds > 0).map_err(|_| "expected a number of seconds")
        });
        Some(Self {
            provider: provider?,
            keys_table: keys_table?,
            rules: rules?,
            http_api_response: http_api_response?,
            key_cache_seconds: key_cache_seconds?,
            gateway_caches: gateway_caches?,
        })
    }
}

/// The two responses that an HTTP API can be configured to expect. Its events don't say which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpApiResponse {
    /// A policy for every route. It is right with any identity source, so it is the default.
    Policy,
    /// `isAuthorized`, for this route only. An API that caches it must have `$context.routeKey` among its identity sources,
    /// or the response for one route decides another.
    Simple,
}

impl FromStr for HttpApiResponse {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "policy" => Ok(Self::Policy),
            "simple" => Ok(Self::Simple),
            _ => Err("expected policy or simple"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_invalid_variable_is_named_at_once() {
        let rules = r#"{"rules":[{"route":"GET /v1/projects","groups":["admins"]}]}"#;
        let mut environment = Environment::new(|name| {
            let value = match name {
                "VEGA_ACCESS_RULES" => rules,
                "VEGA_HTTP_API_RESPONSE" => "xml",
                "VEGA_KEY_CACHE_SECONDS" => "3601",
                "VEGA_AUTHORIZER_CACHE_SECONDS" => "-1",
                _ => return None,
            };
            Some(value.to_owned())
        });
        let config = Config::read(&mut environment);
        let problems = environment.finish(config).err().unwrap().0;
        assert_eq!(
            problems,
            [
                "VEGA_AUTH_PROVIDER is not set",
                "VEGA_KEYS_TABLE is not set",
                "VEGA_ACCESS_RULES: rule 1 (\"GET /v1/projects\"): groups: unknown group \"admins\": the groups are root, \
                 operator, user",
                "VEGA_HTTP_API_RESPONSE: expected policy or simple",
                "VEGA_KEY_CACHE_SECONDS: expected a number of seconds, at most 3600",
                "VEGA_AUTHORIZER_CACHE_SECONDS: expected a number of seconds",
            ]
        );
    }
}
