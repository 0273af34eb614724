//! The current user: wiring only, see the library.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    vega_http::main("me", |_| Some(|request: &_, _| me::handle(request))).await
}
