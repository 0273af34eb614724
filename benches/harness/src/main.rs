//! The harness's command line; see the library.

use std::path::Path;

use harness::{Failure, bench, instructions, load};

const USAGE: &str = "harness bench HELLO AUTHORIZER NAIVE ROUNDS
harness load AUTHORIZER API_KEYS
harness instructions AUTHORIZER BUDGET FOLDER [renew]";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["bench", hello, authorizer, naive, rounds] => bench::run([hello, authorizer, naive], rounds.parse()?).await,
        ["load", authorizer, api_keys] => load::run(authorizer, api_keys).await,
        ["instructions", authorizer, budget, folder, renew @ ..] if matches!(renew, [] | ["renew"]) => {
            instructions::run(authorizer, Path::new(budget), Path::new(folder), !renew.is_empty()).await
        }
        _ => Err(USAGE.into()),
    }
}
