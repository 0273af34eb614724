use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::{Authentication, CurrentUser, Groups, ScopeName};

/// Which routes want which groups. What no rule names is denied.
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
/// - `groups`: the caller needs one of these; `"any"` takes everybody who is signed in.
/// - `api_keys`: `false` wants a person who signed in, not an API key. `true` where left out.
/// - `scopes` of a rule: `false` lets a key in whatever its scopes are. `true` where left out.
/// - `scopes` of the whole: sets of routes that a key can be narrowed to, by name. `read` is always there.
///
/// A key with scopes may call what the rules let its groups call and one of its scopes has: never more than without.
/// A scope that isn't here any more has nothing.
///
/// A path that two readers could read in two ways is denied to everybody: see [`Route::AMBIGUOUS`].
///
/// A caller may call what at least one rule lets them. So that a wide rule can't quietly open what a narrow one guards,
/// rules where that would happen are refused.
#[derive(Debug)]
pub struct AccessRules {
    rules: Vec<Rule>,
    scopes: BTreeMap<ScopeName, Vec<Route>>,
}

#[derive(Debug)]
struct Rule {
    route: Route,
    groups: Wanted,
    api_keys: bool,
    /// Whether the scopes of a key count.
    scopes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Anyone,
    OneOf(Groups),
}

/// What the rules say about one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The caller may.
    Allowed,
    /// The caller's groups may, and none of the key's scopes has this.
    InsufficientScope,
    /// The caller may not.
    Forbidden,
}

/// The requests that a rule is about: `GET /v1/projects`, `* /v1/api-keys/*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The HTTP method.
    pub method: MethodPattern,
    /// The path.
    pub path: PathPattern,
}

/// A method in capitals, or every method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MethodPattern {
    /// Written `*`.
    Any,
    /// Written as itself.
    One(String),
}

/// A path from the root, without a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPattern {
    /// This path alone: `/v1/projects`.
    Exact(String),
    /// All that begins with this, which ends in `/`: written `/v1/api-keys/*`.
    Below(String),
}

/// All that is wrong with the rules, one line each, naming the rule.
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
    #[serde(default, deserialize_with = "each_once")]
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

/// A map in which no name stands twice: of two, serde would take the last without a word.
fn each_once<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Vec<String>>, D::Error> {
    struct EachOnce;

    impl<'de> Visitor<'de> for EachOnce {
        type Value = BTreeMap<String, Vec<String>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("scopes by name, each with a list of routes")
        }

        fn visit_map<M: MapAccess<'de>>(self, mut members: M) -> Result<Self::Value, M::Error> {
            let mut scopes = BTreeMap::new();
            while let Some((name, routes)) = members.next_entry::<String, _>()? {
                if scopes.contains_key(&name) {
                    return Err(de::Error::custom(format!("scope {name:?} stands twice")));
                }
                scopes.insert(name, routes);
            }
            Ok(scopes)
        }
    }

    deserializer.deserialize_map(EachOnce)
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
            problems = widened(&rules);
            problems.extend(idle(&rules, &scopes));
        }
        if rules.is_empty() && problems.is_empty() {
            problems.push("no rules: nobody could call anything".into());
        }
        scopes.insert(ScopeName::read(), Route::all_reads());
        if problems.is_empty() { Ok(Self { rules, scopes }) } else { Err(RulesError(problems)) }
    }
}

impl TryFrom<WrittenRule> for Rule {
    type Error = String;

