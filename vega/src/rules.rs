use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use vega_auth::{Access, AccessRules, Route, RulesError};

use crate::arguments::Rules;
use crate::can::{access, assumed, rule};
use crate::outcome::{Answer, Failure, about, table};

/// Checks, tests or shows rules.
pub fn run(command: &Rules) -> Result<Answer, Failure> {
    let (Rules::Check { rules: file } | Rules::Test { rules: file, .. } | Rules::Who { rules: file, .. }) = command;
    let rules = match read(&file.file)? {
        Ok(rules) => rules,
        Err(problems) => return Ok(problems),
    };
    match command {
        Rules::Check { .. } => Ok(Answer::ok("the rules are valid", json!({ "problems": [] }))),
        Rules::Test { expectations, .. } => test(&rules, &text(expectations)?, &expectations.display().to_string()),
        Rules::Who { method, path, .. } => {
            let route = method.as_deref().zip(path.as_deref());
            who(&rules, &text(&file.file)?, route.map(|(method, path)| (method.to_ascii_uppercase(), path)).as_ref())
        }
    }
}

/// Reads rules with the authorizer's own parser, or every problem with its line.
pub fn read(file: &Path) -> Result<Result<AccessRules, Answer>, Failure> {
    Ok(text(file)?.parse().map_err(|RulesError(problems)| {
        let lines = problems.iter().map(|problem| format!("{}:{}: {}\n", file.display(), problem.line, problem.text));
        let json = problems.iter().map(|problem| json!({ "line": problem.line, "text": problem.text }));
        Answer::problem(lines.collect::<String>(), json!({ "problems": json.collect::<Vec<_>>() }))
    }))
}

fn text(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file).map_err(|error| about(file.display(), error))
}

/// Runs expectations, one per line: `operator may DELETE /v1/projects/{id}`, `user key with read may not POST /v1/projects`,
/// `nobody may GET /v1/admin`.
fn test(rules: &AccessRules, expectations: &str, name: &str) -> Result<Answer, Failure> {
    let (mut failed, mut count) = (Vec::new(), 0);
    for (index, line) in expectations.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = format!("{name}:{}", index + 1);
        if !holds(rules, line).map_err(|Failure(problem)| about(&place, problem))? {
            let [.., method, path] = line.split(' ').collect::<Vec<_>>()[..] else { continue };
            let rule =
                rule(rules, method, path).map_or("no rule applies".to_owned(), |rule| format!("\"{rule}\" decides"));
            failed.push(json!({ "place": place, "expectation": line, "rule": rule }));
        }
        count += 1;
    }
    if count == 0 {
        return Err(about(name, "no expectation in it"));
    }
    let json = json!({ "expectations": count, "failed": failed });
    if failed.is_empty() {
        return Ok(Answer::ok(format!("all {count} expectations hold"), json));
    }
    let shown = |one: &Value| one.as_str().unwrap_or_default().to_owned();
    let lines = failed.iter().map(|one| {
        format!("{}: doesn't hold: {} ({})\n", shown(&one["place"]), shown(&one["expectation"]), shown(&one["rule"]))
    });
    Ok(Answer::problem(lines.collect::<String>(), json))
}

/// Whether the expectation holds.
fn holds(rules: &AccessRules, line: &str) -> Result<bool, Failure> {
    let malformed =
        || Failure("expected: CALLER may [not] METHOD PATH, such as: operator may DELETE /v1/projects/{id}".into());
    let (caller, request) = line.split_once(" may ").ok_or_else(malformed)?;
    let (expected, request) = request.strip_prefix("not ").map_or((true, request), |request| (false, request));
    let (method, path) = request.split_once(' ').ok_or_else(malformed)?;
    if path.contains(' ') || !path.starts_with('/') || !Route::METHODS.contains(&method) {
        return Err(malformed());
    }
    let (caller, scopes) = caller.split_once(" with ").map_or((caller, ""), |(caller, scopes)| (caller, scopes));
    let scopes: Vec<String> = scopes.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let (groups, is_key) = caller.strip_suffix(" key").map_or((caller, false), |groups| (groups, true));
    if groups.contains(' ') || (!is_key && !scopes.is_empty()) {
        return Err(malformed());
    }
    let groups = if groups == "nobody" { "-" } else { groups };
    let access = access(rules, &assumed(rules, groups, is_key, &scopes)?, method, path);
    Ok((access == Access::Allowed) == expected)
}

#[derive(Deserialize)]
struct Document {
    rules: Vec<Rule>,
}

/// A rule as it is written. The parser has accepted it.
#[derive(Deserialize)]
struct Rule {
    route: String,
    groups: Value,
    #[serde(default = "yes")]
    api_keys: bool,
    #[serde(default = "yes")]
    scopes: bool,
}

