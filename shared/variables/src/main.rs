//! Prints the variables that each function reads from the environment, as JSON: runs the function's own code with a lookup
//! that records the names. `tests/offline/test_template.py` compares them with those that template.yaml sets.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::json;
use vega_auth::config::Environment;
use vega_http::Settings;

/// Every provider, and none.
const ALL: [&str; 3] = ["", "custom", "cognito"];

fn main() {
    let variables = json!({
        "api-keys": names(&ALL, |environment| {
            drop((http(environment), api_keys::ApiKeys::read(environment, |_| Ok(()))));
        }),
        "authorizer": names(&ALL, |environment| drop(authorizer::Config::read(environment))),
        "authorizer-check": names(&ALL, |environment| drop(vega_aws::Settings::read(environment))),
        "dashboard": names(&ALL, |environment| {
            drop((http(environment), dashboard::Dashboard::read(environment, &[])));
        }),
        "leaked-keys": names(&ALL, |environment| drop((http(environment), leaked_keys::Config::read(environment)))),
        "login-debug": names(&["custom"], |environment| {
            drop((http(environment), login_debug::DebugLogin::read(environment)));
        }),
        "mail": names(&ALL, |environment| drop(mail::Config::read(environment))),
        "me": names(&ALL, |environment| drop(http(environment))),
        "notifications": names(&ALL, |environment| drop(notifications::Config::read(environment))),
        "openapi": names(&ALL, |environment| drop(http(environment))),
        "owners": names(&ALL, |environment| drop(owners::Config::read(environment))),
        "projects": names(&ALL, |environment| drop(http(environment))),
        "session": names(&ALL, |environment| drop((http(environment), session::Config::read(environment)))),
    });
    println!("{variables}");
}

fn http(environment: &mut Environment<'_>) -> Option<Settings> {
    Settings::read("", environment)
}

/// The variables that are read under any of the providers that the function is deployed with.
fn names(providers: &[&str], read: impl Fn(&mut Environment<'_>)) -> BTreeSet<String> {
    let names = RefCell::new(BTreeSet::new());
    for provider in providers {
        read(&mut Environment::new(|name| {
            names.borrow_mut().insert(name.to_owned());
            (name == "VEGA_AUTH_PROVIDER").then(|| (*provider).to_owned())
        }));
    }
    names.into_inner().into_iter().filter(|name| name.starts_with("VEGA_")).collect()
}