    fn try_from(written: WrittenRule) -> Result<Self, String> {
        let groups = match written.groups {
            WrittenGroups::Word(word) if word == "any" => Wanted::Anyone,
            WrittenGroups::Word(_) => return Err("groups: expected \"any\" or a list of groups".into()),
            WrittenGroups::Names(names) if names.is_empty() => return Err("groups: the list is empty".into()),
            WrittenGroups::Names(names) => Wanted::OneOf(
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
/// All that is wrong with the scope.
fn read_scope(name: &str, routes: &[String]) -> Result<(ScopeName, Vec<Route>), Vec<String>> {
    let mut problems = Vec::new();
    if name == ScopeName::READ {
        problems.push("this name is taken: it is GET and HEAD, wherever the groups allow".to_owned());
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

/// The routes of scopes that have no effect, since no rule lets a key call anything of them: a mistake in one of the two.
fn idle(rules: &[Rule], scopes: &BTreeMap<ScopeName, Vec<Route>>) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, routes) in scopes {
        for route in routes {
            let counts = |rule: &Rule| rule.api_keys && rule.scopes && rule.route.intersection(route).is_some();
            if !rules.iter().any(counts) {
                problems.push(format!("scope {:?}: no rule lets a key call {:?}", name.as_str(), route.to_string()));
            }
        }
    }
    problems
}

/// The rules that a wider rule makes ineffective: it lets somebody in whom the narrower one keeps out.
fn widened(rules: &[Rule]) -> Vec<String> {
    let mut problems = Vec::new();
    for narrow in rules {
        for wide in rules {
            if wide.route != narrow.route
                && wide.route.intersection(&narrow.route).is_some()
                && !wide.lets_in_no_more_than(narrow)
            {
                // Of two that overlap in part, each is the wider one for the other: report what is guarded more strictly.
                if narrow.route.covers(&wide.route) {
                    continue;
                }
                problems.push(format!(
                    "rule {:?} also opens {:?}, to callers whom that rule keeps out: narrow the one or widen the other",
                    wide.route.to_string(),
                    narrow.route.to_string()
                ));
            }
        }
    }
    for (index, rule) in rules.iter().enumerate() {
        if rules.iter().skip(index + 1).any(|other| other.route == rule.route) {
            problems.push(format!("rule {:?} stands twice", rule.route.to_string()));
        }
    }
    problems
}

impl Rule {
    fn admits(&self, user: &CurrentUser) -> bool {
        let kind_is_right = self.api_keys || user.authentication == Authentication::Jwt;
        kind_is_right
            && match self.groups {
                Wanted::Anyone => true,
                Wanted::OneOf(groups) => user.groups.intersects(groups),
            }
    }

    fn lets_in_no_more_than(&self, other: &Self) -> bool {
        let groups = match (self.groups, other.groups) {
            (_, Wanted::Anyone) => true,
            (Wanted::Anyone, Wanted::OneOf(_)) => false,
            (Wanted::OneOf(ours), Wanted::OneOf(theirs)) => ours.is_subset(theirs),
        };
        let keys = !self.api_keys || (other.api_keys && (self.scopes || !other.scopes));
        groups && keys
    }
}

impl AccessRules {
    /// The routes that `user` may call, in the order of the rules, each once: what a policy is built of.
    pub fn granted(&self, user: &CurrentUser) -> Vec<Cow<'_, Route>> {
        let narrowing = self.narrowing(user);
        let mut granted = Vec::new();
        for rule in self.rules.iter().filter(|rule| rule.admits(user)) {
            match &narrowing {
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

    /// Whether `user` may call `method` on `path`, decided directly. The policy must say the same of every request.
    pub fn access(&self, user: &CurrentUser, method: &str, path: &str) -> Access {
        let narrowing = self.narrowing(user);
        let mut access = Access::Forbidden;
        if Route::is_ambiguous(path) {
            return access;
        }
        for rule in self.rules.iter().filter(|rule| rule.admits(user) && rule.route.matches(method, path)) {
            match &narrowing {
                Some(scopes) if rule.scopes && !scopes.iter().any(|scope| scope.matches(method, path)) => {
                    access = Access::InsufficientScope;
                }
                _ => return Access::Allowed,
            }
        }
        access
    }

    /// The routes that the user's key is narrowed to; `None` where nothing narrows them.
    fn narrowing(&self, user: &CurrentUser) -> Option<Vec<&Route>> {
        match &user.authentication {
            Authentication::ApiKey { scopes, .. } if !scopes.is_empty() => {
                Some(scopes.iter().filter_map(|name| self.scopes.get(name)).flatten().collect())
            }
            _ => None,
        }
    }

    /// Every scope with its routes, by name.
    pub fn scopes(&self) -> impl Iterator<Item = (&ScopeName, &[Route])> {
        self.scopes.iter().map(|(name, routes)| (name, routes.as_slice()))
    }
}

impl Route {
    /// Every method that a rule can name, and that `*` stands for.
    pub const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

    /// What makes a path unclear wherever it stands, as a slash at the end does: whoever routes the request, or serves it
    /// behind a proxy route, may take it for another path than the one that the rules were asked about. API Gateway itself
    /// takes `/v1/projects/` to the resource `/v1/projects`, and tells an authorizer of the former.
    ///
    /// Which characters, and why not more: docs/decisions.md, "One path, one spelling". A policy names each of these, so
    /// that they are few, and control characters are told by their first digit.
    pub const AMBIGUOUS: [&str; 15] =
        ["//", "/.", "\\", ";", "%0", "%1", "%25", "%2e", "%2E", "%2f", "%2F", "%3b", "%3B", "%5c", "%5C"];

    /// Whether a path can be read in two ways. No rule is about such a path, and none lets anybody call it.
    pub fn is_ambiguous(path: &str) -> bool {
        // One pass, by hand: this is on the way of every request. A test holds it to the list above.
        let mut rest = path.as_bytes();
        while let [_, tail @ ..] = rest {
            if let [b'/', b'/' | b'.', ..]
            | [b'\\' | b';', ..]
            | [b'%', b'0' | b'1', ..]
            | [b'%', b'2', b'5' | b'e' | b'E' | b'f' | b'F', ..]
            | [b'%', b'3', b'b' | b'B', ..]
            | [b'%', b'5', b'c' | b'C', ..] = rest
            {
                return true;
            }
            rest = tail;
        }
        path.len() > 1 && path.ends_with('/')
    }

    /// The one route of a WebSocket API that has an authorizer. Its ARN has neither method nor path:
    /// `…/{stage}/$connect`.
    const CONNECT: &str = "$connect";

    /// GET and HEAD of every path: the scope `read`.
    fn all_reads() -> Vec<Self> {
        let all = |method: &str| Self {
            method: MethodPattern::One(method.to_owned()),
            path: PathPattern::Below("/".to_owned()),
        };
        vec![all("GET"), all("HEAD")]
    }

    fn matches(&self, method: &str, path: &str) -> bool {
        let method_matches = match &self.method {
            MethodPattern::Any => Self::METHODS.contains(&method),
            MethodPattern::One(name) => name == method,
        };
        method_matches
            && match &self.path {
                PathPattern::Exact(exact) => exact == path,
                PathPattern::Below(prefix) => path.starts_with(prefix),
            }
    }

    /// The requests that are of both. Patterns never overlap in part, neither methods nor paths: one holds the other, or
    /// they have nothing in common.
    fn intersection(&self, other: &Self) -> Option<Self> {
        let method = match (&self.method, &other.method) {
            (MethodPattern::Any, narrow) | (narrow, MethodPattern::Any) => narrow,
            (ours, theirs) if ours == theirs => ours,
            _ => return None,
        };
        let path = if self.path.covers(&other.path) {
            &other.path
        } else if other.path.covers(&self.path) {
            &self.path
        } else {
            return None;
        };
        Some(Self { method: method.clone(), path: path.clone() })
    }

    fn covers(&self, other: &Self) -> bool {
        (self.method == MethodPattern::Any || self.method == other.method) && self.path.covers(&other.path)
    }
}

impl PathPattern {
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(ours), Self::Exact(theirs)) => ours == theirs,
            (Self::Exact(_), Self::Below(_)) => false,
            (Self::Below(prefix), Self::Exact(path) | Self::Below(path)) => path.starts_with(prefix),
        }
    }
}

impl FromStr for Route {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == Self::CONNECT {
            return Ok(Self { method: MethodPattern::One(text.to_owned()), path: PathPattern::Exact(String::new()) });
        }
        let (method, path) =
            text.split_once(' ').ok_or("route: expected a method, a space and a path: GET /v1/projects")?;
        let method = match method {
            "*" => MethodPattern::Any,
            name if Self::METHODS.contains(&name) => MethodPattern::One(name.to_owned()),
            _ => return Err(format!("route: expected one of {} or *", Self::METHODS.join(", "))),
        };
        Ok(Self { method, path: path.parse()? })
    }
}

impl FromStr for PathPattern {
    type Err = String;

    fn from_str(path: &str) -> Result<Self, String> {
        // `unreserved` of RFC 3986: what is written is what API Gateway compares. `*` and `?` are wildcards in a policy.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
        let plain = path.strip_suffix('*').unwrap_or(path);
        if !plain.starts_with('/') || !plain.bytes().all(is_plain) || plain.contains("//") {
            return Err(
                "route: a path begins with / and has letters, digits, - . _ ~ and /, and * only as its last part"
                    .into(),
            );
        }
        if plain.contains("/.") {
            return Err("route: a path has no part that begins with a dot".into());
        }
        if path.ends_with('*') {
            if !plain.ends_with('/') {
                return Err("route: * stands for whole parts: /v1/projects/*".into());
            }
            return Ok(Self::Below(plain.to_owned()));
        }
        if path.len() > 1 && path.ends_with('/') {
            return Err("route: a path does not end in /".into());
        }
        Ok(Self::Exact(path.to_owned()))
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = match &self.method {
            MethodPattern::Any => "*",
            MethodPattern::One(name) => name,
        };
        match &self.path {
            PathPattern::Exact(path) if path.is_empty() => f.write_str(method),
            PathPattern::Exact(path) => write!(f, "{method} {path}"),
            PathPattern::Below(prefix) => write!(f, "{method} {prefix}*"),
        }
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
        Authentication::ApiKey { key_id: "000000000000".parse().unwrap(), scopes }
    }

    #[test]
    fn a_route_that_no_rule_names_is_denied_to_everybody() {
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
    fn a_path_that_can_be_read_in_two_ways_is_denied_to_everybody() {
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
    fn what_a_policy_names_as_unclear_is_what_the_rules_deny() {
        let listed = |path: &str| {
            Route::AMBIGUOUS.iter().any(|part| path.contains(part)) || (path.len() > 1 && path.ends_with('/'))
        };
        // Every pair of characters, and everything that two hexadecimal digits could stand for
        let ascii = || (0..=0x7f_u8).map(char::from);
        let pairs = ascii().flat_map(|first| ascii().map(move |second| format!("/a{first}{second}b")));
        let encoded = ascii().flat_map(|first| ascii().map(move |second| format!("/a%{first}{second}b")));
        for path in pairs.chain(encoded).chain([String::new(), "/".into(), "/a/".into(), "/a%".into(), "/a%2".into()]) {
            assert_eq!(Route::is_ambiguous(&path), listed(&path), "{path:?}");
        }
    }

    #[test]
    fn one_of_the_wanted_groups_is_enough_and_any_wants_none() {
        let rules =
            rules(r#"{"route":"GET /a","groups":["root","operator"]},{"route":"GET /b","groups":"any"}"#).unwrap();
        let allowed = |groups: &[&str], path| rules.allow(&user(groups, Authentication::Jwt), "GET", path);
        assert!(allowed(&["operator"], "/a") && allowed(&["user", "root"], "/a") && allowed(&[], "/b"));
        assert!(!allowed(&["user"], "/a") && !allowed(&[], "/a"));
    }

    #[test]
    fn a_rule_can_want_a_person_rather_than_a_key() {
        let rules = rules(r#"{"route":"* /v1/api-keys/*","groups":"any","api_keys":false}"#).unwrap();
        assert!(rules.allow(&user(&[], Authentication::Jwt), "DELETE", "/v1/api-keys/x"));
        assert!(!rules.allow(&user(&["root"], key()), "DELETE", "/v1/api-keys/x"));
        assert!(!rules.allow(&user(&[], Authentication::Jwt), "DELETE", "/v1/api-keys"), "below, not itself");
    }

    #[test]
    fn a_rule_that_cannot_be_right_is_named_with_what_is_wrong() {
        for (rule, says) in [
            (r#"{"route":"GET /a","groups":["admins"]}"#, r#"rule 1 ("GET /a"): groups: unknown group "admins""#),
            (r#"{"route":"GET /a","groups":"everybody"}"#, "expected \"any\""),
            (r#"{"route":"GET /a","groups":[]}"#, "the list is empty"),
            (r#"{"route":"/a","groups":"any"}"#, "expected a method"),
            (r#"{"route":"FETCH /a","groups":"any"}"#, "expected one of GET"),
            (r#"{"route":"get /a","groups":"any"}"#, "expected one of GET"),
            (r#"{"route":"GET a","groups":"any"}"#, "a path begins with /"),
            (r#"{"route":"GET /a*","groups":"any"}"#, "* stands for whole parts"),
            (r#"{"route":"GET /*/a","groups":"any"}"#, "* only as its last part"),
            (r#"{"route":"GET /a?","groups":"any"}"#, "a path begins with /"),
            (r#"{"route":"GET /a%2Fb","groups":"any"}"#, "a path begins with /"),
            (r#"{"route":"GET /a/../b","groups":"any"}"#, "no part that begins with a dot"),
            (r#"{"route":"GET /.env","groups":"any"}"#, "no part that begins with a dot"),
            (r#"{"route":"GET /a//b","groups":"any"}"#, "a path begins with /"),
            (r#"{"route":"GET /a/","groups":"any"}"#, "does not end in /"),
            (r#"{"route":"GET /a","groups":"any","group":"x"}"#, "unknown field `group`"),
            (r#"{"route":"GET /a","groups":"any"},{"route":"GET /a","groups":"any"}"#, "stands twice"),
            ("", "no rules"),
            ("nonsense", "expected"),
        ] {
            let problem = rules(rule).unwrap_err();
            assert!(problem.contains(says), "{rule}: {problem}");
        }
    }

    #[test]
    fn a_route_is_written_as_it_is_read() {
        for text in ["GET /v1/projects", "* /v1/api-keys/*", "GET /", "* /*", "$connect"] {
            assert_eq!(text.parse::<Route>().unwrap().to_string(), text);
        }
        assert!("GET $connect".parse::<Route>().is_err() && "$disconnect".parse::<Route>().is_err());
    }

    #[test]
    fn every_wrong_rule_is_reported_and_not_just_the_first() {
        let problems = rules(r#"{"route":"GET a","groups":"any"},{"route":"GET /b","groups":["x"]}"#).unwrap_err();
        assert!(problems.contains("rule 1") && problems.contains("rule 2"), "{problems}");
    }

    #[test]
    fn a_key_may_call_what_its_groups_and_one_of_its_scopes_let_it() {
        use Access::{Allowed, Forbidden, InsufficientScope};
        let wide = r#"{"route":"* /v1/a/*","groups":["user"]},{"route":"GET /v1/admin/x","groups":["root"]}"#;
        let rules =
            rules_and_scopes(wide, r#""deploy":["POST /v1/a/deployments/*","PUT /v1/a/x"],"all":["* /*"]"#).unwrap();
        for (scopes, method, path, expected) in [
            (&[][..], "PUT", "/v1/a/b", Allowed),
            (&["read"], "GET", "/v1/a/b", Allowed),
            (&["read"], "HEAD", "/v1/a/b", Allowed),
            (&["read"], "PUT", "/v1/a/b", InsufficientScope),
            (&["read"], "GET", "/v1/other", Forbidden),
            (&["read"], "GET", "/v1/admin/x", Forbidden),
            (&["deploy"], "POST", "/v1/a/deployments/7", Allowed),
            (&["deploy"], "POST", "/v1/a/deployments", InsufficientScope),
            (&["deploy"], "GET", "/v1/a/x", InsufficientScope),
            (&["deploy", "read"], "GET", "/v1/a/x", Allowed),
            (&["deploy", "read"], "PUT", "/v1/a/x", Allowed),
            (&["all"], "DELETE", "/v1/a/x", Allowed),
            (&["all"], "GET", "/v1/admin/x", Forbidden),
            (&["gone"], "GET", "/v1/a/x", InsufficientScope),
            (&["gone", "read"], "GET", "/v1/a/x", Allowed),
        ] {
            let user = user(&["user"], key_with(scopes));
            assert_eq!(rules.access(&user, method, path), expected, "{scopes:?} {method} {path}");
        }
        let person = user(&["user"], Authentication::Jwt);
        assert_eq!(rules.access(&person, "PUT", "/v1/a/b"), Allowed, "scopes are for keys");
    }

    #[test]
    fn a_rule_can_let_a_key_in_whatever_its_scopes_are() {
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
    fn a_rule_without_scopes_may_not_open_what_scopes_guard() {
        let narrow = r#"{"route":"GET /v1/a/x","groups":"any"}"#;
        let wide = r#"{"route":"GET /v1/a/*","groups":"any","scopes":false}"#;
        assert!(rules(&format!("{narrow},{wide}")).unwrap_err().contains(r#"also opens "GET /v1/a/x""#));
        let for_people = r#"{"route":"GET /v1/a/*","groups":"any","scopes":false,"api_keys":false}"#;
        assert!(rules(&format!("{narrow},{for_people}")).is_ok());
    }

    #[test]
    fn a_scope_that_cannot_be_right_is_named_with_all_that_is_wrong() {
        for (scope, says) in [
            (r#""read":["GET /a"]"#, r#"scope "read": this name is taken"#),
            (r#""Deploy":["GET /a"]"#, r#"scope "Deploy": the name of a scope has"#),
            (r#""":["GET /a"]"#, r#"scope "": the name"#),
            (r#""deploy":[]"#, r#"scope "deploy": the list is empty"#),
            (r#""deploy":["GET a"]"#, r#"scope "deploy": "GET a": route: a path begins with /"#),
            (r#""deploy":["FETCH /a"]"#, "expected one of GET"),
            (r#""deploy":["GET /b"]"#, r#"scope "deploy": no rule lets a key call "GET /b""#),
            (r#""deploy":["POST /a"]"#, "no rule lets a key call"),
            (r#""deploy":["GET /person"]"#, "no rule lets a key call"),
            (r#""deploy":["GET /self"]"#, "no rule lets a key call"),
            (r#""deploy":["GET /a"],"deploy":["GET /a"]"#, r#"scope "deploy" stands twice"#),
            (r#""deploy":"GET /a""#, "invalid type"),
        ] {
            let rules = r#"{"route":"GET /a","groups":"any"},{"route":"GET /person","groups":"any","api_keys":false},
                {"route":"GET /self","groups":"any","scopes":false}"#;
            let problem = rules_and_scopes(rules, scope).unwrap_err();
            assert!(problem.contains(says), "{scope}: {problem}");
        }
        let two = rules_and_scopes(r#"{"route":"GET /a","groups":"x"}"#, r#""read":["a","GET /*/b"]"#).unwrap_err();
        for part in ["rule 1", "is taken", r#""a":"#, r#""GET /*/b":"#] {
            assert!(two.contains(part), "{part}: {two}");
        }
    }

    #[test]
    fn two_routes_have_in_common_what_matches_both() {
        for (one, other, both) in [
            ("GET /a", "GET /a", Some("GET /a")),
            ("* /a", "GET /a", Some("GET /a")),
            ("GET /a/*", "* /a/b/*", Some("GET /a/b/*")),
            ("GET /a/*", "GET /a", None),
            ("GET /a", "POST /a", None),
            ("GET /a", "GET /b", None),
            ("GET /a/*", "GET /ab/*", None),
            ("* /*", "* /a", Some("* /a")),
            ("$connect", "* /*", None),
            ("$connect", "$connect", Some("$connect")),
        ] {
            let [one, other]: [Route; 2] = [one, other].map(|text| text.parse().unwrap());
            for seen in [one.intersection(&other), other.intersection(&one)] {
                assert_eq!(seen.map(|route| route.to_string()).as_deref(), both, "{one} and {other}");
            }
        }
    }

    #[test]
    fn a_wide_rule_may_not_open_what_a_narrow_one_guards() {
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
        assert!(rules(&format!(r#"{person},{{"route":"GET /v1/*","groups":"any"}}"#)).is_err(), "keys would get in");
        // what is wider in place and narrower in people opens nothing
        assert!(rules(&format!(r#"{root},{{"route":"GET /v1/*","groups":["root"]}}"#)).is_ok());
        assert!(rules(r#"{"route":"GET /*","groups":["root"]},{"route":"GET /v1/a","groups":"any"}"#).is_ok());
    }
}
