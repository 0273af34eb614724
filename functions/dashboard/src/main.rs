//! The dashboard: wiring only, see the library.

use dashboard::{Dashboard, FILES};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    vega_http::main("dashboard", |environment| {
        let dashboard = Dashboard::read(environment, FILES)?;
        Some(move |request: &_, _| dashboard.handle(request))
    })
    .await
}
