use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::Route;
use super::source::{RulesError, Source, did_you_mean};
use super::table::{Place, RouteTable};
use crate::{Authentication, CurrentUser, Group, Groups, Object, ScopeName, not_null};

/// The groups and scopes that each route requires. A route without a rule is denied.
///
/// Written as JSON, in `access/vega.json`:
/// ```json
/// { "rules": [
///   { "route": "GET /v1/auth/me",  "groups": "any" },
///   { "route": "GET /v1/projects", "groups": ["root", "operator", "user"] },
///   { "route": "* /v1/api-keys/*", "groups": "any", "api_keys": false },
///   { "route": "GET /v1/api-keys/self", "groups": "any", "scopes": false }
/// ], "scopes": { "projects:read": ["GET /v1/projects"] } }
/// ```
/// - `route`: a method, `ANY` or `*`, a space, and a path as API Gateway writes it: `{id}` is one segment, `{proxy+}` at the
///   end is one or more. A path that ends in `/*` covers everything below it, not itself. For a WebSocket API it is `$connect`.
/// - `groups` of a rule: the caller must be in one of these; `"any"` admits every authenticated caller.
/// - `api_keys`: `false` limits the route to signed-in people. `true` if left out.
/// - `scopes` of a rule: `false` admits a key whatever its scopes. `true` if left out.
/// - `groups` of the document: every group that a rule can name, [`DEFAULT_GROUPS`] if left out. A caller's other groups don't
///   count.
/// - `administrators`: the groups that administer other people's keys, each with the groups whose keys it can't revoke or enable;
///   [`DEFAULT_ADMINISTRATORS`], as far as there are such groups, if left out.
/// - `cache`: how API Gateway caches the authorizer's results, `token` if left out. See [`Caching`].
/// - `scopes` of the document: named sets of routes that a key can be limited to. `read` always exists.
///
/// A key with scopes can call a route only if both its groups and one of its scopes allow it: never more than without
/// scopes. A scope that no longer exists allows nothing.
///
/// A path that can be read in two ways is denied to everybody: see [`Route::AMBIGUOUS`].
///
/// The most specific rule decides, as API Gateway chooses a route: see [`RouteTable`]. What isn't exact in a policy for every
/// route is an error if results are cached by token.
#[derive(Debug)]
pub struct AccessRules {
    groups: Groups,
    administrators: BTreeMap<Group, Groups>,
    caching: Caching,
    rules: Vec<Rule>,
    table: RouteTable<usize>,
    scopes: BTreeMap<ScopeName, Scope>,
}

/// The caching of an API's authorizer results, which decides the requests that a response can meet.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Caching {
    /// No caching: a response meets only the request that it is for.
    None,
    /// By token: a response meets every request with that token, so its policy covers the whole API.
    #[default]
    Token,
    /// By token, method and path.
    TokenMethodPath,
}

/// A request, as the rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The method called.
    pub method: &'a str,
    /// The path called, from the root; empty for a WebSocket API.
    pub path: &'a str,
    /// The path of the route that API Gateway matched, if the event has one: `/v1/projects/{id}`.
    pub resource: Option<&'a str>,
}

#[derive(Debug)]
struct Scope {
    routes: Vec<Route>,
    table: RouteTable<()>,
}

impl From<Vec<Route>> for Scope {
    fn from(routes: Vec<Route>) -> Self {
        let mut table = RouteTable::default();
        for route in &routes {
            // A route that is there already is in the scope.
            let _ = table.insert(route, ());
        }
        Self { routes, table }
    }
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
    OneOf(GroupBits),
}

/// Groups among those of a document: a bit for each, in their order.
type GroupBits = u64;

/// Most groups per document.
pub(crate) const MAX_GROUPS: usize = GroupBits::BITS as usize;

/// The groups of a document that lists none, and its administrators.
const DEFAULT_GROUPS: [&str; 3] = ["operator", "root", "user"];
const DEFAULT_ADMINISTRATORS: [(&str, &[&str]); 2] = [("root", &[]), ("operator", &["root"])];

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
    /// No rule admits the caller's groups.
    Forbidden,
    /// The rule admits people only.
    PersonRequired,
    /// A rule admits the key's groups, but none of its scopes includes the route.
    InsufficientScope,
}

