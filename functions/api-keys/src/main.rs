//! API keys: wiring alone, see the library.

use std::time::SystemTime;

use api_keys::{ApiKeys, Config, FUNCTION};
use vega_http::serve;
use vega_store::Store;

#[tokio::main(flavor = "current_thread")]
#[expect(
    clippy::disallowed_methods,
    reason = "main reads the environment, the clock and the random source and passes them on"
)]
async fn main() -> Result<(), lambda_http::Error> {
    let config =
        Config::load(|name| std::env::var(name).ok()).inspect_err(|error| println!("{}", error.log_line(FUNCTION)))?;
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
