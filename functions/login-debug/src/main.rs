//! The debug login: wiring alone, see the library.

use std::time::SystemTime;

use login_debug::DebugLogin;
use vega_auth::config::Environment;
use vega_http::{Settings, serve};

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::disallowed_methods, reason = "main reads the environment and the clock and passes them on")]
async fn main() -> Result<(), lambda_http::Error> {
    let mut environment = Environment::new(|name| std::env::var(name).ok());
    let settings = Settings::read("login-debug", &mut environment);
    let login = DebugLogin::read(&mut environment);
    let (settings, login) =
        environment.finish(settings.zip(login)).inspect_err(|error| println!("{}", error.log_line("login-debug")))?;
    serve(settings, |request| {
        let login = &login;
        async move { login.handle(&request, SystemTime::now().into()) }
    })
    .await
}
