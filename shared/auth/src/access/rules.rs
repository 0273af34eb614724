use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Route;
use crate::{Authentication, CurrentUser, Groups, ScopeName};

/// The groups and scopes that each route requires. A route without a rule is denied.
///
/// Written as JSON, in `VEGA_ACCESS_RULES`:
/// ```json
/// { "rules": [
///   { "route": "GET /v1/auth/me",  "groups": "any" },
///   { "route": "GET /v1/projects", "groups": ["root", "operator", "user"] },
///   { "route": "* /v1/api-keys/*", "groups": "any", "api_keys": false },
///   { "route": "GET /v1/api-keys/self", "groups": "any", "scopes": false }
/// ], "scopes": { "projects:read": ["GET /v1/projects"] } }
/// ```
/// - `route`: a method or `*`, a space, and a path. A path that ends in `/*` covers everything below it, not itself.
///   For a WebSocket API it is `$connect`.
/// - `groups`: the caller must be in one of these; `"any"` admits every authenticated caller.
/// - `api_keys`: `false` limits the route to signed-in people. `true` if left out.
/// - `scopes` of a rule: `false` admits a key whatever its scopes. `true` if left out.
/// - `scopes` of the document: named sets of routes that a key can be limited to. `read` always exists.
///
/// A key with scopes can call a route only if both its groups and one of its scopes allow it: never more than without
/// scopes. A scope that no longer exists allows nothing.
///
/// A path that can be read in two ways is denied to everybody: see [`Route::AMBIGUOUS`].
///
/// One matching rule is enough. A broad rule that would silently open a route that a narrower one protects is an error.
#[derive(Debug)]
pub struct AccessRules {
    rules: Vec<Rule>,
    scopes: BTreeMap<ScopeName, Vec<Route>>,
}

#[derive(Debug)]
struct Rule {
    route: Route,
    groups: RequiredGroups,
    api_keys: bool,
    /// Whether a key needs a scope.
    scopes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequiredGroups {
    Anyone,
    OneOf(Groups),
}

/// The rules' decision about one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The caller can call the route.
    Allowed,
    /// The caller can't, for this reason.
    Denied(DeniedAs),
}

/// The reason for a denial, for the log and for the body of the 403.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeniedAs {
    /// No rule admits the caller.
    Forbidden,
    /// A rule admits the key's groups, but none of its scopes includes the route.
    InsufficientScope,
}

impl DeniedAs {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
            Self::InsufficientScope => "insufficient_scope",
        }
    }
}

/// Every problem with the rules, one line each, naming the rule.
#[derive(Debug, PartialEq, Eq)]
pub struct RulesError(pub Vec<String>);

impl fmt::Display for RulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for RulesError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    rules: Vec<WrittenRule>,
    #[serde(default, deserialize_with = "without_duplicates")]
    scopes: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRule {
    route: String,
    groups: WrittenGroups,
    #[serde(default = "yes")]
    api_keys: bool,
    #[serde(default = "yes")]
    scopes: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenGroups {
    Word(String),
    Names(Vec<String>),
}

fn yes() -> bool {
    true
}

/// A map in which no name occurs twice: serde would silently use the last one.
fn without_duplicates<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Vec<String>>, D::Error> {
    struct Scopes;

    impl<'de> Visitor<'de> for Scopes {
        type Value = BTreeMap<String, Vec<String>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("scopes by name, each with a list of routes")
        }

        fn visit_map<M: MapAccess<'de>>(self, mut members: M) -> Result<Self::Value, M::Error> {
            let mut scopes = BTreeMap::new();
            while let Some((name, routes)) = members.next_entry::<String, _>()? {
                if scopes.contains_key(&name) {
                    return Err(de::Error::custom(format!("scope {name:?} is defined twice")));
                }
                scopes.insert(name, routes);
            }
            Ok(scopes)
        }
    }

    deserializer.deserialize_map(Scopes)
}

impl FromStr for AccessRules {
    type Err = RulesError;

