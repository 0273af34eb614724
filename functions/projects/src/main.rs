//! The example of a protected function: wiring only, see the library.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    vega_http::main("projects", |_| Some(|request: &_, _| projects::handle(request))).await
}
