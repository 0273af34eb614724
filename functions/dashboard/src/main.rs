//! The dashboard: wiring alone, see the library.

use dashboard::{Dashboard, FILES};
use vega_auth::config::Environment;
use vega_http::{Settings, serve};

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::disallowed_methods, reason = "main reads the environment and passes it on")]
async fn main() -> Result<(), lambda_http::Error> {
    let mut environment = Environment::new(|name| std::env::var(name).ok());
    let settings = Settings::read("dashboard", &mut environment);
    let dashboard = Dashboard::read(&mut environment, FILES);
    let (settings, dashboard) =
        environment.finish(settings.zip(dashboard)).inspect_err(|error| println!("{}", error.log_line("dashboard")))?;
    serve(settings, |request| {
        let dashboard = &dashboard;
        async move { dashboard.handle(&request) }
    })
    .await
}
