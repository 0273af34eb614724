//! Leaked keys: wiring alone, see the library.

use std::time::SystemTime;

use leaked_keys::{Config, FUNCTION, LeakedKeys};
use vega_auth::KeySetCache;
use vega_http::serve;
use vega_https_client::HttpsClient;
use vega_jwks::HttpKeySet;
use vega_store::Store;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::disallowed_methods, reason = "main reads the environment and the clock and passes them on")]
async fn main() -> Result<(), lambda_http::Error> {
    let config =
        Config::load(|name| std::env::var(name).ok()).inspect_err(|error| println!("{}", error.log_line(FUNCTION)))?;
    let client = HttpsClient::new(None)?;
    let github = config.github_keys_url.map(|url| KeySetCache::new(HttpKeySet::new(client, url)));
    let keys = LeakedKeys { store: Store::new(&config.store, config.table), github };
    serve(config.http, |request| {
        let keys = &keys;
        async move { keys.handle(&request, SystemTime::now().into()).await }
    })
    .await
}
