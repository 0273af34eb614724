//! The OpenAPI document: wiring only, see the library.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    vega_http::main("openapi", |_| Some(|request: &_, _| openapi::handle(request))).await
}
