use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use vega_auth::config::{Environment, Provider, text};
use vega_auth::{AccessRules, TokenSource};
use vega_aws::Settings;
use vega_https_client::HttpsClient;

use crate::policy_size::check_size;

/// Configuration, read from environment variables.
pub struct Config {
    /// The provider of tokens.
    pub provider: Provider,
    /// The issuers and clients whose tokens are accepted; none for provider `custom`.
    pub sources: Vec<TokenSource>,
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
    /// The namespace of the metrics in the log lines: `VEGA_METRIC_NAMESPACE`. None are written without it.
    pub metric_namespace: Option<String>,
    /// Access to AWS.
    pub aws: Settings,
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
        let sources = sources(environment, provider.as_ref(), rules.as_ref());
        let http_api_response =
            environment.optional("VEGA_HTTP_API_RESPONSE", HttpApiResponse::Policy, |name| match name {
                "policy" => Ok(HttpApiResponse::Policy),
                "simple" => Ok(HttpApiResponse::Simple),
                _ => Err("expected policy or simple"),
            });
        let key_cache_seconds = environment.optional("VEGA_KEY_CACHE_SECONDS", 0, |text| {
            text.parse().ok().filter(|seconds| *seconds <= 3600).ok_or("expected a number of seconds, at most 3600")
        });
        let gateway_caches = environment.optional("VEGA_AUTHORIZER_CACHE_SECONDS", false, |text| {
            text.parse().map(|seconds: u16| seconds > 0).map_err(|_| "expected a number of seconds")
        });
        let metric_namespace = environment.get("VEGA_METRIC_NAMESPACE");
        let aws = Settings::read(environment);
        let endpoints = ["AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER", "AWS_ENDPOINT_URL"];
        let client = match HttpsClient::new(environment.get("SSL_CERT_FILE").map(PathBuf::from).as_deref()) {
            Ok(client) => Some(client),
            Err(problem) => environment.problem(problem.to_string()),
        };
        Some(Self {
            provider: provider?,
            sources: sources?,
            keys_table: keys_table?,
            rules: rules?,
            http_api_response: http_api_response?,
            key_cache_seconds: key_cache_seconds?,
            gateway_caches: gateway_caches?,
            metric_namespace,
            aws: aws?,
            cognito_endpoint: endpoints.into_iter().find_map(|name| environment.get(name)),
            client: client?,
        })
    }
}

/// Reads the rules in the folder `access` below `root`, and checks the size of their policies.
/// Every problem.
pub fn read_rules(root: &Path) -> Result<AccessRules, Vec<String>> {
    let rules = vega_access_files::read_below(root)?;
    check_size(&rules).map_err(|problem| vec![format!("access/vega.json: {problem}")]).map(|()| rules)
}

/// The folder of the files that list sources of tokens, each named after a deployment's own pool.
const SOURCES: &str = "access/sources";

