//! The debug login: wiring only, see the library.

use login_debug::DebugLogin;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    vega_http::main("login-debug", DebugLogin::read).await
}
