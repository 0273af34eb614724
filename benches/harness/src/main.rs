//! Runs functions as Lambda does, on loopback: it plays the Runtime API, the issuer's key set and `DynamoDB`, checks each
//! answer, and measures what the functions cost. See docs/performance.md.

mod backend;
mod bench;
mod cases;
mod credentials;
mod instance;
mod load;
mod table;

/// Anything that ends the run.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

const USAGE: &str = "harness bench HELLO AUTHORIZER NAIVE ROUNDS | load AUTHORIZER API_KEYS";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["bench", hello, authorizer, naive, rounds] => bench::run([hello, authorizer, naive], rounds.parse()?).await,
        ["load", authorizer, api_keys] => load::run(authorizer, api_keys).await,
        _ => Err(USAGE.into()),
    }
}