    fn from_str(json: &str) -> Result<Self, RulesError> {
        let document: Document = serde_json::from_str(json).map_err(|error| RulesError(vec![error.to_string()]))?;
        let mut problems = Vec::new();
        let mut rules = Vec::new();
        for (index, written) in document.rules.into_iter().enumerate() {
            let number = index + 1;
            let name = written.route.clone();
            match written.try_into() {
                Ok(rule) => rules.push(rule),
                Err(problem) => problems.push(format!("rule {number} ({name:?}): {problem}")),
            }
        }
        let mut scopes = BTreeMap::new();
        for (name, routes) in document.scopes {
            match read_scope(&name, &routes) {
                Ok((name, routes)) => {
                    scopes.insert(name, routes);
                }
                Err(more) => problems.extend(more.iter().map(|problem| format!("scope {name:?}: {problem}"))),
            }
        }
        if problems.is_empty() {
            problems = conflicting_rules(&rules);
            problems.extend(unusable_scopes(&rules, &scopes));
        }
        if rules.is_empty() && problems.is_empty() {
            problems.push("no rules: nobody could call any route".into());
        }
        scopes.insert(ScopeName::read(), Route::all_reads());
        if problems.is_empty() { Ok(Self { rules, scopes }) } else { Err(RulesError(problems)) }
    }
}

impl TryFrom<WrittenRule> for Rule {
    type Error = String;

    fn try_from(written: WrittenRule) -> Result<Self, String> {
        let groups = match written.groups {
            WrittenGroups::Word(word) if word == "any" => RequiredGroups::Anyone,
            WrittenGroups::Word(_) => return Err("groups: expected \"any\" or a list of groups".into()),
            WrittenGroups::Names(names) if names.is_empty() => return Err("groups: the list is empty".into()),
            WrittenGroups::Names(names) => RequiredGroups::OneOf(
                names
                    .iter()
                    .map(|name| name.parse())
                    .collect::<Result<_, _>>()
                    .map_err(|error| format!("groups: {error}"))?,
            ),
        };
        Ok(Self { route: written.route.parse()?, groups, api_keys: written.api_keys, scopes: written.scopes })
    }
}

/// # Errors
/// Every problem with the scope.
fn read_scope(name: &str, routes: &[String]) -> Result<(ScopeName, Vec<Route>), Vec<String>> {
    let mut problems = Vec::new();
    if name == ScopeName::READ {
        problems.push("this name is reserved for GET and HEAD on every route that the groups allow".to_owned());
    }
    if routes.is_empty() {
        problems.push("the list is empty".to_owned());
    }
    let mut read = Vec::new();
    for route in routes {
        match route.parse() {
            Ok(route) => read.push(route),
            Err(problem) => problems.push(format!("{route:?}: {problem}")),
        }
    }
    match name.parse() {
        Ok(name) if problems.is_empty() => return Ok((name, read)),
        Ok(_) => {}
        Err(problem) => problems.push(problem.to_string()),
    }
    Err(problems)
}

/// The scopes' routes without effect, because no rule lets a key call them: a mistake in one of the two.
fn unusable_scopes(rules: &[Rule], scopes: &BTreeMap<ScopeName, Vec<Route>>) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, routes) in scopes {
        for route in routes {
            let applies = |rule: &Rule| rule.api_keys && rule.scopes && rule.route.intersection(route).is_some();
            if !rules.iter().any(applies) {
                problems.push(format!("scope {:?}: no rule lets a key call {:?}", name.as_str(), route.to_string()));
            }
        }
    }
    problems
}

