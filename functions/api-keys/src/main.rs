//! API keys: wiring only, see the library.

use api_keys::{ApiKeys, FUNCTION};

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::disallowed_methods, reason = "main passes the random source on")]
async fn main() -> Result<(), lambda_http::Error> {
    let (settings, keys) = vega_http::configure(FUNCTION, |environment| ApiKeys::read(environment, getrandom::fill))?;
    keys.store.warm_up().await;
    vega_http::serve(settings, keys).await
}
