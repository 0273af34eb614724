use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use vega_auth::{
    Access, AccessRules, Authentication, BoundedCache, Caching, CurrentUser, MethodPattern, Network, Rest, Route,
    ScopeName, Segment,
};

use crate::method_arn::MethodArn;

/// The access rules, and the policies created from them. If API Gateway caches results by token, a policy decides every route of
/// the API as the rules do, because it meets the next route too; callers with the same groups, scopes and networks share one.
/// Otherwise a policy decides one request.
pub struct Policies {
    rules: AccessRules,
    created: Mutex<BoundedCache<PolicyKey, SharedPolicy>>,
}

/// Everything that a policy depends on besides the rules.
#[derive(PartialEq, Eq, Hash)]
struct PolicyKey {
    stage: String,
    /// The groups that the rules name.
    groups: u64,
    /// A key's scopes; `None` for a person, because some rules keep out programs. A machine has the rights of a key without
    /// scopes.
    scopes: Option<Vec<ScopeName>>,
    networks: Vec<Network>,
}

/// A policy that all callers with the same [`PolicyKey`] share. Its JSON is written once.
#[derive(Clone, Debug)]
pub struct SharedPolicy(Arc<(PolicyDocument, OnceLock<Box<RawValue>>)>);

impl From<PolicyDocument> for SharedPolicy {
    fn from(document: PolicyDocument) -> Self {
        Self(Arc::new((document, OnceLock::new())))
    }
}

impl Serialize for SharedPolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (document, written) = &*self.0;
        if written.get().is_none() {
            let _ = written.set(to_raw_value(document).map_err(S::Error::custom)?);
        }
        written.get().serialize(serializer)
    }
}

/// An IAM policy: an Allow and, where its wildcards match too much, a Deny.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct PolicyDocument {
    version: &'static str,
    statement: Vec<Statement>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    effect: &'static str,
    action: &'static str,
    resource: Vec<String>,
    /// The addresses that the Allow is limited to: a cached policy meets requests from other addresses than this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<BTreeMap<&'static str, BTreeMap<&'static str, Vec<Network>>>>,
}

impl Policies {
    /// Creates no policy yet.
    pub fn new(rules: AccessRules) -> Self {
        Self { rules, created: Mutex::default() }
    }

    /// The rules that the policies implement.
    pub(crate) fn rules(&self) -> &AccessRules {
        &self.rules
    }

    /// The routes that `user` can call in the stage of `arn`, and from where; or only the request of `arn`, if `access` allows it.
    pub(crate) fn policy(&self, user: &CurrentUser, arn: MethodArn<'_>, access: Access) -> SharedPolicy {
        if self.rules.caching() != Caching::Token {
            return PolicyDocument::of_request(user, arn, access).into();
        }
        let key = PolicyKey::of(user, &self.rules, arn.stage);
        // A panic can't leave the cache half-written: the one change comes last.
        let mut created = self.created.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(policy) = created.get(&key) {
            return policy.clone();
        }
        let policy = SharedPolicy::from(PolicyDocument::new(user, &self.rules, arn.stage));
        created.insert(key, policy.clone());
        policy
    }
}

impl PolicyKey {
    fn of(user: &CurrentUser, rules: &AccessRules, stage: &str) -> Self {
        let (scopes, networks) = match &user.authentication {
            Authentication::Jwt | Authentication::OtherPool => (None, Vec::new()),
            Authentication::Machine => (Some(Vec::new()), Vec::new()),
            Authentication::ApiKey { scopes, networks, .. } => (Some(scopes.clone()), networks.clone()),
        };
        Self { stage: stage.to_owned(), groups: rules.group_bits(&user.groups), scopes, networks }
    }
}

impl PolicyDocument {
    /// Depends on nothing of `user` that isn't in [`PolicyKey`].
    fn new(user: &CurrentUser, rules: &AccessRules, stage: &str) -> Self {
        let routes = rules.granted(user);
        let granted: Vec<String> = routes.iter().flat_map(|route| resources(stage, route)).collect();
        if granted.is_empty() {
            return Self::from(vec![Statement::deny(vec![format!("{stage}/*")])]);
        }
        let mut statements = vec![Statement::allow(granted, user)];
        let denied = denials(stage, &routes);
        if !denied.is_empty() {
            statements.push(Statement::deny(denied));
        }
        Self::from(statements)
    }

