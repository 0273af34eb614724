use std::borrow::Cow;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::identity::Identity;
use vega_auth::config::{Environment, aws_endpoint, text};

/// One try. A point read takes single-digit milliseconds; a try this slow is lost.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(900);
/// All tries together: well within the authorizer's 5 s. The SDK has no such limit of its own.
const OPERATION_TIMEOUT: Duration = Duration::from_millis(2500);
/// The first try and two more, with jitter between them.
pub const ATTEMPTS: u32 = 3;

/// Deadline for recording a use. No caller should wait for it.
pub const RECORD_USE_TIMEOUT: Duration = Duration::from_millis(300);

/// Where the table's database is, and who we are to it.
#[derive(Clone, Debug)]
pub struct Settings {
    region: String,
    endpoint: Option<String>,
    credentials: Credentials,
    identity: Identity,
    /// Deadline for one attempt.
    pub attempt_timeout: Duration,
    /// Deadline for all attempts together.
    pub operation_timeout: Duration,
}

impl Settings {
    /// Reads the standard variables: region and credentials, which Lambda sets and which last as long as the process, and
    /// `AWS_ENDPOINT_URL_DYNAMODB` or `AWS_ENDPOINT_URL` for an emulator. Nothing else is looked up: no file, no profile
    /// and no metadata service.
    pub fn read<L: Fn(&str) -> Option<String>>(environment: &mut Environment<L>) -> Option<Self> {
        let region = environment.required("AWS_REGION", text);
        let access_key_id = environment.required("AWS_ACCESS_KEY_ID", text);
        let secret = environment.required("AWS_SECRET_ACCESS_KEY", text);
        let session_token = environment.get("AWS_SESSION_TOKEN");
        let endpoint = environment.get("AWS_ENDPOINT_URL_DYNAMODB").or_else(|| environment.get("AWS_ENDPOINT_URL"));
        let credentials = Credentials::new(access_key_id?, secret?, session_token, None, "environment");
        Some(Self {
            region: region?,
            endpoint,
            identity: credentials.clone().into(),
            credentials,
            attempt_timeout: ATTEMPT_TIMEOUT,
            operation_timeout: OPERATION_TIMEOUT,
        })
    }

    /// Where `DynamoDB` is: at the endpoint that was given, else at the region's own.
    pub(crate) fn endpoint(&self) -> Cow<'_, str> {
        let usual = || Cow::Owned(aws_endpoint("dynamodb", &self.region));
        self.endpoint.as_deref().map_or_else(usual, Cow::Borrowed)
    }

    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The SDK's client.
    pub fn client(&self) -> Client {
        let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let mut config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http)
            .region(Region::new(self.region.clone()))
            .credentials_provider(self.credentials.clone())
            .retry_config(
                RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(Duration::from_millis(50)),
            )
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(ATTEMPT_TIMEOUT)
                    .operation_attempt_timeout(self.attempt_timeout)
                    .operation_timeout(self.operation_timeout)
                    .build(),
            );
        if let Some(endpoint) = &self.endpoint {
            config = config.endpoint_url(endpoint);
        }
        Client::from_conf(config.build())
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::config::endpoint::{DefaultResolver, Params, ResolveEndpoint as _};

    use super::*;

    #[tokio::test]
    async fn the_endpoint_of_each_partition_is_the_sdks() {
        for region in ["us-west-1", "us-gov-west-1", "cn-north-1", "eusc-de-east-1"] {
            let params = Params::builder().region(region).build().unwrap();
            let endpoint = DefaultResolver::new().resolve_endpoint(&params).await.unwrap();
            assert_eq!(aws_endpoint("dynamodb", region), endpoint.url());
        }
    }

    #[test]
    fn every_missing_variable_is_named_at_once_and_credentials_are_not_printed() {
        let mut environment = Environment::new(|_| None);
        let settings = Settings::read(&mut environment);
        assert_eq!(
            environment.finish(settings).unwrap_err().0,
            ["AWS_REGION is not set", "AWS_ACCESS_KEY_ID is not set", "AWS_SECRET_ACCESS_KEY is not set"]
        );
        let mut environment = Environment::new(|name| Some(format!("the {name}")));
        let settings = Settings::read(&mut environment).unwrap();
        assert_eq!(settings.endpoint.as_deref(), Some("the AWS_ENDPOINT_URL_DYNAMODB"));
        let shown = format!("{settings:?}");
        assert!(!shown.contains("SECRET") && !shown.contains("TOKEN"), "{shown}");
    }
}
