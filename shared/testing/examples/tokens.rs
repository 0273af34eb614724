//! Prints every Cognito vector for each source as JSON, for other libraries: `tests/offline/test_second_opinions.py`.

use serde_json::json;
use vega_testing::vectors::{Kind, Source};

fn main() {
    let tokens = Source::all().into_iter().flat_map(|source| {
        source.vectors().into_iter().filter(|vector| vector.is_about_the_token()).map(move |vector| {
            json!({
                "name": vector.name, "expect": vector.expect, "now": vector.now(), "token": vector.token(Kind::Cognito),
                "key_set": vector.key_set(), "issuer": source.issuer,
            })
        })
    });
    println!("{}", serde_json::Value::from_iter(tokens));
}
