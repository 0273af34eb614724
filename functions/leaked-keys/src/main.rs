//! Leaked keys: wiring alone, see the library.

use std::time::SystemTime;

use leaked_keys::{Config, FUNCTION, LeakedKeys};
use vega_auth::SigningKeys;
use vega_http::{log_init_failure, serve};
use vega_https_client::HttpsClient;
use vega_jwks::HttpKeySet;
use vega_store::Store;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::disallowed_methods, reason = "main reads the environment and the clock and passes them on")]
async fn main() -> Result<(), lambda_http::Error> {
    let config = Config::load(|name| std::env::var(name).ok()).map_err(|error| log_init_failure(FUNCTION, error))?;
    let client = HttpsClient::new(None)?;
    let github = config.github_keys_url.map(|url| SigningKeys::of(HttpKeySet::new(client, url)));
    let keys = LeakedKeys { store: Store::new(&config.store, config.table), github };
    serve(config.http, |request| {
        let keys = &keys;
        async move { keys.handle(&request, SystemTime::now().into()).await }
    })
    .await
}
