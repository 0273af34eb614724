//! Prints the variables that each function asks the environment for, as JSON: by its own code, with a lookup that takes
//! notes. `tests/offline/test_template.py` compares them with those that template.yaml sets.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::json;
use vega_auth::config::Environment;
use vega_http::Settings;

/// The providers that there are, and none.
const ALL: [&str; 3] = ["", "custom", "cognito"];

type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

fn main() {
    let only_http = || names(&ALL, |lookup| drop(Settings::read("", &mut Environment::new(lookup))));
    let variables = json!({
        "api-keys": names(&ALL, |lookup| drop(api_keys::Config::load(lookup))),
        "authorizer": names(&ALL, |lookup| drop(authorizer::Config::load(lookup))),
        "dashboard": names(&ALL, |lookup| {
            let mut environment = Environment::new(lookup);
            drop(Settings::read("", &mut environment));
            drop(dashboard::Dashboard::read(&mut environment, &[]));
        }),
        "leaked-keys": names(&ALL, |lookup| drop(leaked_keys::Config::load(lookup))),
        "login-debug": names(&["custom"], |lookup| {
            let mut environment = Environment::new(lookup);
            drop(Settings::read("", &mut environment));
            drop(login_debug::DebugLogin::read(&mut environment));
        }),
        "mail": names(&ALL, |lookup| drop(mail::Config::load(lookup))),
        "me": only_http(),
        "notifications": names(&ALL, |lookup| drop(notifications::Config::load(lookup))),
        "openapi": only_http(),
        "owners": names(&ALL, |lookup| drop(owners::Config::load(lookup))),
        "projects": only_http(),
    });
    println!("{variables}");
}

/// Whatever is asked for under any of the providers that the function is deployed with.
fn names(providers: &[&str], read: impl Fn(Lookup<'_>)) -> BTreeSet<String> {
    let asked = RefCell::new(BTreeSet::new());
    for provider in providers {
        read(&|name| {
            asked.borrow_mut().insert(name.to_owned());
            (name == "VEGA_AUTH_PROVIDER").then(|| (*provider).to_owned())
        });
    }
    asked.into_inner().into_iter().filter(|name| name.starts_with("VEGA_")).collect()
}