    /// Decides one request. [`AccessRules::access`] denies paths that a policy can't name.
    fn of_request(user: &CurrentUser, arn: MethodArn<'_>, access: Access) -> Self {
        let MethodArn { stage, method, path } = arn;
        Self::from(vec![match access {
            Access::Denied(_) => Statement::deny(vec![format!("{stage}/*")]),
            Access::Allowed => {
                let mut resource = format!("{stage}/{method}{path}");
                if resource.len() > MAX_RESOURCE {
                    resource.truncate(resource.floor_char_boundary(MAX_RESOURCE - 1));
                    resource.push('*');
                }
                Statement::allow(vec![resource], user)
            }
        }])
    }
}

impl From<Vec<Statement>> for PolicyDocument {
    fn from(statement: Vec<Statement>) -> Self {
        Self { version: "2012-10-17", statement }
    }
}

impl Statement {
    fn allow(resource: Vec<String>, user: &CurrentUser) -> Self {
        let condition = match &user.authentication {
            Authentication::ApiKey { networks, .. } if !networks.is_empty() => {
                Some(BTreeMap::from([("IpAddress", BTreeMap::from([("aws:SourceIp", networks.clone())]))]))
            }
            _ => None,
        };
        Self { effect: "Allow", action: "execute-api:Invoke", resource, condition }
    }

    fn deny(resource: Vec<String>) -> Self {
        Self { effect: "Deny", action: "execute-api:Invoke", resource, condition: None }
    }
}

/// The longest resource in a policy, in characters.
pub(crate) const MAX_RESOURCE: usize = 512;

/// A policy's `*` matches any characters, including `/`. At the end of a path that is exactly what `/*` means. In place of the
/// method it would also match the start of other paths (`*/v1/x` matches `GET/other/v1/x`), so every method is listed there.
pub(crate) fn resources(stage: &str, route: &Route) -> Vec<String> {
    with_methods(stage, route, &[route.path.policy()])
}

fn with_methods(stage: &str, route: &Route, paths: &[String]) -> Vec<String> {
    let methods = match &route.method {
        MethodPattern::Any => Route::METHODS.as_slice(),
        MethodPattern::One(name) => &[name.as_str()][..],
    };
    let resource = |method: &str, path: &str| {
        // A WebSocket API's route has no path.
        let path = if method == Route::CONNECT { "" } else { path };
        [stage, "/", method, path].concat()
    };
    methods.iter().flat_map(|method| paths.iter().map(move |path| resource(method, path))).collect()
}

