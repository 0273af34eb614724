//! The current user: wiring only, see the library.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    vega_http::main("me", |environment| {
        let rules = vega_access_files::read(environment)?;
        Some(move |request: &_, _| me::handle(request, &rules))
    })
    .await
}
