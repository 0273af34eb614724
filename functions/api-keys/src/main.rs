//! API keys: wiring alone, see the library.

use std::time::SystemTime;

use api_keys::{ApiKeys, Config, FUNCTION};
use vega_http::{log_init_failure, serve};
use vega_store::Store;

#[tokio::main(flavor = "current_thread")]
#[expect(
    clippy::disallowed_methods,
    reason = "main reads the environment, the clock and the random source and passes them on"
)]
async fn main() -> Result<(), lambda_http::Error> {
    let config = Config::load(|name| std::env::var(name).ok()).map_err(|error| log_init_failure(FUNCTION, error))?;
    let keys = ApiKeys {
        store: Store::new(&config.store, config.table),
        limit: config.limit,
        rules: config.rules,
        entropy: getrandom::fill,
    };
    keys.store.warm_up().await;
    serve(config.http, |request| {
        let keys = &keys;
        async move { keys.handle(&request, SystemTime::now().into()).await }
    })
    .await
}