/// The rules that a broader rule defeats, because it admits callers whom the narrower one keeps out.
fn conflicting_rules(rules: &[Rule]) -> Vec<String> {
    let mut problems = Vec::new();
    for narrow in rules {
        for wide in rules {
            if wide.route != narrow.route
                && wide.route.intersection(&narrow.route).is_some()
                && !wide.admits_no_more_than(narrow)
            {
                // If two rules overlap in part, each is the broader one for the other: report the more strictly protected one.
                if narrow.route.covers(&wide.route) {
                    continue;
                }
                problems.push(format!(
                    "rule {:?} also opens {:?} to callers whom that rule keeps out: narrow the first or broaden the second",
                    wide.route.to_string(),
                    narrow.route.to_string()
                ));
            }
        }
    }
    for (index, rule) in rules.iter().enumerate() {
        if rules.iter().skip(index + 1).any(|other| other.route == rule.route) {
            problems.push(format!("rule {:?} is defined twice", rule.route.to_string()));
        }
    }
    problems
}

impl Rule {
    fn admits(&self, user: &CurrentUser) -> bool {
        let admits_kind = self.api_keys || user.authentication == Authentication::Jwt;
        admits_kind
            && match self.groups {
                RequiredGroups::Anyone => true,
                RequiredGroups::OneOf(groups) => user.groups.intersects(groups),
            }
    }

    fn admits_no_more_than(&self, other: &Self) -> bool {
        let groups = match (self.groups, other.groups) {
            (_, RequiredGroups::Anyone) => true,
            (RequiredGroups::Anyone, RequiredGroups::OneOf(_)) => false,
            (RequiredGroups::OneOf(ours), RequiredGroups::OneOf(theirs)) => ours.is_subset(theirs),
        };
        let keys = !self.api_keys || (other.api_keys && (self.scopes || !other.scopes));
        groups && keys
    }
}

