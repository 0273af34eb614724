//! Environment variables, converted to types once, at init. Every problem is reported, not only the first.

use std::fmt;

use serde_json::json;

use crate::{HmacSecret, UserPool};

/// Every problem with the environment, one line each: the variable and the expected value. Never the actual value, which may
/// be a secret.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError(pub Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "configuration: {}", self.0.join("; "))
    }
}

impl std::error::Error for ConfigError {}

/// Loads the configuration of `function`. If any of it is invalid, logs one line with every problem; the function must then
/// refuse to start.
pub fn load<T>(
    function: &str,
    lookup: impl Fn(&str) -> Option<String>,
    read: impl FnOnce(&mut Environment<'_>) -> Option<T>,
) -> Result<T, ConfigError> {
    let mut environment = Environment::new(lookup);
    match read(&mut environment) {
        Some(config) if environment.problems.is_empty() => Ok(config),
        _ => {
            let problems = environment.problems;
            let line =
                json!({ "outcome": "fault", "code": "configuration", "function": function, "problems": problems });
            println!("{line}");
            Err(ConfigError(problems))
        }
    }
}

/// The URL of an AWS service in `region`. `service` is the first label of its host name.
pub fn aws_endpoint(service: &str, region: &str) -> String {
    format!("https://{service}.{region}.{}", partition_suffixes(region)[0])
}

/// The DNS suffixes of the region's partition, first the one of its endpoints. The sources, which
/// `tests/offline/test_partitions.py` compares with the pinned botocore, are its `partitions.json` and the endpoint rules of
/// `cognito-idp`. No document states the issuers' hosts in aws-eusc; aws-jwt-verify 5.2.1 expects them in `amazonaws.com`.
pub(crate) fn partition_suffixes(region: &str) -> &'static [&'static str] {
    match region.split('-').next() {
        Some("cn") => &["amazonaws.com.cn"],
        Some("eusc") => &["amazonaws.eu", "amazonaws.com"],
        // aws and aws-us-gov.
        _ => &["amazonaws.com"],
    }
}

type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Reads variables through `lookup` and collects the problems.
pub struct Environment<'a> {
    lookup: Box<Lookup<'a>>,
    problems: Vec<String>,
}

impl<'a> Environment<'a> {
    /// `lookup` is `|name| std::env::var(name).ok()` in a `main` and a table in a test.
    pub fn new(lookup: impl Fn(&str) -> Option<String> + 'a) -> Self {
        Self { lookup: Box::new(lookup), problems: Vec::new() }
    }

    /// The variable, if it is set and not empty.
    pub fn get(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    /// A required variable. `None` if it is missing or `parse` fails: [`load`] then fails too.
    pub fn required<T, E: fmt::Display>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        match self.get(name) {
            Some(value) => self.parsed(name, &value, parse),
            None => self.problem(format!("{name} is not set")),
        }
    }

    /// An optional variable.
    pub fn optional<T, E: fmt::Display>(
        &mut self,
        name: &str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match self.get(name) {
            Some(value) => self.parsed(name, &value, parse),
            None => Some(default),
        }
    }

    /// Adds a problem, and returns the `None` that replaces the value.
    pub fn problem<T>(&mut self, problem: impl Into<String>) -> Option<T> {
        self.problems.push(problem.into());
        None
    }

    /// `parse` must not repeat the value in its error: it may be a secret.
    fn parsed<T, E: fmt::Display>(
        &mut self,
        name: &str,
        value: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        parse(value).map_err(|error| self.problems.push(format!("{name}: {error}"))).ok()
    }
}

/// Accepts any text. Never fails, but [`Environment::required`] needs this signature.
pub fn text(value: &str) -> Result<String, std::convert::Infallible> {
    Ok(value.to_owned())
}

/// The issuer of the tokens: `VEGA_AUTH_PROVIDER`.
#[derive(Debug)]
pub enum Provider {
    /// The built-in login with one debug user, for developers' machines: HS256 with `VEGA_AUTH_SECRET`.
    Custom(HmacSecret),
    /// Cognito: RS256 with the issuer's key set. This is the deployment's own user pool.
    Cognito(UserPool),
}

impl Provider {
    /// Reads `VEGA_AUTH_PROVIDER` and the variables that the provider needs.
    ///
    /// `custom` has one user and a shared secret, so it must never protect anything real: it is refused unless
    /// `AWS_ENDPOINT_URL` points at an emulator on this machine. A deployment could set that on Lambda too. So it is also
    /// refused where `AWS_SESSION_TOKEN` is set: Lambda always sets it, and a deployment can't unset it.
    pub fn read(environment: &mut Environment<'_>) -> Option<Self> {
        match environment.required("VEGA_AUTH_PROVIDER", text)?.as_str() {
            "custom" => {
                if !environment.get("AWS_ENDPOINT_URL").is_some_and(|url| is_emulator(&url)) {
                    environment.problem::<()>(
                        "VEGA_AUTH_PROVIDER is custom, which is for local development only: AWS_ENDPOINT_URL must name an \
                         emulator on this machine, and this looks like real AWS; use cognito",
                    );
                }
                if environment.get("AWS_SESSION_TOKEN").is_some() {
                    environment.problem::<()>(
                        "VEGA_AUTH_PROVIDER is custom, but AWS_SESSION_TOKEN is set, as always on Lambda: use cognito",
                    );
                }
                environment.required("VEGA_AUTH_SECRET", HmacSecret::new_from_text).map(Self::Custom)
            }
            "cognito" => UserPool::read(environment).map(Self::Cognito),
            _ => environment.problem("VEGA_AUTH_PROVIDER: expected custom or cognito"),
        }
    }
}

