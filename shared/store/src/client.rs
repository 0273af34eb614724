use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Region};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use vega_aws::{ATTEMPTS, Api, Settings};

/// The SDK's client, with the deadlines and the retries of the authorizer's reader.
pub fn client(settings: &Settings) -> Client {
    let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let [attempt_timeout, operation_timeout] = settings.timeouts(Api::DYNAMODB);
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http)
        .endpoint_url(settings.endpoint(Api::DYNAMODB))
        .region(Region::new(settings.region.clone()))
        .credentials_provider(settings.credentials.clone())
        .retry_config(
            RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(Duration::from_millis(50)),
        )
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(attempt_timeout)
                .operation_attempt_timeout(attempt_timeout)
                .operation_timeout(operation_timeout)
                .build(),
        );
    Client::from_conf(config.build())
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::config::endpoint::{DefaultResolver, Params, ResolveEndpoint as _};
    use vega_auth::config::aws_endpoint;

    #[tokio::test]
    async fn each_partition_has_the_endpoint_of_the_sdk() {
        for region in ["us-west-1", "us-gov-west-1", "cn-north-1", "eusc-de-east-1"] {
            let params = Params::builder().region(region).build().unwrap();
            let endpoint = DefaultResolver::new().resolve_endpoint(&params).await.unwrap();
            assert_eq!(aws_endpoint("dynamodb", region), endpoint.url());
        }
    }
}
