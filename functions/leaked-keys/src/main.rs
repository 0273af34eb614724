//! Leaked keys: wiring only, see the library.

use leaked_keys::{Config, FUNCTION, LeakedKeys};
use vega_auth::KeySetCache;
use vega_https_client::{HttpKeySet, HttpsClient};
use vega_store::Store;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    let (settings, config) = vega_http::configure(FUNCTION, Config::read)?;
    let client = HttpsClient::new(None)?;
    let github = config.github_keys_url.map(|url| KeySetCache::new(HttpKeySet::new(client, url)));
    vega_http::serve(settings, LeakedKeys { store: Store::new(&config.aws, config.table), github }).await
}