fn yes() -> bool {
    true
}

/// Shows who may call the routes, or the one.
fn who(rules: &AccessRules, document: &str, route: Option<&(String, &str)>) -> Result<Answer, Failure> {
    let document: Document = serde_json::from_str(document).map_err(|error| Failure(error.to_string()))?;
    let deciding = route.map(|(method, path)| rule(rules, method, path));
    if let (Some((method, path)), Some(None)) = (route, &deciding) {
        let text = format!("nobody: no rule applies to {method} {path}, or the path can be read in two ways");
        return Ok(Answer::problem(text, json!([])));
    }
    let deciding = deciding.flatten();
    let is_shown = |rule: &&Rule| {
        let written: Result<Route, _> = rule.route.parse();
        deciding.as_ref().is_none_or(|deciding| written.is_ok_and(|written| written.to_string() == *deciding))
    };
    let (mut rows, mut objects) = (Vec::new(), Vec::new());
    for rule in document.rules.iter().filter(is_shown) {
        let groups = match rule.groups.as_array() {
            None => "everybody who is signed in".to_owned(),
            Some(names) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        };
        let keys = match (rule.api_keys, rule.scopes) {
            (false, _) => "no",
            (true, true) => "with a scope that includes it",
            (true, false) => "whatever their scopes",
        };
        objects.push(
            json!({ "route": rule.route, "groups": rule.groups, "api_keys": rule.api_keys, "scopes": rule.scopes }),
        );
        rows.push([rule.route.clone(), groups, keys.to_owned()]);
    }
    Ok(Answer::ok(table(["route", "groups", "API keys with scopes"], rows), json!(objects)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"{ "rules": [
        { "route": "GET /v1/projects", "groups": ["user"] },
        { "route": "ANY /v1/projects/{id}", "groups": ["operator"], "api_keys": false },
        { "route": "GET /v1/me", "groups": "any", "scopes": false }
    ], "scopes": { "projects": ["GET /v1/projects"] }, "cache": "none" }"#;

    fn rules() -> AccessRules {
        RULES.parse().unwrap()
    }

    #[test]
    fn an_expectation_is_decided_by_the_authorizers_code() {
        for (line, expected) in [
            ("user may GET /v1/projects", true),
            ("user may not GET /v1/projects", false),
            ("user,operator may DELETE /v1/projects/{id}", true),
            ("user may not DELETE /v1/projects/7", true),
            ("operator key may not DELETE /v1/projects/{id}", true),
            ("user key with projects may GET /v1/projects", true),
            ("user key with read may not GET /v1/projects", false),
            ("user key with gone may GET /v1/projects", false),
            ("nobody may GET /v1/me", true),
            ("nobody may GET /v1/projects", false),
            ("root may GET /v1/unknown", false),
            ("user may GET /v1//projects", false),
        ] {
            assert_eq!(holds(&rules(), line).ok(), Some(expected), "{line}");
        }
        for line in [
            "",
            "user can GET /",
            "user may GET",
            "user may FETCH /",
            "user may GET v1",
            "a user may GET /",
            "user with read may GET /",
            "user may GET / now",
            "users may not GET /v1/projects",
        ] {
            assert!(holds(&rules(), line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_failed_expectation_is_reported_with_line_and_rule() {
        let file = "# projects\nuser may GET /v1/projects\n\nuser may DELETE /v1/projects/{id}\nuser may GET /v2\n";
        let answer = test(&rules(), file, "x.txt").unwrap();
        assert!(answer.is_problem);
        assert_eq!(
            answer.text,
            "x.txt:4: doesn't hold: user may DELETE /v1/projects/{id} (\"* /v1/projects/{id}\" decides)\n\
             x.txt:5: doesn't hold: user may GET /v2 (no rule applies)\n"
        );
        assert!(!test(&rules(), "user may GET /v1/projects", "x").unwrap().is_problem);
        assert!(test(&rules(), "# nothing", "x").is_err());
        assert_eq!(test(&rules(), "\nuser should", "x").unwrap_err().0.split(": ").next(), Some("x:2"));
    }

    #[test]
    fn who_shows_the_rule_of_a_route_or_all_rules() {
        assert_eq!(who(&rules(), RULES, None).unwrap().json.as_array().unwrap().len(), 3);
        let answer = who(&rules(), RULES, Some(&("DELETE".into(), "/v1/projects/7"))).unwrap();
        assert_eq!(answer.json[0]["groups"], json!(["operator"]));
        assert!(answer.text.contains("operator") && answer.text.contains(" no"), "{}", answer.text);
        assert!(who(&rules(), RULES, Some(&("GET".into(), "/nowhere"))).unwrap().is_problem);
    }
}
