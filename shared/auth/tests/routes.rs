//! Routes as API Gateway writes and matches them: the most specific rule decides, and the matched resource and the path agree.
#![allow(missing_docs, clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::json;
use vega_auth::{Access, AccessRules, Authentication, CurrentUser, Groups, RulesError, Target};

fn user(groups: &[&str]) -> CurrentUser {
    CurrentUser {
        id: "user-1".into(),
        username: "ada".into(),
        groups: Groups::named(groups.iter().copied()),
        authentication: Authentication::Jwt,
        oauth_scopes: Vec::new(),
        issued_at: None,
        expires_at: None,
    }
}

fn rules(cache: &str, rules: &[(String, &str)]) -> Result<AccessRules, RulesError> {
    let rules: Vec<_> = rules.iter().map(|(route, group)| json!({ "route": route, "groups": [group] })).collect();
    json!({ "cache": cache, "rules": rules }).to_string().parse()
}

fn allows(rules: &AccessRules, group: &str, method: &str, path: &str, resource: Option<&str>) -> bool {
    rules.access(&user(&[group]), Target { method, path, resource }) == Access::Allowed
}

/// Whether API Gateway's route with this path matches the request's path: segment by segment.
fn matches(resource: &str, path: &str) -> bool {
    let (resource, path): (Vec<_>, Vec<_>) = (resource.split('/').collect(), path.split('/').collect());
    let is_greedy = resource.last().is_some_and(|last| last.ends_with("+}"));
    let lengths = if is_greedy { path.len() >= resource.len() } else { path.len() == resource.len() };
    lengths
        && resource
            .iter()
            .zip(&path)
            .all(|(ours, theirs)| if ours.starts_with('{') { !theirs.is_empty() } else { ours == theirs })
}

/// The resource that API Gateway chooses for a path: a literal segment before a parameter, and both before `{proxy+}`.
fn chosen<'a>(resources: impl Iterator<Item = &'a str>, path: &str) -> Option<&'a str> {
    let rank = |segment: &str| match segment {
        _ if segment.ends_with("+}") => 2,
        _ => u8::from(segment.starts_with('{')),
    };
    let key = |resource: &&str| resource.split('/').map(rank).collect::<Vec<_>>();
    resources.filter(|resource| matches(resource, path)).min_by_key(key)
}

#[test]
fn the_most_specific_rule_decides() {
    let rules = rules(
        "none",
        &[
            ("ANY /{proxy+}".into(), "root"),
            ("GET /users/{id}".into(), "user"),
            ("ANY /users/{id}".into(), "operator"),
            ("GET /users/audit".into(), "root"),
            ("GET /users/{id}/keys".into(), "operator"),
            ("* /public/*".into(), "user"),
            ("GET /public/secret/{proxy+}".into(), "root"),
        ],
    )
    .unwrap();
    for (method, path, group) in [
        ("GET", "/users/ada", "user"),
        ("PUT", "/users/ada", "operator"),
        ("GET", "/users/audit", "root"),
        // No rule for this method: the next specific route that has one.
        ("PUT", "/users/audit", "operator"),
        ("GET", "/users/ada/keys", "operator"),
        ("GET", "/users/ada/other", "root"),
        ("GET", "/users", "root"),
        ("GET", "/public/a/b", "user"),
        ("GET", "/public/secret/a/b", "root"),
        ("POST", "/public/secret/a", "user"),
        ("GET", "/public/secret", "user"),
    ] {
        for other in ["root", "operator", "user"] {
            assert_eq!(allows(&rules, other, method, path, None), other == group, "{method} {path} by {other}");
        }
    }
    assert!(!allows(&rules, "root", "GET", "/", None), "a greedy route needs a segment");
}

#[test]
fn the_matched_resource_decides_before_the_path() {
    let rules = rules("none", &[("GET /users/{id}".into(), "root"), ("GET /users/self".into(), "user")]).unwrap();
    assert!(allows(&rules, "user", "GET", "/users/self", Some("/users/self")));
    // An API without that route runs the function behind the other one.
    assert!(!allows(&rules, "user", "GET", "/users/self", Some("/users/{name}")));
    assert!(allows(&rules, "root", "GET", "/users/self", Some("/users/{name}")));
    // Only a route that continues with the rest of the path leaves the decision to the path.
    for resource in [None, Some("/{proxy+}"), Some("/users/{rest+}"), Some("$default")] {
        assert!(allows(&rules, "user", "GET", "/users/self", resource), "{resource:?}");
    }
    assert!(!allows(&rules, "root", "GET", "/users/ada", Some("/teams/{id}")), "no rule covers it");
}

#[test]
fn a_policy_for_all_routes_needs_both_resource_and_path() {
    let rules = rules("token", &[("GET /users/{id}".into(), "user"), ("GET /teams/{id}".into(), "root")]).unwrap();
    assert!(allows(&rules, "user", "GET", "/users/ada", Some("/users/{id}")));
    assert!(!allows(&rules, "user", "GET", "/users/ada", Some("/teams/{id}")));
    assert!(!allows(&rules, "root", "GET", "/users/ada", Some("/teams/{id}")));
}

