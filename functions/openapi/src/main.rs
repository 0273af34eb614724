//! The OpenAPI document: wiring alone, see the library.

use vega_auth::config::Environment;
use vega_http::{Settings, serve};

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::disallowed_methods, reason = "main reads the environment and passes it on")]
async fn main() -> Result<(), lambda_http::Error> {
    let mut environment = Environment::new(|name| std::env::var(name).ok());
    let settings = Settings::read("openapi", &mut environment);
    let settings = environment.finish(settings).inspect_err(|error| println!("{}", error.log_line("openapi")))?;
    serve(settings, |request| async move { openapi::handle(&request) }).await
}