impl UserPool {
    /// Reads the variables of provider `cognito`.
    pub fn read(environment: &mut Environment<'_>) -> Option<Self> {
        let region = environment.required("VEGA_COGNITO_REGION", text);
        let pool_id = environment.required("VEGA_COGNITO_USER_POOL_ID", text);
        let client_id = environment.required("VEGA_COGNITO_APP_CLIENT_ID", text);
        Self::new(&region?, &pool_id?, &client_id?).map_err(|problem| environment.problem::<()>(problem)).ok()
    }
}

/// Whether this endpoint is on the developer's own machine.
pub fn is_emulator(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")) else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // `http://localhost@evil.example`: the part before the `@` is not the host.
    if authority.contains('@') {
        return false;
    }
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost"
        || host.ends_with(".localhost")
        || host == "host.docker.internal"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    #[track_caller]
    fn problems(variables: &[(&str, &str)]) -> Vec<String> {
        let lookup =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        load("test", lookup, Provider::read).map_or_else(|error| error.0, |_| Vec::new())
    }

    #[test]
    fn every_missing_variable_is_named_at_once() {
        assert_eq!(problems(&[]), ["VEGA_AUTH_PROVIDER is not set"]);
        assert_eq!(
            problems(&[("VEGA_AUTH_PROVIDER", "cognito"), ("VEGA_COGNITO_USER_POOL_ID", "")]),
            [
                "VEGA_COGNITO_REGION is not set",
                "VEGA_COGNITO_USER_POOL_ID is not set",
                "VEGA_COGNITO_APP_CLIENT_ID is not set"
            ]
        );
        assert_eq!(problems(&[("VEGA_AUTH_PROVIDER", "basic")]), ["VEGA_AUTH_PROVIDER: expected custom or cognito"]);
    }

    #[test]
    fn custom_needs_an_emulator_on_this_machine() {
        let with = |url| {
            problems(&[("VEGA_AUTH_PROVIDER", "custom"), ("VEGA_AUTH_SECRET", SECRET), ("AWS_ENDPOINT_URL", url)])
        };
        for local in [
            "http://localhost:4566",
            "http://127.0.0.1:4566/",
            "http://[::1]:4566",
            "http://ministack.localhost:4566",
            "http://host.docker.internal:4566",
        ] {
            assert!(with(local).is_empty(), "{local}");
        }
        for remote in [
            "",
            "localhost:4566",
            "https://dynamodb.us-west-1.amazonaws.com",
            "http://10.0.0.1:4566",
            "http://localhost.evil.example",
            "http://localhost@evil.example",
            "http://evil.example/localhost",
            "http://evil.example?localhost",
            "http://notlocalhost",
        ] {
            assert_eq!(with(remote).len(), 1, "{remote}");
        }
    }

    #[test]
    fn custom_refuses_to_start_with_the_credentials_of_lambda() {
        let problems = problems(&[
            ("VEGA_AUTH_PROVIDER", "custom"),
            ("VEGA_AUTH_SECRET", SECRET),
            ("AWS_ENDPOINT_URL", "http://localhost:4566"),
            ("AWS_SESSION_TOKEN", "the token of a role"),
        ]);
        assert!(problems.len() == 1 && problems[0].contains("AWS_SESSION_TOKEN"), "{problems:?}");
        assert!(!problems[0].contains("the token of a role"));
    }

    #[test]
    fn a_short_secret_is_refused_and_not_repeated() {
        let problems = problems(&[
            ("VEGA_AUTH_PROVIDER", "custom"),
            ("VEGA_AUTH_SECRET", "hunter2"),
            ("AWS_ENDPOINT_URL", "http://localhost:4566"),
        ]);
        assert_eq!(problems, ["VEGA_AUTH_SECRET: expected at least 32 bytes"]);
    }

    #[test]
    fn a_pool_of_another_partition_is_refused() {
        for (region, refused) in [("us-west-1", false), ("us-east-2", false), ("cn-north-1", true), ("west", true)] {
            let problems = problems(&[
                ("VEGA_AUTH_PROVIDER", "cognito"),
                ("VEGA_COGNITO_REGION", region),
                ("VEGA_COGNITO_USER_POOL_ID", "us-west-1_abc"),
                ("VEGA_COGNITO_APP_CLIENT_ID", "client"),
            ]);
            assert_eq!(problems.len(), usize::from(refused), "{region}");
            assert!(problems.iter().all(|problem| problem.contains("VEGA_COGNITO_USER_POOL_ID")), "{problems:?}");
        }
    }
}