/// Returns every problem in the files of sources below `root`, beside these rules. The own client isn't checked: only a deployment
/// knows it.
pub fn check_sources(root: &Path, rules: &AccessRules) -> Result<(), Vec<String>> {
    let mut problems = Vec::new();
    for entry in std::fs::read_dir(root.join(SOURCES)).into_iter().flatten() {
        let checked = entry.map_err(|error| format!("{SOURCES}: {error}")).and_then(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let pool_id = name.strip_suffix(".json").unwrap_or_default();
            std::fs::read_to_string(entry.path())
                .map_err(|error| error.to_string())
                .and_then(|document| TokenSource::parse(pool_id, &document))
                .and_then(|sources| check_groups(&sources, rules))
                .map_err(|problem| format!("{SOURCES}/{name}: {problem}"))
        });
        problems.extend(checked.err());
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Reads the sources of tokens from the deployed file that is named after the own pool, if there is one.
fn sources(
    environment: &mut Environment<'_>,
    provider: Option<&Provider>,
    rules: Option<&AccessRules>,
) -> Option<Vec<TokenSource>> {
    let Some(Provider::Cognito(own)) = provider else { return Some(Vec::new()) };
    let name = format!("{SOURCES}/{}.json", own.issuer().pool_id());
    let folder = environment.get("LAMBDA_TASK_ROOT").unwrap_or_default();
    let document = match std::fs::read_to_string(Path::new(&folder).join(&name)) {
        Ok(document) => Some(document),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return environment.problem(format!("{name}: {error}")),
    };
    TokenSource::read(own, document.as_deref())
        .and_then(|sources| rules.map_or(Ok(()), |rules| check_groups(&sources, rules)).map(|()| sources))
        .map_err(|problem| environment.problem::<()>(format!("{name}: {problem}")))
        .ok()
}

/// A misspelt group of a machine is a mistake, not a group without rights.
fn check_groups(sources: &[TokenSource], rules: &AccessRules) -> Result<(), String> {
    for (client, groups) in sources.iter().flat_map(TokenSource::machines) {
        let unknown = groups.difference(rules.groups());
        if !unknown.is_empty() {
            return Err(format!("client {client:?}: the access rules don't list the group {:?}", unknown.to_string()));
        }
    }
    Ok(())
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
                 groups are operator, root, user; did you mean \"operator\"?",
                "VEGA_HTTP_API_RESPONSE: expected policy or simple",
                "VEGA_KEY_CACHE_SECONDS: expected a number of seconds, at most 3600",
                "VEGA_AUTHORIZER_CACHE_SECONDS: expected a number of seconds",
                "AWS_SECRET_ACCESS_KEY is not set",
                "SSL_CERT_FILE: no certificate in it",
            ]
        );
    }

    fn rules() -> AccessRules {
        r#"{"rules":[{"route":"GET /","groups":"any"}]}"#.parse().unwrap()
    }

    #[test]
    fn the_file_named_after_the_pool_lists_the_sources() {
        let read = |pool_id: &'static str| {
            let lookup = move |name: &str| {
                let value = match name {
                    "VEGA_AUTH_PROVIDER" => "cognito",
                    "VEGA_COGNITO_REGION" => "us-west-1",
                    "VEGA_COGNITO_USER_POOL_ID" => pool_id,
                    "VEGA_COGNITO_APP_CLIENT_ID" => "web",
                    "LAMBDA_TASK_ROOT" => concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sources"),
                    _ => return None,
                };
                Some(value.to_owned())
            };
            load("authorizer", lookup, |environment| {
                let provider = Provider::read(environment);
                sources(environment, provider.as_ref(), Some(&rules()))
            })
        };
        let issuer = |pool_id| read(pool_id).map(|sources| sources[0].issuer().to_string()).map_err(|error| error.0);
        let file = "https://issuer-cognito-idp.us-west-1.amazonaws.com/us-west-1_Valid";
        assert_eq!(issuer("us-west-1_Valid").unwrap(), file);
        let default = "https://cognito-idp.us-west-1.amazonaws.com/us-west-1_Unlisted";
        assert_eq!(issuer("us-west-1_Unlisted").unwrap(), default);
        let [problem] = issuer("us-west-1_Invalid").unwrap_err().try_into().unwrap();
        let expected = "access/sources/us-west-1_Invalid.json: source 1: issuer: expected";
        assert!(problem.starts_with(expected), "{problem}");
        // The same problem before a deployment, and that of a file with another name than its pool's.
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sources"));
        let mut problems = check_sources(folder, &rules()).unwrap_err();
        problems.sort_unstable();
        assert_eq!(problems.len(), 2);
        assert!(problems[0].starts_with(expected), "{problems:?}");
        let renamed = "access/sources/us-west-1_Renamed.json: no source has the pool that the file is named after";
        assert_eq!(problems[1], renamed);
        assert_eq!(check_sources(Path::new(env!("CARGO_MANIFEST_DIR")), &rules()), Ok(()), "no folder");
        // A machine's group that the rules don't list.
        let others = r#"{"groups":["sales"],"rules":[{"route":"GET /","groups":"any"}]}"#.parse().unwrap();
        let problems = check_sources(folder, &others).unwrap_err().join("\n");
        let expected = r#"us-west-1_Valid.json: client "ci": the access rules don't list the group "operator""#;
        assert!(problems.contains(expected), "{problems}");
    }
}
