//! Session: wiring only, see the library.

use std::time::SystemTime;

use session::{Cognito, Config, FUNCTION};
use vega_aws::{Api, Service};
use vega_https_client::HttpsClient;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::disallowed_methods, reason = "main passes the clock on")]
async fn main() -> Result<(), lambda_http::Error> {
    let (settings, config) = vega_http::configure(FUNCTION, Config::read)?;
    let pool = Service::new(HttpsClient::new(None)?, config.aws, Api::SIGN_IN, SystemTime::now)?;
    vega_http::serve(settings, Cognito { pool, client_id: config.client_id }).await
}