impl DeniedAs {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
            Self::PersonRequired => "person_required",
            Self::InsufficientScope => "insufficient_scope",
        }
    }
}

/// Most rules per file: API Gateway has at most 300 resources per API by default.
const MAX_RULES: usize = 5000;

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(title = "Access rules of an API"))]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "an editor reads `schema`")]
pub(crate) struct Document<'a> {
    /// The JSON Schema of this file, for editors.
    #[serde(rename = "$schema", default)]
    schema: Option<String>,
    /// The groups of the user pool that rules can name; `root`, `operator` and `user` if left out. A caller's other groups don't
    /// count.
    #[serde(default, deserialize_with = "not_null", borrow)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::groups"))]
    groups: Option<&'a RawValue>,
    /// The groups that administer other people's keys; `root` and `operator` if left out, as far as there are such groups.
    #[serde(default, deserialize_with = "not_null", borrow)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<WrittenAdministrators>"))]
    administrators: Option<&'a RawValue>,
    /// How API Gateway caches the authorizer's results: not at all, by token, or by token, method and path.
    #[serde(default)]
    cache: Caching,
    /// The rules. A route without a rule is denied to everybody.
    #[serde(borrow)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<WrittenRule>", length(min = 1, max = MAX_RULES)))]
    rules: Vec<&'a RawValue>,
    /// Named sets of routes that an API key can be limited to. `read` always exists: GET and HEAD.
    #[serde(default, borrow)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::scopes"))]
    scopes: Members<'a>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Administrators"))]
#[serde(deny_unknown_fields)]
struct WrittenAdministrators {
    /// The group.
    #[cfg_attr(feature = "schema", schemars(with = "Group"))]
    group: String,
    /// The groups whose keys it can't revoke or enable.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<Group>"))]
    except: Vec<String>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Rule"))]
#[serde(deny_unknown_fields)]
struct WrittenRule {
    /// The requests that the rule applies to.
    #[cfg_attr(feature = "schema", schemars(with = "Route"))]
    route: String,
    /// The caller must be in one of these groups; `"any"` admits every authenticated caller.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::required_groups"))]
    groups: WrittenGroups,
    /// `false` limits the route to people.
    #[serde(default = "yes")]
    api_keys: bool,
    /// `false` admits a key whatever its scopes.
    #[serde(default = "yes")]
    scopes: bool,
}

enum WrittenGroups {
    Any,
    Names(Vec<String>),
}

impl<'de> Deserialize<'de> for WrittenGroups {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Groups;
        impl<'de> Visitor<'de> for Groups {
            type Value = WrittenGroups;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"any\" or a list of groups")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<WrittenGroups, E> {
                if word == "any" {
                    Ok(WrittenGroups::Any)
                } else {
                    Err(E::invalid_value(de::Unexpected::Str(word), &self))
                }
            }

            fn visit_seq<S: SeqAccess<'de>>(self, names: S) -> Result<WrittenGroups, S::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(names)).map(WrittenGroups::Names)
            }
        }
        deserializer.deserialize_any(Groups)
    }
}

fn yes() -> bool {
    true
}

/// The members of an object in their order, also those that occur twice.
#[derive(Default)]
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members<'de>, M::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl FromStr for AccessRules {
    type Err = RulesError;

    fn from_str(json: &str) -> Result<Self, RulesError> {
        let (mut source, Object(document)) = Source::document::<Object<Document<'_>>>(json)?;
        if document.rules.len() > MAX_RULES {
            source.problem_with_all(&format!("more than {MAX_RULES} rules"));
        }
        source.check()?;
        let groups =
            document.groups.map_or_else(|| Groups::named(DEFAULT_GROUPS), |part| read_groups(&mut source, part));
        let administrators = match document.administrators {
            None => default_administrators(&groups),
            Some(part) => read_administrators(&mut source, part, &groups),
        };
        source.check()?;
        let mut rules = Vec::new();
        for part in document.rules {
            let Some(Object(written)) = source.read::<Object<WrittenRule>>(|| rule_name(part), part) else { continue };
            match Rule::read(written, &groups) {
                Ok(rule) => rules.push((rule, part)),
                Err(problem) => source.problem(part, format!("{}: {problem}", rule_name(part))),
            }
        }
        let mut scopes = BTreeMap::new();
        for (name, part) in &document.scopes.0 {
            let Some(routes) = source.read::<Vec<String>>(|| format!("scope {name:?}"), part) else { continue };
            match read_scope(name, &routes) {
                Ok((name, _)) if scopes.contains_key(&name) => {
                    source.problem(part, format!("scope {:?} is defined twice", name.as_str()));
                }
                Ok((name, routes)) => {
                    scopes.insert(name, (routes, *part));
                }
                Err(problems) => {
                    for problem in problems {
                        source.problem(part, format!("scope {name:?}: {problem}"));
                    }
                }
            }
        }
        source.check()?;
        if rules.is_empty() {
            source.problem_with_all("no rules: nobody could call any route");
        }
        let table = table(&mut source, &rules);
        report_unusable_scopes(&mut source, &rules, &table, &scopes);
        if document.cache == Caching::Token {
            report_what_a_policy_cannot_decide(&mut source, &rules, &scopes);
        }
        source.check()?;
        let mut scopes: BTreeMap<_, _> = scopes.into_iter().map(|(name, (routes, _))| (name, routes.into())).collect();
        scopes.insert(ScopeName::read(), Route::all_reads().into());
        let rules = rules.into_iter().map(|(rule, _)| rule).collect();
        Ok(Self { groups, administrators, caching: document.cache, rules, table, scopes })
    }
}