impl AccessRules {
    /// The routes that `user` can call, in the rules' order and without duplicates, for a policy.
    pub fn granted(&self, user: &CurrentUser) -> Vec<Cow<'_, Route>> {
        let scope_routes = self.scope_routes(user);
        let mut granted = Vec::new();
        for rule in self.rules.iter().filter(|rule| rule.admits(user)) {
            match &scope_routes {
                Some(scopes) if rule.scopes => {
                    for route in scopes.iter().filter_map(|scope| rule.route.intersection(scope)) {
                        let route = Cow::Owned(route);
                        if !granted.contains(&route) {
                            granted.push(route);
                        }
                    }
                }
                _ => granted.push(Cow::Borrowed(&rule.route)),
            }
        }
        granted
    }

    /// Whether `user` can call `method` on `path`, decided directly. The policy must decide every request in the same way.
    pub fn access(&self, user: &CurrentUser, method: &str, path: &str) -> Access {
        let scope_routes = self.scope_routes(user);
        let mut reason = DeniedAs::Forbidden;
        if Route::is_ambiguous(path) {
            return Access::Denied(reason);
        }
        for rule in self.rules.iter().filter(|rule| rule.admits(user) && rule.route.matches(method, path)) {
            match &scope_routes {
                Some(scopes) if rule.scopes && !scopes.iter().any(|scope| scope.matches(method, path)) => {
                    reason = DeniedAs::InsufficientScope;
                }
                _ => return Access::Allowed,
            }
        }
        Access::Denied(reason)
    }

    /// The routes in the scopes of the user's key; `None` if no scopes limit the user.
    fn scope_routes(&self, user: &CurrentUser) -> Option<Vec<&Route>> {
        match &user.authentication {
            Authentication::ApiKey { scopes, .. } if !scopes.is_empty() => {
                Some(scopes.iter().filter_map(|name| self.scopes.get(name)).flatten().collect())
            }
            _ => None,
        }
    }

    /// Every scope with its routes, in the order of their names.
    pub fn scopes(&self) -> impl Iterator<Item = (&ScopeName, &[Route])> {
        self.scopes.iter().map(|(name, routes)| (name, routes.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(list: &str) -> Result<AccessRules, String> {
        rules_and_scopes(list, "")
    }

    fn rules_and_scopes(rules: &str, scopes: &str) -> Result<AccessRules, String> {
        let json = format!(r#"{{"rules":[{rules}],"scopes":{{{scopes}}}}}"#);
        json.parse().map_err(|error: RulesError| error.to_string())
    }

    impl AccessRules {
        fn allow(&self, user: &CurrentUser, method: &str, path: &str) -> bool {
            self.access(user, method, path) == Access::Allowed
        }
    }

    fn user(groups: &[&str], authentication: Authentication) -> CurrentUser {
        CurrentUser {
            id: "user-1".into(),
            username: "ada".into(),
            groups: Groups::known(groups.iter().copied()),
            authentication,
            issued_at: None,
            expires_at: None,
        }
    }

    fn key() -> Authentication {
        key_with(&[])
    }

    fn key_with(scopes: &[&str]) -> Authentication {
        let scopes = scopes.iter().map(|name| name.parse().unwrap()).collect();
        Authentication::ApiKey { key_id: "000000000000".parse().unwrap(), scopes, networks: vec![] }
    }

    #[test]
    fn a_route_without_a_rule_is_denied_to_everybody() {
        let rules = rules(r#"{"route":"GET /v1/projects","groups":["user"]}"#).unwrap();
        let everything = user(&["root", "operator", "user"], Authentication::Jwt);
        assert!(rules.allow(&everything, "GET", "/v1/projects"));
        for (method, path) in [
            ("POST", "/v1/projects"),
            ("GET", "/v1/projects/"),
            ("GET", "/v1/projectsx"),
            ("GET", "/"),
            ("get", "/v1/projects"),
        ] {
            assert!(!rules.allow(&everything, method, path), "{method} {path}");
        }
    }

    #[test]
    fn an_ambiguous_path_is_denied_to_everybody() {
        let rules = rules(r#"{"route":"GET /*","groups":"any"}"#).unwrap();
        let everything = user(&["root", "operator", "user"], Authentication::Jwt);
        for path in ["/", "/v1", "/v1/a.b", "/v1/a%20b", "/v1/a..", "/v1/%C3%A9", "/v1/a:b@c,d", "/v1/%3A%20%7E"] {
            assert!(rules.allow(&everything, "GET", path), "{path}");
        }
        for path in [
            "//",
            "//v1",
            "/v1//a",
            "/v1/",
            "/v1/a/",
            "/.",
            "/..",
            "/v1/../admin",
            "/v1/./a",
            "/v1/..;/admin",
            "/.env",
            "/v1/%2e%2e/admin",
            "/v1/%2E./admin",
            "/v1/a%2Fb",
            "/v1/a%2fb",
            "/v1/..%2fadmin",
            "/v1/a%5cb",
            "/v1/a%5Cb",
            "/v1/a\\..\\..\\admin",
            "/v1/a;b",
            "/v1/;/admin",
            "/v1/a%3bb",
            "/v1/a%3Bb",
            "/v1/%00",
            "/v1/%09../admin",
            "/v1/a%0d%0ab",
            "/v1/a%1fb",
            "/v1/%252e%252e/admin",
            "/v1/a%255cb",
        ] {
            assert!(!rules.allow(&everything, "GET", path), "{path}");
        }
    }

    #[test]
    fn one_required_group_is_enough_and_any_requires_none() {
        let rules =
            rules(r#"{"route":"GET /a","groups":["root","operator"]},{"route":"GET /b","groups":"any"}"#).unwrap();
        let allowed = |groups: &[&str], path| rules.allow(&user(groups, Authentication::Jwt), "GET", path);
        assert!(allowed(&["operator"], "/a") && allowed(&["user", "root"], "/a") && allowed(&[], "/b"));
        assert!(!allowed(&["user"], "/a") && !allowed(&[], "/a"));
    }

    #[test]
    fn a_rule_can_admit_people_but_no_keys() {
        let rules = rules(r#"{"route":"* /v1/api-keys/*","groups":"any","api_keys":false}"#).unwrap();
        assert!(rules.allow(&user(&[], Authentication::Jwt), "DELETE", "/v1/api-keys/x"));
        assert!(!rules.allow(&user(&["root"], key()), "DELETE", "/v1/api-keys/x"));
        assert!(
            !rules.allow(&user(&[], Authentication::Jwt), "DELETE", "/v1/api-keys"),
            "/* covers the paths below, not the path itself"
        );
    }

    #[test]
    fn an_invalid_rule_is_named_with_its_problem() {
        for (rule, reason) in [
            (r#"{"route":"GET /a","groups":["admins"]}"#, r#"rule 1 ("GET /a"): groups: unknown group "admins""#),
            (r#"{"route":"GET /a","groups":"everybody"}"#, "expected \"any\""),
            (r#"{"route":"GET /a","groups":[]}"#, "the list is empty"),
            (r#"{"route":"GET /a","groups":"any","group":"x"}"#, "unknown field `group`"),
            (r#"{"route":"GET /a","groups":"any"},{"route":"GET /a","groups":"any"}"#, "is defined twice"),
            ("", "no rules"),
            ("nonsense", "expected"),
        ] {
            let problem = rules(rule).unwrap_err();
            assert!(problem.contains(reason), "{rule}: {problem}");
        }
    }

    #[test]
    fn every_invalid_rule_is_reported() {
        let problems = rules(r#"{"route":"GET a","groups":"any"},{"route":"GET /b","groups":["x"]}"#).unwrap_err();
        assert!(problems.contains("rule 1") && problems.contains("rule 2"), "{problems}");
    }

    #[test]
    fn a_key_needs_a_group_and_a_scope_for_a_route() {
        use Access::{Allowed, Denied};
        use DeniedAs::{Forbidden, InsufficientScope};
        let wide = r#"{"route":"* /v1/a/*","groups":["user"]},{"route":"GET /v1/admin/x","groups":["root"]}"#;
        let rules =
            rules_and_scopes(wide, r#""deploy":["POST /v1/a/deployments/*","PUT /v1/a/x"],"all":["* /*"]"#).unwrap();
        for (scopes, method, path, expected) in [
            (&[][..], "PUT", "/v1/a/b", Allowed),
            (&["read"], "GET", "/v1/a/b", Allowed),
            (&["read"], "HEAD", "/v1/a/b", Allowed),
            (&["read"], "PUT", "/v1/a/b", Denied(InsufficientScope)),
            (&["read"], "GET", "/v1/other", Denied(Forbidden)),
            (&["read"], "GET", "/v1/admin/x", Denied(Forbidden)),
            (&["deploy"], "POST", "/v1/a/deployments/7", Allowed),
            (&["deploy"], "POST", "/v1/a/deployments", Denied(InsufficientScope)),
            (&["deploy"], "GET", "/v1/a/x", Denied(InsufficientScope)),
            (&["deploy", "read"], "GET", "/v1/a/x", Allowed),
            (&["deploy", "read"], "PUT", "/v1/a/x", Allowed),
            (&["all"], "DELETE", "/v1/a/x", Allowed),
            (&["all"], "GET", "/v1/admin/x", Denied(Forbidden)),
            (&["gone"], "GET", "/v1/a/x", Denied(InsufficientScope)),
            (&["gone", "read"], "GET", "/v1/a/x", Allowed),
        ] {
            let user = user(&["user"], key_with(scopes));
            assert_eq!(rules.access(&user, method, path), expected, "{scopes:?} {method} {path}");
        }
        let person = user(&["user"], Authentication::Jwt);
        assert_eq!(rules.access(&person, "PUT", "/v1/a/b"), Allowed, "scopes only apply to keys");
    }

    #[test]
    fn a_rule_can_admit_a_key_whatever_its_scopes() {
        let rules = rules(
            r#"{"route":"* /v1/api-keys/*","groups":"any","api_keys":false},
               {"route":"GET /v1/api-keys/self","groups":"any","scopes":false}"#,
        )
        .unwrap();
        for scopes in [&[][..], &["read"], &["gone"]] {
            let user = user(&[], key_with(scopes));
            assert!(rules.allow(&user, "GET", "/v1/api-keys/self"), "{scopes:?}");
            assert!(!rules.allow(&user, "DELETE", "/v1/api-keys/self"), "{scopes:?}");
            assert!(!rules.allow(&user, "GET", "/v1/api-keys/other"), "{scopes:?}");
        }
    }

    #[test]
    fn a_rule_without_scopes_opens_no_route_that_needs_one() {
        let narrow = r#"{"route":"GET /v1/a/x","groups":"any"}"#;
        let wide = r#"{"route":"GET /v1/a/*","groups":"any","scopes":false}"#;
        assert!(rules(&format!("{narrow},{wide}")).unwrap_err().contains(r#"also opens "GET /v1/a/x""#));
        let people_only = r#"{"route":"GET /v1/a/*","groups":"any","scopes":false,"api_keys":false}"#;
        assert!(rules(&format!("{narrow},{people_only}")).is_ok());
    }

    #[test]
    fn an_invalid_scope_is_named_with_every_problem() {
        for (scope, reason) in [
            (r#""read":["GET /a"]"#, r#"scope "read": this name is reserved"#),
            (r#""Deploy":["GET /a"]"#, r#"scope "Deploy": a scope name has"#),
            (r#""":["GET /a"]"#, r#"scope "": a scope name"#),
            (r#""deploy":[]"#, r#"scope "deploy": the list is empty"#),
            (r#""deploy":["GET a"]"#, r#"scope "deploy": "GET a": route: a path starts with /"#),
            (r#""deploy":["FETCH /a"]"#, "expected one of GET"),
            (r#""deploy":["GET /b"]"#, r#"scope "deploy": no rule lets a key call "GET /b""#),
            (r#""deploy":["POST /a"]"#, "no rule lets a key call"),
            (r#""deploy":["GET /person"]"#, "no rule lets a key call"),
            (r#""deploy":["GET /self"]"#, "no rule lets a key call"),
            (r#""deploy":["GET /a"],"deploy":["GET /a"]"#, r#"scope "deploy" is defined twice"#),
            (r#""deploy":"GET /a""#, "invalid type"),
        ] {
            let rules = r#"{"route":"GET /a","groups":"any"},{"route":"GET /person","groups":"any","api_keys":false},
                {"route":"GET /self","groups":"any","scopes":false}"#;
            let problem = rules_and_scopes(rules, scope).unwrap_err();
            assert!(problem.contains(reason), "{scope}: {problem}");
        }
        let two = rules_and_scopes(r#"{"route":"GET /a","groups":"x"}"#, r#""read":["a","GET /*/b"]"#).unwrap_err();
        for part in ["rule 1", "is reserved", r#""a":"#, r#""GET /*/b":"#] {
            assert!(two.contains(part), "{part}: {two}");
        }
    }

    #[test]
    fn a_broad_rule_may_not_open_what_a_narrow_one_protects() {
        let root = r#"{"route":"GET /v1/admin/*","groups":["root"]}"#;
        for wide in [
            r#"{"route":"GET /v1/*","groups":["user"]}"#,
            r#"{"route":"* /v1/*","groups":"any"}"#,
            r#"{"route":"* /v1/admin/*","groups":["root","user"]}"#,
        ] {
            for list in [format!("{root},{wide}"), format!("{wide},{root}")] {
                assert!(rules(&list).unwrap_err().contains(r#"also opens "GET /v1/admin/*""#), "{list}");
            }
        }
        let person = r#"{"route":"GET /v1/api-keys","groups":"any","api_keys":false}"#;
        assert!(
            rules(&format!(r#"{person},{{"route":"GET /v1/*","groups":"any"}}"#)).is_err(),
            "keys would be admitted"
        );
        // A broader path for fewer people opens nothing.
        assert!(rules(&format!(r#"{root},{{"route":"GET /v1/*","groups":["root"]}}"#)).is_ok());
        assert!(rules(r#"{"route":"GET /*","groups":["root"]},{"route":"GET /v1/a","groups":"any"}"#).is_ok());
    }
}
