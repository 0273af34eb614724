//! Prints every Cognito vector for each source as JSON, for other libraries: `tests/offline/test_second_opinions.py`.

use serde_json::json;
use vega_testing::vectors::{Kind, Source, Vector};

fn main() {
    let tokens = Source::all().into_iter().flat_map(|source| {
        source.vectors().into_iter().filter(Vector::is_about_the_token).map(move |vector| {
            json!({
                "name": vector.name, "expect": vector.expect, "now": vector.now(), "token": vector.token(Kind::Cognito),
                "key_set": vector.key_set(), "issuer": source.issuer,
            })
        })
    });
    println!("{}", tokens.collect::<serde_json::Value>());
}