#[test]
fn rules_that_no_policy_can_express_need_another_caching() {
    for (list, reason) in [
        (["GET /p/{id}", "GET /p/{id}/members"], "can't be told from"),
        (["GET /{x}/b", "GET /a/*"], "can't be told from"),
        (["GET /p/{id}", "GET /p/self"], "also opens"),
        (["GET /{x}/b", "GET /a/{y}"], "also opens"),
    ] {
        let list: Vec<_> =
            list.iter().zip(["user", "root"]).map(|(route, group)| ((*route).to_owned(), group)).collect();
        let problem = rules("token", &list).unwrap_err().to_string();
        assert!(problem.contains(reason) && problem.contains("token_method_path"), "{list:?}: {problem}");
        for cache in ["none", "token_method_path"] {
            assert!(rules(cache, &list).is_ok());
        }
    }
    for list in [["GET /p/{id}", "POST /p/{id}/members"], ["GET /p/{id}", "GET /q/{id}/members"]] {
        assert!(rules("token", &list.map(|route| (route.to_owned(), "user"))).is_ok(), "{list:?}");
    }
}

fn resource() -> impl Strategy<Value = String> {
    let segments = prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "{x}", "{y}"]), 1..5);
    (segments, any::<bool>()).prop_filter_map("API Gateway has no such route", |(mut segments, is_greedy)| {
        if is_greedy {
            *segments.last_mut()? = "{proxy+}";
        }
        let path = format!("/{}", segments.join("/"));
        format!("GET {path}").parse::<vega_auth::Route>().is_ok().then_some(path)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// An API with a rule for each of its routes.
    #[test]
    fn resource_and_path_get_the_same_answer(
        routes in prop::collection::vec(
            (prop::sample::select(vec!["GET", "POST", "ANY"]), resource(), prop::sample::select(vec!["root", "operator", "user"])),
            1..8,
        ),
        requests in prop::collection::vec(
            (
                prop::sample::select(vec!["GET", "POST", "PUT"]),
                prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "d", "{x}", "", "..", ".a", "%2e%2e", "a%2Fb"]), 1..5),
            ),
            1..20,
        ),
        cache in prop::sample::select(vec!["none", "token", "token_method_path"]),
    ) {
        let list: Vec<_> = routes.iter().map(|(method, path, group)| (format!("{method} {path}"), *group)).collect();
        let Ok(rules) = rules(cache, &list) else { return Ok(()) };
        for (method, segments) in requests {
            let path = format!("/{}", segments.join("/"));
            let has_method = |(ours, _, _): &&(&str, String, &str)| *ours == "ANY" || *ours == method;
            // As an HTTP API chooses, among the routes with the method. A REST API chooses the same or none.
            let Some(resource) = chosen(routes.iter().filter(has_method).map(|(_, path, _)| path.as_str()), &path) else { continue };
            // API Gateway drops a trailing slash; we deny every spelling that has another reading.
            let is_plain = !segments.iter().any(|one| one.is_empty() || one.starts_with('.') || one.contains('%'));
            for group in ["root", "operator", "user"] {
                let by_resource = allows(&rules, group, method, &path, Some(resource));
                prop_assert_eq!(by_resource, allows(&rules, group, method, &path, None), "{} {} as {}", method, path, resource);
                let required = routes.iter().filter(has_method).filter(|(_, path, _)| path.replace("{y}", "{x}") == resource.replace("{y}", "{x}"));
                let exact = required.clone().find(|(ours, _, _)| *ours == method).or_else(|| required.clone().next());
                let expected = is_plain && exact.is_some_and(|(_, _, required)| *required == group);
                prop_assert_eq!(by_resource, expected, "{} {} as {} by {}", method, path, resource, group);
            }
        }
    }
}

/// GitHub's REST API, the operations of the npm package @octokit/openapi 23.0.2 (MIT).
fn github() -> Vec<(&'static str, String)> {
    let operations = include_str!("../../../tests/vectors/github-operations.txt").lines();
    operations
        .map(|line| {
            let (method, path) = line.split_once(' ').unwrap();
            // API Gateway has one parameter per segment.
            let segment =
                |segment: &str| if segment.contains("}...{") { "{basehead}".to_owned() } else { segment.to_owned() };
            (method, path.split('/').map(segment).collect::<Vec<_>>().join("/"))
        })
        .collect()
}

/// The path with every parameter called by its place.
fn unnamed(path: &str) -> String {
    let segment =
        |(at, segment): (usize, &str)| if segment.starts_with('{') { format!("{{p{at}}}") } else { segment.to_owned() };
    path.split('/').enumerate().map(segment).collect::<Vec<_>>().join("/")
}

#[test]
fn every_operation_of_github_is_decided_for_every_group() {
    let operations = github();
    assert_eq!(operations.len(), 1223);
    let mut groups = std::collections::BTreeMap::new();
    for (at, (method, path)) in operations.iter().enumerate() {
        // Neighbours differ, as do a literal route and the parameter that it is an exception of.
        groups.entry(format!("{method} {}", unnamed(path))).or_insert(["root", "operator", "user"][at % 3]);
    }
    assert_eq!(groups.len(), 1222, "two operations are one route for API Gateway");
    let list: Vec<_> = groups.iter().map(|(route, group)| (route.clone(), *group)).collect();
    let rules = rules("none", &list).unwrap();
    for (method, path) in &operations {
        let required = groups[&format!("{method} {}", unnamed(path))];
        let called = path.replace(['{', '}'], "");
        for group in ["root", "operator", "user"] {
            for resource in [Some(path.as_str()), None] {
                assert_eq!(
                    allows(&rules, group, method, &called, resource),
                    group == required,
                    "{method} {path} by {group}"
                );
            }
        }
        assert!(!allows(&rules, required, "OPTIONS", &called, Some(path)));
    }
}
