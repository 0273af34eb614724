//! API keys: wiring only, see the library.

use api_keys::{ApiKeys, Config, FUNCTION};
use vega_store::Store;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::disallowed_methods, reason = "main passes the random source on")]
async fn main() -> Result<(), lambda_http::Error> {
    let (settings, config) = vega_http::configure(FUNCTION, Config::read)?;
    let keys = ApiKeys {
        store: Store::new(&config.aws, config.table),
        limit: config.limit,
        rules: config.rules,
        entropy: getrandom::fill,
    };
    keys.store.warm_up().await;
    vega_http::serve(settings, keys).await
}
