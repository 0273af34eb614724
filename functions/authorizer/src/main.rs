//! The authorizer's wiring; see the library.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};

use authorizer::{Authorizer, Config, LogLine, Metrics, Policies};
use lambda_runtime::{Diagnostic, Error, LambdaEvent, service_fn};
use serde_json::json;
use serde_json::value::RawValue;
use vega_auth::config::{Provider, load};
use vega_auth::{Authenticator, CachedKeys, TokenVerifier};
use vega_aws::{Api, Service};
use vega_https_client::HttpKeySet;
use vega_key_table::KeyReader;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::disallowed_methods, reason = "main reads the environment and the clock and passes them on")]
async fn main() -> Result<(), Error> {
    let config = load("authorizer", |name| std::env::var(name).ok(), Config::read)?;
    let tokens = match config.provider {
        Provider::Custom(secret) => TokenVerifier::Custom(secret),
        Provider::Cognito(_) => TokenVerifier::cognito(config.sources, |issuer| {
            HttpKeySet::new(config.client.clone(), issuer.key_set_url(config.cognito_endpoint.as_deref()))
        }),
    };
    let database = Service::new(config.client, config.aws, Api::DYNAMODB, SystemTime::now)?;
    let keys = CachedKeys::new(KeyReader::new(database, config.keys_table), config.key_cache_seconds);
    // Lambda gives init more CPU than it bills for, so connect now and save the first caller the wait. A failure is harmless:
    // the first request tries again.
    tokio::join!(keys.store().warm_up(), async {
        for fault in tokens.warm_up(SystemTime::now().into()).await {
            println!("{}", json!({ "outcome": "warning", "code": fault.code(), "cause": fault.chain() }));
        }
    });
    let authorizer = Authorizer {
        authenticator: Authenticator { tokens, keys },
        policies: Policies::new(config.rules),
        http_api_response: config.http_api_response,
        gateway_caches: config.gateway_caches,
    };

    let metrics = config.metric_namespace.as_deref().map(Metrics::new);
    let is_cold = AtomicBool::new(true);

    lambda_runtime::run(service_fn(async |event: LambdaEvent<Box<RawValue>>| {
        let started = Instant::now();
        let now = SystemTime::now().into();
        let (decision, line) = authorizer.decide(&*event.payload, now).await;
        let mut line: LogLine<'_> = line;
        line.duration_ms = u64::try_from(started.elapsed().as_millis()).ok();
        (line.key_read_ms, line.key_read_attempts) = authorizer.authenticator.keys.store().take_read().unzip();
        let (age, fetches) = authorizer.authenticator.tokens.take_measures(now);
        (line.key_set_age_seconds, line.key_set_fetches) = (age, Some(fetches).filter(|fetches| *fetches > 0));
        line.cold_start = is_cold.swap(false, Ordering::Relaxed).then_some(1);
        line.metrics = metrics.as_ref().map(|metrics| metrics.of(&line, now));
        println!("{line}");
        decision
            .map_err(|refusal| Diagnostic { error_type: format!("{refusal:?}"), error_message: refusal.to_string() })
    }))
    .await
}
