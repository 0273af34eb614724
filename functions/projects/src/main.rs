//! Placeholder until the function lands.
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(async |_event: LambdaEvent<Value>| {
        Ok::<Value, Error>(json!({"statusCode": 501, "body": "{}"}))
    }))
    .await
}