fn read_groups<'a>(source: &mut Source<'a>, part: &'a RawValue) -> Groups {
    let Some(names) = source.read::<Vec<String>>(|| "groups".into(), part) else { return Groups::NONE };
    if names.is_empty() || names.len() > MAX_GROUPS {
        source.problem(part, format!("groups: expected 1 to {MAX_GROUPS}"));
    }
    let mut groups = Vec::new();
    for name in &names {
        match name.parse() {
            Ok(group) if groups.contains(&group) => source.problem(part, format!("group {name:?} is listed twice")),
            Ok(group) => groups.push(group),
            Err(problem) => source.problem(part, format!("group {name:?}: {problem}")),
        }
    }
    groups.into_iter().collect()
}

fn default_administrators(groups: &Groups) -> BTreeMap<Group, Groups> {
    let group = |name: &str| name.parse().ok().filter(|group| groups.contains(group));
    let read =
        |(name, except): (&str, &[&str])| Some((group(name)?, except.iter().filter_map(|name| group(name)).collect()));
    DEFAULT_ADMINISTRATORS.into_iter().filter_map(read).collect()
}

fn read_administrators<'a>(source: &mut Source<'a>, part: &'a RawValue, groups: &Groups) -> BTreeMap<Group, Groups> {
    let written =
        source.read::<Vec<Object<WrittenAdministrators>>>(|| "administrators".into(), part).unwrap_or_default();
    let mut administrators = BTreeMap::new();
    for Object(WrittenAdministrators { group, except }) in written {
        let name = group.clone();
        let except = except.iter().map(|name| find(name, groups)).collect::<Result<Groups, _>>();
        match find(&group, groups).and_then(|group| Ok((group, except?))) {
            Err(problem) => source.problem(part, format!("administrators: {problem}")),
            Ok((group, except)) => {
                if administrators.insert(group, except).is_some() {
                    source.problem(part, format!("administrators: {name:?} occurs twice"));
                }
            }
        }
    }
    administrators
}

/// The group of this name. Fails when it isn't among `groups`, or no group can have the name.
fn find(name: &str, groups: &Groups) -> Result<Group, String> {
    let group: Group = name.parse().map_err(|problem| format!("{name:?}: {problem}"))?;
    Some(group).filter(|group| groups.contains(group)).ok_or_else(|| {
        let names: Vec<&str> = groups.iter().map(Group::name).collect();
        let suggestion = did_you_mean(name, names.iter().copied());
        format!("unknown group {name:?}: the groups are {}{suggestion}", names.join(", "))
    })
}

/// Their bits, without the groups that the document doesn't list.
fn bits(of: &Groups, groups: &Groups) -> GroupBits {
    of.iter().filter_map(|group| groups.position(group)).fold(0, |bits, position| bits | 1 << position)
}

/// The name in a problem with a rule that can't be read, or is invalid.
fn rule_name(part: &RawValue) -> String {
    #[derive(Deserialize)]
    struct Named {
        route: String,
    }
    serde_json::from_str(part.get()).map_or("rule".to_owned(), |Named { route }| format!("rule {route:?}"))
}

