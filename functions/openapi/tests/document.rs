//! docs/openapi.json is what the functions say of themselves. `make openapi` renews it.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use vega_openapi::document;

#[expect(clippy::unwrap_used, reason = "a clash of names is a failure of each test here")]
fn composed() -> Value {
    document(
        env!("CARGO_PKG_VERSION"),
        vec![
            ("api-keys", "People make, list, change and revoke their keys.", api_keys::routes()),
            ("leaked-keys", "Whoever finds a key in the open hands it in, and it ends.", leaked_keys::routes()),
            ("dashboard", "The page where people manage their keys.", dashboard::routes()),
            ("me", "Who am I.", me::routes()),
            ("projects", "The example of a protected function.", projects::routes()),
            ("login-debug", "The debug user's login, on a developer's machine only.", login_debug::routes()),
            ("openapi", "This document.", openapi::routes()),
        ],
    )
    .unwrap()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "make openapi asks for it by VEGA_RENEW")]
fn the_document_is_what_the_functions_say_of_themselves() {
    let composed = format!("{:#}\n", composed());
    if std::env::var_os("VEGA_RENEW").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
        std::fs::write(path, composed).unwrap();
        return;
    }
    // Not assert_eq!: nobody reads two documents in a terminal
    assert!(composed == openapi::DOCUMENT, "docs/openapi.json is stale: run `make openapi`, and look at what changed");
}

#[test]
fn every_member_and_parameter_says_what_it_is() {
    let document = composed();
    let mut without = Vec::new();
    each(&document, "", &mut |place, value| {
        let named = value["properties"].as_object().into_iter().flatten().map(|(name, value)| (name.clone(), value));
        let parameters = value["parameters"].as_array().into_iter().flatten().map(|one| (one["name"].to_string(), one));
        // the constraints that a response puts on `Problem`, whose members are described there
        let named = named.filter(|_| !place.contains("/responses/") && !place.contains("/examples/"));
        without.extend(
            named
                .chain(parameters)
                // serde's tag of an enum has no place for a comment
                .filter(|(_, value)| value.get("const").is_none())
                .filter(|(_, value)| value["description"].as_str().is_none_or(str::is_empty))
                .map(|(name, _)| format!("{place}: {name}")),
        );
    });
    assert_eq!(without, Vec::<String>::new());
}

#[test]
fn every_reference_leads_somewhere_and_no_two_operations_share_an_id() {
    let document = composed();
    let (mut ids, mut operations) = (BTreeSet::new(), 0);
    each(&document, "", &mut |place, value| {
        if let Some(reference) = value["$ref"].as_str() {
            let target = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
            assert!(target.is_some(), "{place}: {reference}");
        }
        if place.starts_with("/paths/") && value.get("responses").is_some() {
            operations += 1;
            assert!(ids.insert(value["operationId"].as_str().unwrap().to_owned()), "{place}");
        }
    });
    assert_eq!(ids.len(), operations);
    each(&document, "", &mut |place, value| {
        for link in value["links"].as_object().into_iter().flatten().map(|(_, link)| link) {
            assert!(ids.contains(link["operationId"].as_str().unwrap()), "{place}: {link}");
        }
    });
}

/// Visits every value below this one.
fn each<'a>(value: &'a Value, place: &str, visit: &mut impl FnMut(&str, &'a Value)) {
    visit(place, value);
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                each(value, &format!("{place}/{name}"), visit);
            }
        }
        Value::Array(items) => items.iter().for_each(|value| each(value, place, visit)),
        _ => {}
    }
}
