use std::path::{Path, PathBuf};
use std::str::FromStr;

use vega_auth::AccessRules;
use vega_auth::config::{Environment, Provider, text};
use vega_https_client::HttpsClient;
use vega_key_table::Settings;

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
    /// Maximum age of a key record served from memory: `VEGA_KEY_CACHE_SECONDS`.
    pub key_cache_seconds: u16,
    /// Whether API Gateway caches responses: `VEGA_AUTHORIZER_CACHE_SECONDS` is above 0.
    pub gateway_caches: bool,
    /// The database of the table.
    pub database: Settings,
    /// An emulator's endpoint instead of Cognito's, for the key set.
    pub cognito_endpoint: Option<String>,
    /// The client for the key set and the database. It trusts `SSL_CERT_FILE`, if set.
    pub client: HttpsClient,
}

impl Config {
    /// Reads every variable. The problems are collected in `environment`.
    pub fn read(environment: &mut Environment<'_>) -> Option<Self> {
        let provider = Provider::read(environment);
        let keys_table = environment.required("VEGA_KEYS_TABLE", text);
        let rules =
            environment.required("LAMBDA_TASK_ROOT", |root| read_rules(Path::new(root)).map_err(|all| all.join("; ")));
        let http_api_response = environment.optional("VEGA_HTTP_API_RESPONSE", HttpApiResponse::Policy, str::parse);
        let key_cache_seconds = environment.optional("VEGA_KEY_CACHE_SECONDS", 0, |text| {
            text.parse().ok().filter(|seconds| *seconds <= 3600).ok_or("expected a number of seconds, at most 3600")
        });
        let gateway_caches = environment.optional("VEGA_AUTHORIZER_CACHE_SECONDS", false, |text| {
            text.parse().map(|seconds: u16| seconds > 0).map_err(|_| "expected a number of seconds")
        });
        let database = Settings::read(environment);
        let endpoints = ["AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER", "AWS_ENDPOINT_URL"];
        let client = match HttpsClient::new(environment.get("SSL_CERT_FILE").map(PathBuf::from).as_deref()) {
            Ok(client) => Some(client),
            Err(problem) => environment.problem(problem.to_string()),
        };
        Some(Self {
            provider: provider?,
            keys_table: keys_table?,
            rules: rules?,
            http_api_response: http_api_response?,
            key_cache_seconds: key_cache_seconds?,
            gateway_caches: gateway_caches?,
            database: database?,
            cognito_endpoint: endpoints.into_iter().find_map(|name| environment.get(name)),
            client: client?,
        })
    }
}

/// Reads the rules in the folder `access` below `root`, and checks the size of their policies.
///
/// # Errors
/// Every problem.
pub fn read_rules(root: &Path) -> Result<AccessRules, Vec<String>> {
    let rules = vega_access_files::read_below(root)?;
    check_size(&rules).map_err(|problem| vec![format!("access/vega.json: {problem}")]).map(|()| rules)
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
    use vega_auth::config::load;

    use super::*;

    #[test]
    fn every_invalid_variable_is_named_at_once() {
        let lookup = |name: &str| {
            let value = match name {
                "LAMBDA_TASK_ROOT" => concat!(env!("CARGO_MANIFEST_DIR"), "/tests/invalid"),
                "VEGA_HTTP_API_RESPONSE" => "xml",
                "VEGA_KEY_CACHE_SECONDS" => "3601",
                "VEGA_AUTHORIZER_CACHE_SECONDS" => "-1",
                "AWS_REGION" | "AWS_ACCESS_KEY_ID" => "x",
                "SSL_CERT_FILE" => concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
                _ => return None,
            };
            Some(value.to_owned())
        };
        assert_eq!(
            load("authorizer", lookup, Config::read).err().unwrap().0,
            [
                "VEGA_AUTH_PROVIDER is not set",
                "VEGA_KEYS_TABLE is not set",
                "LAMBDA_TASK_ROOT: access/vega.json:3: rule \"GET /v1/projects\": groups: unknown group \"operater\": the \
                 groups are root, operator, user; did you mean \"operator\"?",
                "VEGA_HTTP_API_RESPONSE: expected policy or simple",
                "VEGA_KEY_CACHE_SECONDS: expected a number of seconds, at most 3600",
                "VEGA_AUTHORIZER_CACHE_SECONDS: expected a number of seconds",
                "AWS_SECRET_ACCESS_KEY is not set",
                "SSL_CERT_FILE: no certificate in it",
            ]
        );
    }
}