impl Rule {
    /// Fails with the problem of the rule.
    fn read(written: WrittenRule, groups: &Groups) -> Result<Self, String> {
        let required = match written.groups {
            WrittenGroups::Any => RequiredGroups::Anyone,
            WrittenGroups::Names(names) if names.is_empty() => return Err("groups: the list is empty".into()),
            WrittenGroups::Names(names) => {
                let names = names.iter().map(|name| find(name, groups)).collect::<Result<Groups, _>>();
                RequiredGroups::OneOf(bits(&names.map_err(|problem| format!("groups: {problem}"))?, groups))
            }
        };
        Ok(Self { route: written.route.parse()?, groups: required, api_keys: written.api_keys, scopes: written.scopes })
    }
}

/// Reads a scope's name and routes, or returns every problem with them.
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

/// The rules by route. Reports the routes that two rules define, or that API Gateway can't have together.
fn table(source: &mut Source<'_>, rules: &[(Rule, &RawValue)]) -> RouteTable<usize> {
    let mut table = RouteTable::default();
    for (index, (rule, part)) in rules.iter().enumerate() {
        match table.insert(&rule.route, index) {
            Err(_) => source.problem(part, format!("rule {:?} is defined twice", rule.route.to_string())),
            Ok(Some(other)) if !rules[other].0.route.path.parameters().eq(rule.route.path.parameters()) => {
                let [name, other] = [&rule.route, &rules[other].0.route].map(ToString::to_string);
                source.problem(part, format!("rule {name:?}: its parameters have other names than those of {other:?}"));
            }
            Ok(_) => {}
        }
    }
    table
}

/// The scopes' routes without effect, because no rule lets a key call them: a mistake in one of the two.
fn report_unusable_scopes(
    source: &mut Source<'_>,
    rules: &[(Rule, &RawValue)],
    table: &RouteTable<usize>,
    scopes: &BTreeMap<ScopeName, (Vec<Route>, &RawValue)>,
) {
    for (name, (routes, part)) in scopes {
        for route in routes {
            if !table.meets(route, &|index| rules[*index].0.api_keys && rules[*index].0.scopes) {
                let (known, route): (Vec<_>, _) =
                    (rules.iter().map(|(rule, _)| rule.route.to_string()).collect(), route.to_string());
                let suggestion = did_you_mean(&route, known.iter().map(String::as_str));
                source
                    .problem(part, format!("scope {:?}: no rule lets a key call {route:?}{suggestion}", name.as_str()));
            }
        }
    }
}

/// A policy for the whole API allows what any rule allows, and its `*` matches several segments too. So it is exact only if the
/// more specific of two overlapping rules admits everybody whom the other admits, and if nothing has to be allowed among the
/// paths with too many segments, which the policy denies.
fn report_what_a_policy_cannot_decide(
    source: &mut Source<'_>,
    rules: &[(Rule, &RawValue)],
    scopes: &BTreeMap<ScopeName, (Vec<Route>, &RawValue)>,
) {
    const REMEDY: &str =
        "or declare \"cache\": \"none\" or \"token_method_path\", and configure the API's authorizer so";
    for (narrow, _) in rules {
        for (wide, part) in rules {
            if !wide.admits_no_more_than(narrow)
                && wide.route.overlaps(&narrow.route)
                && narrow.route.is_more_specific_than(&wide.route)
            {
                let (wide, narrow) = (wide.route.to_string(), narrow.route.to_string());
                source.problem(
                    part,
                    format!(
                        "rule {wide:?} also opens {narrow:?} to callers whom that rule keeps out: narrow the first or broaden \
                         the second, {REMEDY}"
                    ),
                );
            }
        }
    }
    let scope_routes = scopes.values().flat_map(|(routes, part)| routes.iter().map(move |route| (route, *part)));
    for (route, part) in rules.iter().map(|(rule, part)| (&rule.route, *part)).chain(scope_routes) {
        let excess = route.path.excess();
        let meets = |rule: &Rule| {
            rule.route.method.meets(&route.method) && excess.iter().any(|glob| rule.route.path.meets_glob(glob))
        };
        if let Some((rule, _)) = rules.iter().find(|(rule, _)| meets(rule)) {
            let (name, other) = (route.to_string(), rule.route.to_string());
            source.problem(
                part,
                format!(
                    "{name:?} can't be told from {other:?} in a policy, where a parameter matches several segments: join them \
                     with /*, {REMEDY}"
                ),
            );
        }
    }
}