/// What the wildcards of these routes match, although no rule allows it: parameters that contain a `/`, and ambiguous paths
/// ([`Route::is_ambiguous`]).
pub(crate) fn denials(stage: &str, routes: &[Cow<'_, Route>]) -> Vec<String> {
    let is_exact = |route: &Route| {
        route.path.rest == Rest::Nothing && route.path.segments.iter().all(|one| matches!(one, Segment::Literal(_)))
    };
    if routes.iter().all(|route| is_exact(route)) {
        return Vec::new();
    }
    let excess = routes.iter().flat_map(|route| with_methods(stage, route, &route.path.excess()));
    let ambiguous = Route::AMBIGUOUS.iter().map(|part| format!("{stage}/*{part}*"));
    // The root path itself ends in `/` (`GET/`). Requiring one more slash before it excludes the root.
    excess.chain(ambiguous).chain([format!("{stage}/*/*/")]).collect()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;
    use vega_auth::{Groups, Target, Timestamp};

    use super::*;

    const STAGE: &str = "arn:aws:execute-api:us-west-1:123456789012:abcdef1234/live";

    /// IAM's wildcards: `*` matches any characters, `?` matches one.
    fn iam_matches(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => {
                iam_matches(rest, text) || (!text.is_empty() && iam_matches(pattern, &text[1..]))
            }
            (Some((b'?', rest)), Some((_, tail))) => iam_matches(rest, tail),
            (Some((expected, rest)), Some((byte, tail))) => expected == byte && iam_matches(rest, tail),
            _ => false,
        }
    }

    fn statement(policy: &SharedPolicy) -> &Statement {
        &statements(policy)[0]
    }

    fn statements(policy: &SharedPolicy) -> &[Statement] {
        &policy.0.0.statement
    }

    /// IAM's `IpAddress`, from the written document.
    fn iam_is_in(network: &str, address: IpAddr) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
            IpAddr::V6(address) => u128::from(address),
        };
        let (base, length) = network.split_once('/').unwrap();
        let base: IpAddr = base.parse().unwrap();
        let length: u32 = length.parse().unwrap();
        base.is_ipv4() == address.is_ipv4() && (length == 0 || (bits(base) ^ bits(address)) >> (128 - length) == 0)
    }

    /// IAM's decision: a Deny overrides any Allow, and without an Allow the request is denied.
    fn iam_allows(policy: &SharedPolicy, method: &str, path: &str, address: IpAddr) -> bool {
        iam_allows_arn(policy, &format!("{STAGE}/{method}{path}"), address)
    }

    fn iam_allows_arn(policy: &SharedPolicy, arn: &str, address: IpAddr) -> bool {
        let effects: Vec<&str> =
            statements(policy).iter().filter(|one| iam_applies(one, arn, address)).map(|one| one.effect).collect();
        effects.contains(&"Allow") && !effects.contains(&"Deny")
    }

    fn iam_applies(statement: &Statement, arn: &str, address: IpAddr) -> bool {
        let statement = serde_json::to_value(statement).unwrap();
        let texts = |list: &serde_json::Value| -> Vec<String> { serde_json::from_value(list.clone()).unwrap() };
        let is_inside = statement.get("Condition").is_none_or(|condition| {
            texts(&condition["IpAddress"]["aws:SourceIp"]).iter().any(|network| iam_is_in(network, address))
        });
        statement["Action"] == "execute-api:Invoke"
            && texts(&statement["Resource"]).iter().any(|resource| iam_matches(resource.as_bytes(), arn.as_bytes()))
            && is_inside
    }

    fn ambiguous_paths() -> Vec<String> {
        denials(STAGE, &[Cow::Owned("GET /*".parse().unwrap())])
    }

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn person(groups: Groups) -> CurrentUser {
        CurrentUser {
            id: "user-1".into(),
            username: "ada".into(),
            groups,
            authentication: Authentication::Jwt,
            oauth_scopes: Vec::new(),
            issued_at: None,
            expires_at: None,
        }
    }

    fn key(groups: Groups, scopes: &[&str], networks: &[&str]) -> CurrentUser {
        let authentication = Authentication::ApiKey {
            key_id: "000000000000".parse().unwrap(),
            scopes: scopes.iter().map(|name| name.parse().unwrap()).collect(),
            networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
        };
        CurrentUser { authentication, ..person(groups) }
    }

    fn policies(rules: &str) -> Policies {
        Policies::new(rules.parse().unwrap())
    }

    fn policy(user: &CurrentUser, policies: &Policies, arn: &str) -> SharedPolicy {
        policies.policy(user, MethodArn::parse(arn).unwrap(), Access::Allowed)
    }

    #[test]
    fn a_policy_has_the_documented_form() {
        let policies = policies(
            r#"{"rules":[{"route":"GET /v1/projects","groups":["user"]},{"route":"GET /v1/x/*","groups":"any"},{"route":"POST /v1/x/*","groups":"any"}]}"#,
        );
        let document = policy(&person(Groups::named(["user"])), &policies, &format!("{STAGE}/GET/v1/projects"));
        assert_eq!(
            serde_json::to_value(&document).unwrap(),
            serde_json::json!({
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow", "Action": "execute-api:Invoke",
                        "Resource": [format!("{STAGE}/GET/v1/projects"), format!("{STAGE}/GET/v1/x/*"), format!("{STAGE}/POST/v1/x/*")]
                    },
                    { "Effect": "Deny", "Action": "execute-api:Invoke", "Resource": ambiguous_paths() }
                ]
            })
        );
    }

    #[test]
    fn a_keys_policy_is_limited_to_its_scopes_and_networks() {
        let policies = policies(
            r#"{
            "rules": [
                {"route":"* /v1/projects","groups":["user"]}, {"route":"* /v1/x/*","groups":"any"},
                {"route":"GET /v1/admin/*","groups":["root"]}, {"route":"* /v1/api-keys/*","groups":"any","api_keys":false},
                {"route":"GET /v1/api-keys/self","groups":"any","scopes":false}
            ],
            "scopes": { "deploy": ["POST /v1/x/deployments/*", "GET /v1/projects"] }
        }"#,
        );
        let user = key(Groups::named(["user"]), &["deploy", "read"], &["203.0.113.0/24", "2001:db8::/32"]);
        let document = policy(&user, &policies, &format!("{STAGE}/GET/v1/projects"));
        assert_eq!(
            serde_json::to_value(&document).unwrap(),
            serde_json::json!({
                "Version": "2012-10-17",
                "Statement": [{
                    "Effect": "Allow", "Action": "execute-api:Invoke",
                    "Resource": [
                        format!("{STAGE}/GET/v1/projects"),
                        format!("{STAGE}/HEAD/v1/projects"),
                        format!("{STAGE}/POST/v1/x/deployments/*"),
                        format!("{STAGE}/GET/v1/x/*"),
                        format!("{STAGE}/HEAD/v1/x/*"),
                        format!("{STAGE}/GET/v1/api-keys/self"),
                    ],
                    "Condition": { "IpAddress": { "aws:SourceIp": ["203.0.113.0/24", "2001:db8::/32"] } }
                }, { "Effect": "Deny", "Action": "execute-api:Invoke", "Resource": ambiguous_paths() }]
            })
        );
    }

    #[test]
    fn only_callers_with_the_same_rights_share_a_policy() {
        let policies =
            policies(r#"{"rules":[{"route":"GET /v1/*","groups":"any"}],"scopes":{"deploy":["GET /v1/projects"]}}"#);
        let arn = format!("{STAGE}/GET/v1/projects");
        let document = |user: &CurrentUser, arn: &str| policy(user, &policies, arn).0;
        let user = Groups::named(["user"]);
        let mut other = person(user.clone());
        other.id = "user-2".into();
        other.expires_at = Some(Timestamp(1_800_000_000));
        assert!(Arc::ptr_eq(&document(&person(user.clone()), &arn), &document(&other, &format!("{STAGE}/POST/v1/x"))));
        let unknown = person(Groups::named(["user", "other"]));
        assert!(Arc::ptr_eq(&document(&person(user.clone()), &arn), &document(&unknown, &arn)));
        let with_token = |authentication| CurrentUser { authentication, ..person(user.clone()) };
        let other_pool = with_token(Authentication::OtherPool);
        assert!(Arc::ptr_eq(&document(&person(user.clone()), &arn), &document(&other_pool, &arn)));
        let machine = with_token(Authentication::Machine);
        assert!(Arc::ptr_eq(&document(&key(user.clone(), &[], &[]), &arn), &document(&machine, &arn)));
        let different = [
            document(&person(user.clone()), &arn),
            document(&person(user.clone()), &arn.replace("/live/", "/test/")),
            document(&person(Groups::named(["root"])), &arn),
            document(&person(Groups::named(["root", "user"])), &arn),
            document(&key(user.clone(), &[], &[]), &arn),
            document(&key(user.clone(), &["deploy"], &[]), &arn),
            document(&key(user.clone(), &["read"], &[]), &arn),
            document(&key(user.clone(), &[], &["203.0.113.0/24"]), &arn),
            document(&key(user.clone(), &[], &["203.0.112.0/24"]), &arn),
        ];
        for (index, one) in different.iter().enumerate() {
            assert!(different[..index].iter().all(|before| !Arc::ptr_eq(one, before)), "{index}");
        }
    }

    #[test]
    fn a_policy_lists_every_method_instead_of_a_wildcard() {
        let policies = policies(r#"{"rules":[{"route":"* /v1/*","groups":"any"}]}"#);
        let document = policy(&person(Groups::NONE), &policies, &format!("{STAGE}/GET/"));
        assert_eq!(statement(&document).resource.len(), Route::METHODS.len());
        let allows = |method, path| iam_allows(&document, method, path, ADDRESS);
        assert!(allows("DELETE", "/v1/x"));
        assert!(!allows("GET", "/other/v1/x"));
    }

    #[test]
    fn a_caller_without_routes_is_denied_everything() {
        let policies = policies(r#"{"rules":[{"route":"GET /v1/projects","groups":["root"]}]}"#);
        let with_networks = key(Groups::NONE, &[], &["203.0.113.0/24"]);
        for user in [person(Groups::NONE), with_networks, key(Groups::named(["root"]), &["gone"], &[])] {
            let document = policy(&user, &policies, &format!("{STAGE}/GET/v1/projects"));
            assert_eq!(statement(&document).effect, "Deny");
            assert_eq!(statement(&document).resource, [format!("{STAGE}/*")]);
            assert!(statement(&document).condition.is_none(), "a denial holds for every address");
        }
    }

    fn paths() -> impl Strategy<Value = String> {
        let parts = vec![
            "v1",
            "v1",
            "a",
            "a",
            "b",
            "admin",
            "api-keys",
            "self",
            "{proxy+}",
            "$connect",
            "GET",
            "A",
            "é",
            "*",
            "?",
            "a%20b",
            "a:b",
            "a%2Fb",
            "a%2fb",
            "..%5c",
            "%2e%2E",
            "..;",
            ".env",
            ".",
            "..",
            "",
            "",
            r"a\..\..",
            "a;b",
            "%3b",
            "%00",
            "%09..",
            "a%1f",
            "%252e%252e",
            "100%",
        ];
        prop::collection::vec(prop::sample::select(parts), 0..5).prop_map(|parts| format!("/{}", parts.join("/")))
    }

    fn rule() -> impl Strategy<Value = serde_json::Value> {
        let routes = vec![
            "GET /v1/a",
            "* /v1/a",
            "GET /v1/a/*",
            "* /v1/*",
            "POST /v1/admin/*",
            "GET /v1/admin/b",
            "GET /*",
            "GET /",
            "* /v1/api-keys/*",
            "GET /v1/api-keys/self",
            "OPTIONS /v1/*",
            "GET /v1/{x}",
            "ANY /v1/{x}/b",
            "GET /v1/a/{x}/b",
            "POST /{y}/a",
            "GET /v1/admin/{proxy+}",
            "ANY /{proxy+}",
            "GET /A/{x}/{y}",
        ];
        (
            prop::sample::select(routes),
            prop::sample::subsequence(vec!["root", "operator", "user"], 0..=3),
            any::<bool>(),
            prop::bool::weighted(0.8),
        )
            .prop_map(|(route, groups, api_keys, scopes)| {
                let groups = if groups.is_empty() { serde_json::json!("any") } else { serde_json::json!(groups) };
                serde_json::json!({ "route": route, "groups": groups, "api_keys": api_keys, "scopes": scopes })
            })
    }

    fn scope() -> impl Strategy<Value = Vec<&'static str>> {
        let routes = vec![
            "GET /v1/a",
            "* /v1/a/*",
            "POST /v1/*",
            "* /*",
            "GET /v1/admin/b",
            "DELETE /v1/a",
            "* /",
            "GET /v1/{x}/b",
            "GET /A/{x}/{proxy+}",
        ];
        prop::sample::subsequence(routes, 1..3)
    }

    /// The rules with those scopes that have an effect, unless the rules contradict each other.
    fn valid_rules(
        cache: &str,
        rules: &[serde_json::Value],
        scopes: &BTreeMap<&str, Vec<&str>>,
    ) -> Option<AccessRules> {
        let read = |scopes: serde_json::Value| {
            serde_json::json!({ "cache": cache, "rules": rules, "scopes": scopes })
                .to_string()
                .parse::<AccessRules>()
                .ok()
        };
        let mut kept: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, routes) in scopes {
            for route in routes.iter().filter(|route| read(serde_json::json!({ *name: [route] })).is_some()) {
                kept.entry(name).or_default().push(route);
            }
        }
        read(serde_json::json!(kept))
    }

    fn address() -> impl Strategy<Value = IpAddr> {
        let addresses = vec!["203.0.113.7", "203.0.113.128", "203.0.114.1", "2001:db8::1", "2001:db9::1", "127.0.0.1"];
        prop::sample::select(addresses).prop_map(|text| text.parse().unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        /// The rules decide directly, pattern by pattern. The policy consists of intersections and is evaluated as by IAM.
        #[test]
        fn a_policy_decides_every_route_as_the_rules_do(
            cache in prop::sample::select(vec!["none", "token", "token_method_path"]),
            rules in prop::collection::vec(rule(), 1..4),
            scopes in prop::collection::btree_map(prop::sample::select(vec!["a", "b", "c"]), scope(), 1..=3),
            groups in prop::sample::subsequence(vec!["root", "operator", "user", "other"], 0..=4),
            restrictions in prop::option::of((
                prop::sample::subsequence(vec!["a", "b", "c", "gone", "read"], 0..=3),
                prop::sample::subsequence(vec!["203.0.113.0/25", "203.0.112.0/20", "2001:db8::/32", "127.0.0.1/32"], 0..=2),
            )),
            stage in prop::sample::select(vec!["live", "v1", "GET", "$default"]),
            first in paths(),
            requests in prop::collection::vec(
                (prop::sample::select(vec!["GET", "HEAD", "POST", "DELETE", "OPTIONS", "get"]), paths(), address()),
                1..20,
            ),
        ) {
            let Some(policies) = valid_rules(cache, &rules, &scopes).map(Policies::new) else { return Ok(()) };
            let groups = Groups::named(groups);
            let user = match &restrictions {
                Some((scopes, networks)) => key(groups.clone(), scopes, networks),
                None => person(groups.clone()),
            };
            let api = "arn:aws:execute-api:us-west-1:123456789012:abcdef1234";
            // Created before, and not to be confused with the one under test.
            for other in [person(groups.clone()), key(groups, &[], &[]), person(Groups::named(["root"]))] {
                let _ = policy(&other, &policies, &format!("{api}/{stage}/GET/"));
            }
            let _ = policy(&user, &policies, &format!("{api}/other/GET/"));
            let document = policy(&user, &policies, &format!("{api}/{stage}/GET{first}"));
            for (method, path, address) in &requests {
                let (method, path, address) = (*method, path.as_str(), *address);
                let arn = format!("{api}/{stage}/{method}{path}");
                let access = policies.rules().access(&user, Target { method, path, resource: None });
                let document = if cache == "token" {
                    document.clone()
                } else {
                    let document = policies.policy(&user, MethodArn::parse(&arn).unwrap(), access);
                    for (other_method, other, address) in requests.iter().filter(|(m, p, _)| (*m, p.as_str()) != (method, path)) {
                        let other = format!("{api}/{stage}/{other_method}{other}");
                        prop_assert!(!iam_allows_arn(&document, &other, *address), "{} by {}", other, arn);
                    }
                    document
                };
                let is_inside = match &user.authentication {
                    Authentication::ApiKey { networks, .. } if !networks.is_empty() => {
                        networks.iter().any(|network| network.contains(address))
                    }
                    _ => true,
                };
                prop_assert_eq!(
                    iam_allows_arn(&document, &arn, address),
                    is_inside && access == Access::Allowed,
                    "{} {} from {} with cache {}", method, path, address, cache
                );
                prop_assert!(!iam_allows_arn(&document, &format!("{api}/other/{method}{path}"), address), "another stage");
            }
        }

        /// Scopes only ever take away rights, and so do networks.
        #[test]
        fn a_restriction_never_gives_a_key_more(
            cache in prop::sample::select(vec!["none", "token", "token_method_path"]),
            rules in prop::collection::vec(rule(), 1..4),
            scopes in prop::collection::btree_map(prop::sample::select(vec!["a", "b", "c"]), scope(), 1..=3),
            groups in prop::sample::subsequence(vec!["root", "operator", "user", "other"], 0..=4),
            limits in prop::sample::subsequence(vec!["a", "b", "c", "gone", "read"], 1..=3),
            request in (prop::sample::select(vec!["GET", "HEAD", "POST", "DELETE"]), paths(), address()),
        ) {
            let Some(policies) = valid_rules(cache, &rules, &scopes).map(Policies::new) else { return Ok(()) };
            let groups = Groups::named(groups);
            let (method, path, address) = request;
            let allows = |scopes: &[&str], networks: &[&str]| {
                let (user, arn) = (key(groups.clone(), scopes, networks), format!("{STAGE}/{method}{path}"));
                let access = policies.rules().access(&user, Target { method, path: &path, resource: None });
                iam_allows(&policies.policy(&user, MethodArn::parse(&arn).unwrap(), access), method, &path, address)
            };
            prop_assert!(!allows(&limits, &[]) || allows(&[], &[]));
            prop_assert!(!allows(&limits, &["203.0.113.0/25"]) || allows(&limits, &[]));
        }
    }
}
