//! The authorizer's wiring; see the library.

use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use authorizer::{Authorizer, Config, Policies};
use lambda_runtime::{Diagnostic, Error, LambdaEvent, service_fn};
use serde_json::json;
use serde_json::value::RawValue;
use vega_auth::config::{Environment, Provider};
use vega_auth::{Authenticator, CachedKeys, SigningKeys, TokenVerifier};
use vega_https_client::HttpsClient;
use vega_jwks::HttpKeySet;
use vega_key_table::{KeyReader, Settings};

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::disallowed_methods, reason = "main reads the environment and the clock and passes them on")]
async fn main() -> Result<(), Error> {
    let mut environment = Environment::new(|name| std::env::var(name).ok());
    let config = Config::read(&mut environment);
    let settings = Settings::read(&mut environment);
    let endpoint = ["AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER", "AWS_ENDPOINT_URL"]
        .into_iter()
        .find_map(|name| environment.get(name));
    let client = HttpsClient::new(environment.get("SSL_CERT_FILE").map(PathBuf::from).as_deref());
    let client = client.map_err(|problem| environment.problem::<()>(problem.to_string())).ok();
    let ((config, settings), client) = environment
        .finish(config.zip(settings).zip(client))
        .inspect_err(|error| println!("{}", error.log_line("authorizer")))?;
    let tokens = match config.provider {
        Provider::Custom(secret) => TokenVerifier::Custom(secret),
        Provider::Cognito(pool) => {
            let source = HttpKeySet::new(client.clone(), pool.key_set_url(endpoint.as_deref()));
            TokenVerifier::Cognito(pool, SigningKeys::new(source))
        }
    };
    let reader = KeyReader::new(client, settings, config.keys_table, SystemTime::now)?;
    let keys = CachedKeys::new(reader, config.key_cache_seconds);
    // Lambda gives init more CPU than it bills for, so connect now and save the first caller the wait. A failure is harmless:
    // the first request tries again.
    tokio::join!(keys.store().warm_up(), async {
        if let TokenVerifier::Cognito(_, keys) = &tokens
            && let Err(fault) = keys.warm_up(SystemTime::now().into()).await
        {
            println!("{}", json!({ "outcome": "warning", "code": fault.code(), "cause": fault.chain() }));
        }
    });
    let authorizer = Authorizer {
        authenticator: Authenticator { tokens, keys },
        policies: Policies::new(config.rules),
        http_api_response: config.http_api_response,
        gateway_caches: config.gateway_caches,
    };

    lambda_runtime::run(service_fn(async |event: LambdaEvent<Box<RawValue>>| {
        let started = Instant::now();
        let (decision, mut line) = authorizer.decide(&*event.payload, SystemTime::now().into()).await;
        line.duration_ms = u64::try_from(started.elapsed().as_millis()).ok();
        println!("{line}");
        decision
            .map_err(|refusal| Diagnostic { error_type: format!("{refusal:?}"), error_message: refusal.to_string() })
    }))
    .await
}