impl Rule {
    /// `groups` are the user's.
    fn admits(&self, user: &CurrentUser, groups: GroupBits) -> bool {
        self.admits_groups(groups) && (self.api_keys || user.authentication.is_person())
    }

    fn admits_groups(&self, groups: GroupBits) -> bool {
        match self.groups {
            RequiredGroups::Anyone => true,
            RequiredGroups::OneOf(required) => groups & required != 0,
        }
    }

    fn admits_no_more_than(&self, other: &Self) -> bool {
        let groups = match (self.groups, other.groups) {
            (_, RequiredGroups::Anyone) => true,
            (RequiredGroups::Anyone, RequiredGroups::OneOf(_)) => false,
            (RequiredGroups::OneOf(ours), RequiredGroups::OneOf(theirs)) => ours & !theirs == 0,
        };
        let keys = !self.api_keys || (other.api_keys && (self.scopes || !other.scopes));
        groups && keys
    }
}

impl AccessRules {
    /// Every group that counts.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// The part of these groups that affects decisions: callers with the same bits have the same rights.
    pub fn group_bits(&self, groups: &Groups) -> u64 {
        bits(groups, &self.groups)
    }

    /// Whether somebody in `groups` administers other people's keys.
    pub fn administer_keys(&self, groups: &Groups) -> bool {
        groups.iter().any(|group| self.administrators.contains_key(group))
    }

    /// Whether somebody in `groups` can revoke and enable other people's keys with the groups `of_key`.
    pub fn can_revoke(&self, groups: &Groups, of_key: &Groups) -> bool {
        groups.iter().filter_map(|group| self.administrators.get(group)).any(|except| !except.intersects(of_key))
    }

    /// The routes that `user` can call, in the rules' order and without duplicates, for a policy for the whole API.
    pub fn granted(&self, user: &CurrentUser) -> Vec<Cow<'_, Route>> {
        let scope_routes = self.scope_routes(user);
        let mut granted = Vec::new();
        let groups = self.group_bits(&user.groups);
        for rule in self.rules.iter().filter(|rule| rule.admits(user, groups)) {
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

    /// Whether `user` can call `target`. API Gateway's own match decides, since that is the function that will run; the path
    /// decides if the event has no match, or one that continues with the rest of a path. A policy for the whole API consists
    /// of paths, so with such a policy both must allow.
    pub fn access(&self, user: &CurrentUser, target: Target<'_>) -> Access {
        let names_path = self.caching != Caching::Token;
        if Route::is_ambiguous(target.path) || (names_path && Route::has_policy_syntax(target.path)) {
            return Access::Denied(DeniedAs::Forbidden);
        }
        let path = Place::Path(target.path);
        let resource = target.resource.filter(|resource| resource.starts_with('/') && !resource.ends_with("+}"));
        match resource.map(Place::Resource) {
            None => self.access_to(user, target.method, path),
            Some(resource) if names_path => self.access_to(user, target.method, resource),
            Some(resource) => match self.access_to(user, target.method, path) {
                Access::Allowed => self.access_to(user, target.method, resource),
                denied @ Access::Denied(_) => denied,
            },
        }
    }

    fn access_to(&self, user: &CurrentUser, method: &str, place: Place<'_>) -> Access {
        let rule = self.table.find(method, place).map(|index| &self.rules[*index]);
        let groups = self.group_bits(&user.groups);
        let Some(rule) = rule.filter(|rule| rule.admits_groups(groups)) else {
            return Access::Denied(DeniedAs::Forbidden);
        };
        if !rule.admits(user, groups) {
            return Access::Denied(DeniedAs::PersonRequired);
        }
        let is_in = |name| self.scopes.get(name).is_some_and(|scope| scope.table.find(method, place).is_some());
        match &user.authentication {
            Authentication::ApiKey { scopes, .. } if rule.scopes && !scopes.is_empty() && !scopes.iter().any(is_in) => {
                Access::Denied(DeniedAs::InsufficientScope)
            }
            _ => Access::Allowed,
        }
    }

    /// How API Gateway caches the results.
    pub fn caching(&self) -> Caching {
        self.caching
    }

    /// The routes in the scopes of the user's key; `None` if no scopes limit the user.
    fn scope_routes(&self, user: &CurrentUser) -> Option<Vec<&Route>> {
        match &user.authentication {
            Authentication::ApiKey { scopes, .. } if !scopes.is_empty() => {
                Some(scopes.iter().filter_map(|name| self.scopes.get(name)).flat_map(|scope| &scope.routes).collect())
            }
            _ => None,
        }
    }

    /// The route of the rule that decides about `target`, if there is one: for an explanation, not for a decision.
    pub fn rule(&self, target: Target<'_>) -> Option<&Route> {
        if Route::is_ambiguous(target.path) {
            return None;
        }
        let resource = target.resource.filter(|resource| resource.starts_with('/') && !resource.ends_with("+}"));
        let place = resource.map_or(Place::Path(target.path), Place::Resource);
        self.table.find(target.method, place).and_then(|index| self.rules.get(*index)).map(|rule| &rule.route)
    }

    /// Every scope with its routes, in the order of their names.
    pub fn scopes(&self) -> impl Iterator<Item = (&ScopeName, &[Route])> {
        self.scopes.iter().map(|(name, scope)| (name, scope.routes.as_slice()))
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
            self.access(user, Target { method, path, resource: None }) == Access::Allowed
        }
    }

