//! docs/openapi.json, the table in docs/errors.md and the page that is served of it are generated from the functions' code: `make openapi` writes them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;
use vega_http::Code;
use vega_openapi::{codes_with_meanings, document};

#[expect(clippy::unwrap_used, reason = "a schema conflict fails every test here")]
fn composed() -> Value {
    document(
        env!("CARGO_PKG_VERSION"),
        vec![
            ("api-keys", "People create, list, change and revoke their keys.", api_keys::routes()),
            ("leaked-keys", "Anyone who finds a leaked key can report it, and it is revoked.", leaked_keys::routes()),
            ("dashboard", "The page where people manage their keys.", dashboard::routes()),
            ("me", "The calling user or key.", me::routes()),
            ("projects", "The example of a protected function.", projects::routes()),
            ("session", "Keeps a person signed in to the dashboard.", session::routes()),
            ("login-debug", "The debug user's login, on a developer's machine only.", login_debug::routes()),
            ("openapi", "This document.", openapi::routes()),
        ],
    )
    .unwrap()
}

#[test]
fn the_openapi_document_is_current() {
    assert_current("openapi.json", openapi::DOCUMENT, &format!("{:#}\n", composed()));
}

/// The entries of docs/errors.md: the code, why it occurs and what to do.
fn entries() -> Vec<(&'static str, &'static str, &'static str)> {
    let entries = include_str!("../../../docs/errors.md").split("\n## `").skip(1);
    let entry = |entry: &'static str| {
        let (code, text) = entry.split_once("`\n**Why:** ")?;
        let (why, what) = text.split_once("\n\n**What to do:** ")?;
        Some((code, why, what.trim_end()))
    };
    entries.map(|text| entry(text).unwrap_or((text, "", ""))).collect()
}

#[test]
fn every_code_has_an_entry_in_the_order_of_the_table() {
    let codes: Vec<String> = codes_with_meanings().into_iter().map(|(code, _)| code.name()).collect();
    assert_eq!(entries().iter().map(|(code, ..)| *code).collect::<Vec<_>>(), codes);
}

#[test]
fn the_pages_of_errors_are_current() {
    let page = include_str!("../../../docs/errors.md");
    let (about, rest) = page.split_once("\n| ").unwrap();
    let (_, entries_of_page) = rest.split_once("\n\n").unwrap();
    let (mut table, mut html) = ("| Status | `error` | Meaning |\n| --- | --- | --- |\n".to_owned(), HEAD.to_owned());
    for ((code, meaning), (_, why, what)) in codes_with_meanings().into_iter().zip(entries()) {
        let (status, name) = (code.status().as_u16(), code.name());
        writeln!(table, "| {status} | `{name}` | {meaning} |").unwrap();
        let [meaning, why, what] = [&meaning, why, what].map(html_of);
        writeln!(
            html,
            "<h2 id=\"{name}\"><code>{name}</code></h2>\n<p>{status}. {meaning}</p>\n<p><b>Why:</b> {why}</p>"
        )
        .unwrap();
        writeln!(html, "<p><b>What to do:</b> {what}</p>").unwrap();
    }
    assert_current("errors.md", page, &format!("{about}\n{table}\n{entries_of_page}"));
    assert_current("../functions/openapi/errors.html", openapi::ERRORS, &html);
}

const HEAD: &str = "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Errors of Vega Auth</title>\n<h1>Errors</h1>\n";

/// The page's few forms of Markdown as HTML: code, links to the OpenAPI document, paragraphs.
fn html_of(markdown: &str) -> String {
    let plain = markdown.replace('&', "&amp;").replace('<', "&lt;");
    let linked = plain.replace("[openapi.json](openapi.json)", "<a href=\"openapi.json\">openapi.json</a>");
    let parts = linked.split('`').enumerate();
    parts.map(|(n, part)| if n % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() }).collect()
}

#[test]
fn the_schema_of_the_access_rules_is_current() {
    let schema = format!("{:#}\n", vega_auth::rules_schema().as_value());
    assert_current("../access/schema.json", include_str!("../../../access/schema.json"), &schema);
}

/// Compares a page with what the code generates, or writes it.
#[expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "make openapi sets VEGA_RENEW to write the page")]
fn assert_current(page: &str, text: &str, generated: &str) {
    if std::env::var_os("VEGA_RENEW").is_some() {
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page), generated).unwrap();
        return;
    }
    // Not assert_eq!: nobody compares two documents in a terminal
    assert!(text == generated, "docs/{page} is stale: run `make openapi`, and read its diff");
}

#[test]
fn every_code_but_the_gateways_own_is_an_error_of_some_route() {
    let document = composed();
    let responses = document["components"]["responses"].as_object().unwrap();
    let shown: BTreeSet<Code> = responses
        .values()
        .flat_map(|response| response["content"]["application/problem+json"]["examples"].as_object().unwrap().values())
        .map(|example| serde_json::from_value(example["value"]["error"].clone()).unwrap())
        .collect();
    let all = codes_with_meanings().into_iter().map(|(code, _)| code).filter(|code| *code != Code::BadRequest);
    assert!(shown.into_iter().eq(all));
}

#[test]
fn every_member_and_parameter_has_a_description() {
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
fn references_and_links_resolve_and_operation_ids_are_unique() {
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