    fn user(groups: &[&str], authentication: Authentication) -> CurrentUser {
        CurrentUser {
            id: "user-1".into(),
            username: "ada".into(),
            groups: Groups::named(groups.iter().copied()),
            authentication,
            oauth_scopes: Vec::new(),
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
    fn a_rule_can_admit_people_but_no_programs() {
        let rules = rules(r#"{"route":"* /v1/api-keys/*","groups":"any","api_keys":false}"#).unwrap();
        assert!(rules.allow(&user(&[], Authentication::Jwt), "DELETE", "/v1/api-keys/x"));
        assert!(rules.allow(&user(&[], Authentication::OtherPool), "DELETE", "/v1/api-keys/x"));
        assert!(!rules.allow(&user(&["root"], key()), "DELETE", "/v1/api-keys/x"));
        assert!(!rules.allow(&user(&["root"], Authentication::Machine), "DELETE", "/v1/api-keys/x"));
        assert!(
            !rules.allow(&user(&[], Authentication::Jwt), "DELETE", "/v1/api-keys"),
            "/* covers the paths below, not the path itself"
        );
    }

    #[test]
    fn an_invalid_rule_is_named_with_its_problem() {
        for (rule, reason) in [
            (r#"{"route":"GET /a","groups":["admins"]}"#, r#"line 1: rule "GET /a": groups: unknown group "admins""#),
            (r#"{"route":"GET /a","groups":["users"]}"#, r#"; did you mean "user"?"#),
            (
                r#"{"route":"GET /a","groups":"everybody"}"#,
                "invalid value: string \"everybody\", expected \"any\" or a list",
            ),
            (r#"{"route":"GET /a","groups":[]}"#, "the list is empty"),
            (
                r#"{"route":"GET /a","groups":"any","group":"x"}"#,
                "unknown field `group`, expected one of `route`, `groups`, `api_keys`, `scopes`; did you mean \"groups\"?",
            ),
            (r#"["GET /a","any"]"#, "expected an object"),
            (r#"{"groups":"any"}"#, "line 1: rule: missing field `route`"),
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
        assert!(problems.contains(r#"rule "GET a""#) && problems.contains(r#"rule "GET /b""#), "{problems}");
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
            assert_eq!(
                rules.access(&user, Target { method, path, resource: None }),
                expected,
                "{scopes:?} {method} {path}"
            );
        }
        let person = user(&["user"], Authentication::Jwt);
        assert!(rules.allow(&person, "PUT", "/v1/a/b"), "scopes only apply to keys");
    }

    #[test]
    fn a_denial_has_one_reason() {
        let rules = rules(r#"{"route":"GET /v1/a","groups":["root"],"api_keys":false}"#).unwrap();
        for (groups, authentication, reason) in [
            (&["user"][..], Authentication::Jwt, DeniedAs::Forbidden),
            (&["user"], key_with(&[]), DeniedAs::Forbidden),
            (&["root"], key_with(&[]), DeniedAs::PersonRequired),
            (&["root"], key_with(&["read"]), DeniedAs::PersonRequired),
            (&["root"], Authentication::Machine, DeniedAs::PersonRequired),
        ] {
            let target = Target { method: "GET", path: "/v1/a", resource: None };
            assert_eq!(rules.access(&user(groups, authentication), target), Access::Denied(reason));
        }
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
        for part in [r#"rule "GET /a""#, "is reserved", r#""a":"#, r#""GET /*/b":"#] {
            assert!(two.contains(part), "{part}: {two}");
        }
    }

    #[test]
    fn only_the_documents_groups_count() {
        let rules: AccessRules = r#"{
            "groups": ["sales,EMEA", "R&D", "r\u00f6\u00f6t"],
            "rules": [{ "route": "GET /a", "groups": ["sales,EMEA"] }, { "route": "GET /b", "groups": ["R&D", "r\u00f6\u00f6t"] }]
        }"#
        .parse()
        .unwrap();
        let allowed = |groups: &[&str], path| rules.allow(&user(groups, Authentication::Jwt), "GET", path);
        assert!(allowed(&["sales,EMEA"], "/a") && !allowed(&["sales,EMEA"], "/b"));
        assert!(allowed(&["other", "r\u{f6}\u{f6}t"], "/b"));
        for other in ["sales", "EMEA", "R&d", "ro\u{308}o\u{308}t", "root", "any"] {
            assert!(!allowed(&[other], "/a") && !allowed(&[other], "/b"), "{other}");
        }
        let bits = |names: &[&str]| rules.group_bits(&Groups::named(names.iter().copied()));
        assert_eq!(bits(&["root", "sales"]), 0);
        assert_eq!(bits(&["R&D", "x"]), bits(&["R&D"]));
        assert_ne!(bits(&["R&D"]), bits(&["sales,EMEA"]));
    }

    #[test]
    fn sixty_four_groups_are_told_apart() {
        let names: Vec<String> = (0..64).map(|number| format!("g{number}")).collect();
        let rules: Vec<String> =
            names.iter().map(|name| format!(r#"{{"route":"GET /{name}","groups":["{name}"]}}"#)).collect();
        let json = format!(r#"{{"cache":"none","groups":{},"rules":[{}]}}"#, serde_json::json!(names), rules.join(","));
        let rules: AccessRules = json.parse().unwrap();
        for name in &names {
            for path in &names {
                let is_allowed = rules.allow(&user(&[name], Authentication::Jwt), "GET", &format!("/{path}"));
                assert_eq!(is_allowed, name == path, "{name} {path}");
            }
        }
    }

    #[test]
    fn administrators_revoke_all_keys_but_those_of_excepted_groups() {
        let rules = |members: &str| -> AccessRules {
            format!(r#"{{{members}"rules":[{{"route":"GET /a","groups":"any"}}]}}"#).parse().unwrap()
        };
        let groups = |names: &str| names.parse::<Groups>().unwrap();
        let default = rules("");
        let others = rules(
            r#""groups":["boss","help","vip"],"administrators":[{"group":"boss","except":["boss"]},{"group":"help","except":["boss","vip"]}],"#,
        );
        for (rules, administrator, key, expected) in [
            (&default, "root", "root user", Some(true)),
            (&default, "operator user", "operator user", Some(true)),
            (&default, "operator", "", Some(true)),
            (&default, "operator", "root user", Some(false)),
            (&default, "operator root", "root", Some(true)),
            (&default, "user", "", None),
            (&default, "", "", None),
            (&others, "root", "", None),
            (&others, "boss", "vip", Some(true)),
            (&others, "boss", "boss", Some(false)),
            (&others, "help", "help", Some(true)),
            (&others, "help", "help vip", Some(false)),
            (&others, "boss help", "vip", Some(true)),
            (&others, "vip", "", None),
            (&rules(r#""administrators":[],"#), "root", "", None),
            (&rules(r#""groups":["operator","sales"],"#), "operator", "sales", Some(true)),
            (&rules(r#""groups":["operator","sales"],"#), "sales", "", None),
        ] {
            let (administrator, key) = (groups(administrator), groups(key));
            assert_eq!(rules.administer_keys(&administrator), expected.is_some(), "{administrator} {key}");
            assert_eq!(rules.can_revoke(&administrator, &key), expected == Some(true), "{administrator} {key}");
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
