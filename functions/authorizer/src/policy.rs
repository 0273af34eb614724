//! What the authorizer answers: a policy that decides every route of the API as the access rules do, because API Gateway
//! may cache it and hold it against the next route.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use vega_auth::{
    Access, AccessRules, Authenticated, Authentication, BoundedCache, CurrentUser, Group, Groups, KeyId, KeyRecord,
    MethodPattern, Network, PathPattern, Route, ScopeName,
};

/// The longest resource that a policy may name, in characters.
pub const MAX_RESOURCE: usize = 512;
/// The largest policy we build, in bytes: WebSocket APIs take no more than 8 KB of answer.
pub const MAX_POLICY_BYTES: usize = 7 * 1024;

/// `arn:aws:execute-api:{region}:{account}:{api}/{stage}/{METHOD}/{path}`; for a WebSocket API `…/{stage}/$connect`
/// ([reference](https://docs.aws.amazon.com/apigateway/latest/developerguide/arn-format-reference.html)).
#[derive(Debug, PartialEq, Eq)]
pub struct MethodArn {
    /// Up to and with the stage: `arn:aws:execute-api:us-west-1:123456789012:abcdef1234/live`.
    stage: String,
    /// The method called.
    pub method: String,
    /// The path called, from the root; empty for a WebSocket API.
    pub path: String,
}

/// The ARN is not one of a method of an API.
#[derive(Debug, PartialEq, Eq)]
pub struct NotAMethodArn;

impl FromStr for MethodArn {
    type Err = NotAMethodArn;

    fn from_str(arn: &str) -> Result<Self, NotAMethodArn> {
        let mut parts = arn.splitn(4, '/');
        let (Some(api), Some(stage), Some(method)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NotAMethodArn);
        };
        let path = parts.next().map(|path| format!("/{path}")).unwrap_or_default();
        let fields: Vec<&str> = api.split(':').collect();
        let is_plain = |text: &str| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_$".contains(&byte))
        };
        // No wildcard may come in with the event: it would widen the policy.
        match fields.as_slice() {
            ["arn", partition, "execute-api", region, account, id]
                if [*partition, *region, *account, *id, stage, method].into_iter().all(is_plain) =>
            {
                Ok(Self { stage: format!("{api}/{stage}"), method: method.into(), path })
            }
            _ => Err(NotAMethodArn),
        }
    }
}

/// The answer of an authorizer
/// ([REST and WebSocket](https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-output.html),
/// [HTTP](https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-lambda-authorizer.html)).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase", untagged)]
pub enum Answer {
    /// For every kind of API, and every route of it.
    #[serde(rename_all = "camelCase")]
    Policy {
        /// Who calls.
        principal_id: String,
        /// What they may call.
        policy_document: SharedPolicy,
        /// The `CurrentUser`.
        context: BTreeMap<&'static str, String>,
    },
    /// For an HTTP API that is set to expect it, and for one route.
    #[serde(rename_all = "camelCase")]
    Simple {
        /// Whether they may call this route.
        is_authorized: bool,
        /// The `CurrentUser`.
        context: BTreeMap<&'static str, String>,
    },
}

/// A policy of as many callers as may do the same. Its JSON is written once.
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

/// An IAM policy: what is allowed, and, since a wildcard takes in too much, what is denied for all that.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<Condition>,
}

/// Where the caller must be: a policy that API Gateway reuses meets other addresses than the one we saw.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Condition {
    ip_address: SourceIp,
}

#[derive(Debug, Serialize)]
struct SourceIp {
    #[serde(rename = "aws:SourceIp")]
    networks: Vec<Network>,
}

/// The member of the context that says why a route is denied, for the body of the 403 in template.yaml:
/// `forbidden` or `insufficient_scope`.
const DENIED_AS: &str = "denied_as";

/// The rules, and the policies that were made of them: callers with the same groups, scopes and networks share one.
pub struct Policies {
    rules: AccessRules,
    made: Mutex<BoundedCache<PolicyKey, SharedPolicy>>,
}

/// All that a policy depends on beside the rules.
#[derive(PartialEq, Eq, Hash)]
struct PolicyKey {
    stage: String,
    groups: Groups,
    /// Of a key, which some rules keep out and scopes narrow; `None` for a person who signed in.
    scopes: Option<Vec<ScopeName>>,
    networks: Vec<Network>,
}

impl Policies {
    /// None is made yet.
    pub fn new(rules: AccessRules) -> Self {
        Self { rules, made: Mutex::default() }
    }

    /// What they are made of.
    pub fn rules(&self) -> &AccessRules {
        &self.rules
    }

    /// What `caller` may call, of all the routes of the API that `arn` is of, and from where. `reason` is what the client
    /// is told of a route that is denied.
    pub fn answer(&self, caller: &Authenticated, arn: &MethodArn, reason: Access) -> Answer {
        let mut context = caller.user.to_context();
        let denied_as = match reason {
            Access::InsufficientScope => "insufficient_scope",
            Access::Allowed | Access::Forbidden => "forbidden",
        };
        context.insert(DENIED_AS, denied_as.to_owned());
        Answer::Policy { principal_id: caller.user.id.clone(), policy_document: self.policy(caller, arn), context }
    }

    fn policy(&self, caller: &Authenticated, arn: &MethodArn) -> SharedPolicy {
        let reach = PolicyKey::of(caller, arn);
        // A panic can't leave it half-written: the one change is the last thing done.
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(policy) = made.get(&reach) {
            return policy.clone();
        }
        let policy = SharedPolicy::from(PolicyDocument::new(caller, &self.rules, arn));
        made.insert(reach, policy.clone());
        policy
    }
}

impl PolicyKey {
    fn of(caller: &Authenticated, arn: &MethodArn) -> Self {
        Self {
            stage: arn.stage.clone(),
            groups: caller.user.groups,
            scopes: match &caller.user.authentication {
                Authentication::Jwt => None,
                Authentication::ApiKey { scopes, .. } => Some(scopes.clone()),
            },
            networks: caller.networks().to_vec(),
        }
    }
}

impl PolicyDocument {
    /// What is read of `caller` is in [`PolicyKey`], all of it.
    fn new(caller: &Authenticated, rules: &AccessRules, arn: &MethodArn) -> Self {
        let routes = rules.granted(&caller.user);
        let granted: Vec<String> = routes.iter().flat_map(|route| resources(&arn.stage, route)).collect();
        let networks = caller.networks();
        let condition =
            (!networks.is_empty()).then(|| Condition { ip_address: SourceIp { networks: networks.to_vec() } });
        let mut statement = Vec::new();
        if granted.is_empty() {
            statement.push(Statement::deny(vec![format!("{}/*", arn.stage)]));
        } else {
            statement.push(Statement { effect: "Allow", action: "execute-api:Invoke", resource: granted, condition });
        }
        if has_wildcard(&routes) {
            statement.push(Statement::deny(unclear(&arn.stage)));
        }
        Self { version: "2012-10-17", statement }
    }
}

impl Answer {
    /// Whether `user` may call the one route that was asked about.
    pub fn simple(user: &CurrentUser, is_authorized: bool) -> Self {
        Self::Simple { is_authorized, context: user.to_context() }
    }
}

/// # Errors
/// When a policy of these rules could become larger than API Gateway takes. Said at init, not to the first caller.
pub fn check_size(rules: &AccessRules) -> Result<(), String> {
    // The longest that can stand before the path: partition, region, account, API id and stage at their longest.
    let longest_stage = "x".repeat(220);
    // A usual stage's ARN has 70 characters; 3 are the quotes and the comma.
    let usual_stage = "x".repeat(80);
    for (who, caller, restrictions) in largest_callers(rules) {
        let granted = rules.granted(&caller);
        let is_too_long = |route: &Route| resources(&longest_stage, route).iter().any(|text| text.len() > MAX_RESOURCE);
        if let Some(route) = granted.iter().find(|route| is_too_long(route)) {
            return Err(format!("{:?}: the path is too long for a policy", route.to_string()));
        }
        let resources = granted.iter().flat_map(|route| resources(&usual_stage, route));
        let denied = if has_wildcard(&granted) { unclear(&usual_stage) } else { Vec::new() };
        let size = restrictions + resources.chain(denied).map(|text| text.len() + 3).sum::<usize>();
        if size > MAX_POLICY_BYTES {
            return Err(format!(
                "the policy of {who} would have {size} bytes, more than {MAX_POLICY_BYTES}: use /* to join some routes"
            ));
        }
    }
    Ok(())
}

/// Who could have the largest policies, and how many bytes stand beside their routes. More groups are more routes, and so
/// are more scopes, but for none at all.
fn largest_callers(rules: &AccessRules) -> [(&'static str, CurrentUser, usize); 3] {
    /// The longest network in its quotes: `"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",`
    const NETWORK_BYTES: usize = 46;
    /// Where the networks stand: `,"Condition":{"IpAddress":{"aws:SourceIp":[]}}`
    const CONDITION_BYTES: usize = 48;
    let restrictions =
        CONDITION_BYTES + KeyRecord::MAX_RESTRICTIONS * (NETWORK_BYTES + ScopeName::MAX_CHARACTERS + ",".len());
    let caller = |authentication| CurrentUser {
        id: String::new(),
        username: String::new(),
        groups: Group::ALL.into_iter().collect(),
        authentication,
        issued_at: None,
        expires_at: None,
    };
    let key = |scopes| caller(Authentication::ApiKey { key_id: KeyId::from_entropy([0; 16]), scopes });
    [
        ("a person in every group", caller(Authentication::Jwt), 0),
        ("a key with every group", key(Vec::new()), restrictions),
        ("a key with every scope", key(rules.scopes().map(|(name, _)| name.clone()).collect()), restrictions),
    ]
}

/// In a policy `*` matches any characters, `/` among them. At the end of a path that is just what [`PathPattern::Below`]
/// means. In the place of the method it would take in the beginning of other paths (`*/v1/x` matches `GET/other/v1/x`),
/// so there each method is written out.
fn resources(stage: &str, route: &Route) -> Vec<String> {
    let methods = match &route.method {
        MethodPattern::Any => Route::METHODS.as_slice(),
        MethodPattern::One(name) => &[name.as_str()][..],
    };
    let path = match &route.path {
        PathPattern::Exact(path) => path.clone(),
        PathPattern::Below(prefix) => format!("{prefix}*"),
    };
    methods.iter().map(move |method| format!("{stage}/{method}{path}")).collect()
}

fn has_wildcard(routes: &[Cow<'_, Route>]) -> bool {
    routes.iter().any(|route| matches!(route.path, PathPattern::Below(_)))
}

/// The paths that [`Route::is_ambiguous`] of, which a wildcard would take in.
fn unclear(stage: &str) -> Vec<String> {
    let anywhere = Route::AMBIGUOUS.iter().map(|part| format!("{stage}/*{part}*"));
    // The root ends in a slash as well: `GET/`. With one more before it, it is another path.
    anywhere.chain([format!("{stage}/*/*/")]).collect()
}

impl Statement {
    fn deny(resource: Vec<String>) -> Self {
        Self { effect: "Deny", action: "execute-api:Invoke", resource, condition: None }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;
    use vega_auth::{ApiKey, Groups, KeySecret, Timestamp};

    use super::*;

    const STAGE: &str = "arn:aws:execute-api:us-west-1:123456789012:abcdef1234/live";

    /// IAM's wildcards: `*` is any characters, `?` is one.
    fn iam_matches(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => {
                iam_matches(rest, text) || (!text.is_empty() && iam_matches(pattern, &text[1..]))
            }
            (Some((b'?', rest)), Some((_, tail))) => iam_matches(rest, tail),
            (Some((wanted, rest)), Some((byte, tail))) => wanted == byte && iam_matches(rest, tail),
            _ => false,
        }
    }

    fn statement(answer: &Answer) -> &Statement {
        &statements(answer)[0]
    }

    fn statements(answer: &Answer) -> &[Statement] {
        let Answer::Policy { policy_document, .. } = answer else { panic!("not a policy") };
        &policy_document.0.0.statement
    }

    /// IAM's `IpAddress`, from the document as it is written.
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

    /// As IAM decides: a statement that denies wins over any that allows, and what none allows is denied.
    fn iam_allows(answer: &Answer, method: &str, path: &str, address: IpAddr) -> bool {
        iam_allows_arn(answer, &format!("{STAGE}/{method}{path}"), address)
    }

    fn iam_allows_arn(answer: &Answer, arn: &str, address: IpAddr) -> bool {
        let effects: Vec<&str> =
            statements(answer).iter().filter(|one| iam_applies(one, arn, address)).map(|one| one.effect).collect();
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

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn person(groups: Groups) -> Authenticated {
        let user = CurrentUser {
            id: "user-1".into(),
            username: "ada".into(),
            groups,
            authentication: Authentication::Jwt,
            issued_at: None,
            expires_at: None,
        };
        Authenticated { user, key: None }
    }

    fn key() -> ApiKey {
        ApiKey::new(KeyId::from_entropy([0; 16]), &KeySecret::from_entropy(&mut [7; 32]))
    }

    fn record(groups: Groups, scopes: &[&str], cidrs: &[&str]) -> KeyRecord {
        KeyRecord {
            owner_username: "ada".into(),
            groups,
            scopes: scopes.iter().map(|name| name.parse().unwrap()).collect(),
            cidrs: cidrs.iter().map(|network| network.parse().unwrap()).collect(),
            ..KeyRecord::new(&key(), "user-1", NOW)
        }
    }

    /// The holder of a key, who called from within its networks.
    fn holder(record: KeyRecord) -> Authenticated {
        let user = CurrentUser {
            authentication: Authentication::ApiKey { key_id: record.id, scopes: record.scopes.clone() },
            ..person(record.groups).user
        };
        Authenticated { user, key: Some(record) }
    }

    fn policies(rules: &str) -> Policies {
        Policies::new(rules.parse().unwrap())
    }

    fn policy(caller: &Authenticated, policies: &Policies, arn: &str) -> Answer {
        policies.answer(caller, &arn.parse().unwrap(), Access::Forbidden)
    }

    #[test]
    fn only_a_method_arn_without_wildcards_is_taken() {
        let arn: MethodArn = format!("{STAGE}/GET/v1/api-keys/x").parse().unwrap();
        assert_eq!((arn.stage.as_str(), arn.method.as_str(), arn.path.as_str()), (STAGE, "GET", "/v1/api-keys/x"));
        assert_eq!(format!("{STAGE}/GET/").parse::<MethodArn>().unwrap().path, "/");
        for bad in [
            "",
            "GET /",
            STAGE,
            "arn:aws:execute-api:us-west-1:123456789012:abc/*/GET/x",
            "arn:aws:execute-api:us-west-1:123456789012:*/live/GET/x",
            "arn:aws:lambda:us-west-1:123456789012:abc/live/GET/x",
            "arn:aws:execute-api:us-west-1:123456789012:abc:d/live/GET/x",
            "arn:aws:execute-api:us-west-1::abc/live/GET/x",
            "arn:aws:execute-api:us-west-1:123456789012:abc//GET/x",
        ] {
            assert_eq!(bad.parse::<MethodArn>(), Err(NotAMethodArn), "{bad}");
        }
    }

    #[test]
    fn the_answer_has_the_documented_form() {
        let policies = policies(
            r#"{"rules":[{"route":"GET /v1/projects","groups":["user"]},{"route":"GET /v1/x/*","groups":"any"},{"route":"POST /v1/x/*","groups":"any"}]}"#,
        );
        let answer = policy(&person(Groups::known(["user"])), &policies, &format!("{STAGE}/GET/v1/projects"));
        assert_eq!(
            serde_json::to_value(&answer).unwrap(),
            serde_json::json!({
                "principalId": "user-1",
                "policyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [
                        {
                            "Effect": "Allow", "Action": "execute-api:Invoke",
                            "Resource": [format!("{STAGE}/GET/v1/projects"), format!("{STAGE}/GET/v1/x/*"), format!("{STAGE}/POST/v1/x/*")]
                        },
                        { "Effect": "Deny", "Action": "execute-api:Invoke", "Resource": unclear(STAGE) }
                    ]
                },
                "context": {
                    "id": "user-1", "username": "ada", "groups": "user", "authenticated_by": "jwt", "denied_as": "forbidden"
                }
            })
        );
    }

    #[test]
    fn the_policy_of_a_key_with_scopes_and_networks_names_what_both_let_it_and_from_where() {
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
        let record = record(Groups::known(["user"]), &["deploy", "read"], &["203.0.113.0/24", "2001:db8::/32"]);
        let answer = policy(&holder(record), &policies, &format!("{STAGE}/GET/v1/projects"));
        assert_eq!(
            serde_json::to_value(&answer).unwrap(),
            serde_json::json!({
                "principalId": "user-1",
                "policyDocument": {
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
                    }, { "Effect": "Deny", "Action": "execute-api:Invoke", "Resource": unclear(STAGE) }]
                },
                "context": {
                    "id": "user-1", "username": "ada", "groups": "user", "authenticated_by": "api_key",
                    "key_id": "000000000000", "scopes": "deploy,read", "denied_as": "forbidden"
                }
            })
        );
    }

    #[test]
    fn callers_who_may_do_the_same_share_a_policy_and_others_do_not() {
        let policies =
            policies(r#"{"rules":[{"route":"GET /v1/*","groups":"any"}],"scopes":{"deploy":["GET /v1/projects"]}}"#);
        let arn = format!("{STAGE}/GET/v1/projects");
        let document = |caller: &Authenticated, arn: &str| match policy(caller, &policies, arn) {
            Answer::Policy { policy_document, .. } => policy_document.0,
            Answer::Simple { .. } => panic!("not a policy"),
        };
        let user = Groups::known(["user"]);
        let mut other = person(user);
        other.user.id = "user-2".into();
        other.user.expires_at = Some(NOW);
        assert!(Arc::ptr_eq(&document(&person(user), &arn), &document(&other, &format!("{STAGE}/POST/v1/x"))));
        let different = [
            document(&person(user), &arn),
            document(&person(user), &arn.replace("/live/", "/test/")),
            document(&person(Groups::known(["root"])), &arn),
            document(&holder(record(user, &[], &[])), &arn),
            document(&holder(record(user, &["deploy"], &[])), &arn),
            document(&holder(record(user, &["read"], &[])), &arn),
            document(&holder(record(user, &[], &["203.0.113.0/24"])), &arn),
            document(&holder(record(user, &[], &["203.0.112.0/24"])), &arn),
        ];
        for (index, one) in different.iter().enumerate() {
            assert!(different[..index].iter().all(|before| !Arc::ptr_eq(one, before)), "{index}");
        }
    }

    #[test]
    fn every_method_is_written_out_since_a_wildcard_there_would_match_other_paths() {
        let policies = policies(r#"{"rules":[{"route":"* /v1/*","groups":"any"}]}"#);
        let answer = policy(&person(Groups::NONE), &policies, &format!("{STAGE}/GET/"));
        assert_eq!(statement(&answer).resource.len(), Route::METHODS.len());
        let allows = |method, path| iam_allows(&answer, method, path, ADDRESS);
        assert!(allows("DELETE", "/v1/x") && !allows("GET", "/other/v1/x"));
    }

    #[test]
    fn who_may_call_nothing_is_denied_everything() {
        let policies = policies(r#"{"rules":[{"route":"GET /v1/projects","groups":["root"]}]}"#);
        let networked = holder(record(Groups::NONE, &[], &["203.0.113.0/24"]));
        for caller in [person(Groups::NONE), networked, holder(record(Groups::known(["root"]), &["gone"], &[]))] {
            let answer = policy(&caller, &policies, &format!("{STAGE}/GET/v1/projects"));
            assert_eq!(statement(&answer).effect, "Deny");
            assert_eq!(statement(&answer).resource, [format!("{STAGE}/*")]);
            assert!(statement(&answer).condition.is_none(), "from everywhere");
        }
    }

    #[test]
    fn rules_whose_policy_would_be_too_large_are_refused() {
        let rules = |count: usize, path: &str| -> AccessRules {
            let list: Vec<_> = (0..count)
                .map(|n| serde_json::json!({ "route": format!("GET /{path}{n}"), "groups": "any" }))
                .collect();
            serde_json::json!({ "rules": list }).to_string().parse().unwrap()
        };
        assert_eq!(check_size(&rules(50, "v1/x")), Ok(()));
        assert!(check_size(&rules(100, "v1/x")).unwrap_err().contains("bytes"));
        assert!(check_size(&rules(1, &"x".repeat(400))).unwrap_err().contains("too long"));
    }

    #[test]
    fn the_largest_policy_that_a_key_could_have_is_counted() {
        let rules = |scopes: usize, path: &str| -> AccessRules {
            let scopes: serde_json::Map<_, _> = (0..scopes)
                .map(|n| (format!("scope-{n:02}"), serde_json::json!([format!("GET /{path}{n:02}")])))
                .collect();
            serde_json::json!({ "rules": [{ "route": "* /*", "groups": "any" }], "scopes": scopes })
                .to_string()
                .parse()
                .unwrap()
        };
        assert!(check_size(&rules(100, "v1/x")).unwrap_err().contains("every scope"));
        assert!(check_size(&rules(1, &"x".repeat(400))).unwrap_err().contains("too long"));
        // just small enough: no key gets a larger answer than every API takes
        let largest = (1..100).rev().find(|count| check_size(&rules(*count, "v1/x")).is_ok()).unwrap();
        let names: Vec<String> = (0..largest).map(|n| format!("scope-{n:02}")).collect();
        let mut scopes: Vec<&str> = names.iter().map(String::as_str).collect();
        scopes.push("read");
        let networks: Vec<String> = (0..KeyRecord::MAX_RESTRICTIONS)
            .map(|n| format!("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff{n:02}/128"))
            .collect();
        let networks: Vec<&str> = networks.iter().map(String::as_str).collect();
        let policies = Policies::new(rules(largest, "v1/x"));
        let answer = policy(&holder(record(Groups::NONE, &scopes, &networks)), &policies, &format!("{STAGE}/GET/v1/x"));
        let size = serde_json::to_string(&answer).unwrap().len();
        assert!((5 * 1024..8 * 1024).contains(&size), "{size}");
    }

    #[test]
    fn the_client_is_told_of_a_scope_only_where_that_is_what_is_missing() {
        let policies = policies(r#"{"rules":[{"route":"* /v1/projects","groups":["user"]}]}"#);
        let arn: MethodArn = format!("{STAGE}/POST/v1/projects").parse().unwrap();
        let caller = holder(record(Groups::known(["user"]), &["read"], &[]));
        for (reason, told) in [
            (Access::InsufficientScope, "insufficient_scope"),
            (Access::Forbidden, "forbidden"),
            (Access::Allowed, "forbidden"),
        ] {
            let answer = serde_json::to_value(policies.answer(&caller, &arn, reason)).unwrap();
            assert_eq!(answer["context"]["denied_as"], told);
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
        let routes = vec!["GET /v1/a", "* /v1/a/*", "POST /v1/*", "* /*", "GET /v1/admin/b", "DELETE /v1/a", "* /"];
        prop::sample::subsequence(routes, 1..3)
    }

    /// The rules with as many of the scopes as they let have an effect, unless the rules contradict each other.
    fn sound(rules: &[serde_json::Value], scopes: &BTreeMap<&str, Vec<&str>>) -> Option<AccessRules> {
        let read = |scopes: serde_json::Value| {
            serde_json::json!({ "rules": rules, "scopes": scopes }).to_string().parse::<AccessRules>().ok()
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

        /// The rules decide directly, pattern by pattern; the policy is made of intersections, and read as IAM reads it.
        #[test]
        fn a_policy_made_for_one_route_decides_every_other_as_the_rules_do(
            rules in prop::collection::vec(rule(), 1..4),
            scopes in prop::collection::btree_map(prop::sample::select(vec!["a", "b", "c"]), scope(), 1..=3),
            groups in prop::sample::subsequence(Group::ALL.to_vec(), 0..=3),
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
            let Some(policies) = sound(&rules, &scopes).map(Policies::new) else { return Ok(()) };
            let groups: Groups = groups.into_iter().collect();
            let caller = match &restrictions {
                Some((scopes, networks)) => holder(record(groups, scopes, networks)),
                None => person(groups),
            };
            let api = "arn:aws:execute-api:us-west-1:123456789012:abcdef1234";
            // Made before, and not to be taken for the one that is asked about.
            for other in [person(groups), holder(record(groups, &[], &[])), person(Groups::known(["root"]))] {
                let _ = policy(&other, &policies, &format!("{api}/{stage}/GET/"));
            }
            let _ = policy(&caller, &policies, &format!("{api}/other/GET/"));
            let answer = policy(&caller, &policies, &format!("{api}/{stage}/GET{first}"));
            for (method, path, address) in requests {
                let is_inside =
                    caller.key.as_ref().is_none_or(|record| record.authenticate(&key(), Some(address), NOW).is_ok());
                prop_assert_eq!(
                    iam_allows_arn(&answer, &format!("{api}/{stage}/{method}{path}"), address),
                    is_inside && policies.rules().access(&caller.user, method, &path) == Access::Allowed,
                    "{} {} from {}", method, path, address
                );
                prop_assert!(!iam_allows_arn(&answer, &format!("{api}/other/{method}{path}"), address), "another stage");
            }
        }

        /// Scopes only ever take away, and so do networks.
        #[test]
        fn a_restriction_never_lets_a_key_do_more(
            rules in prop::collection::vec(rule(), 1..4),
            scopes in prop::collection::btree_map(prop::sample::select(vec!["a", "b", "c"]), scope(), 1..=3),
            groups in prop::sample::subsequence(Group::ALL.to_vec(), 0..=3),
            wanted in prop::sample::subsequence(vec!["a", "b", "c", "gone", "read"], 1..=3),
            request in (prop::sample::select(vec!["GET", "HEAD", "POST", "DELETE"]), paths(), address()),
        ) {
            let Some(policies) = sound(&rules, &scopes).map(Policies::new) else { return Ok(()) };
            let groups: Groups = groups.into_iter().collect();
            let (method, path, address) = request;
            let allows = |scopes: &[&str], networks: &[&str]| {
                let answer = policy(&holder(record(groups, scopes, networks)), &policies, &format!("{STAGE}/GET/"));
                iam_allows(&answer, method, &path, address)
            };
            prop_assert!(!allows(&wanted, &[]) || allows(&[], &[]));
            prop_assert!(!allows(&wanted, &["203.0.113.0/25"]) || allows(&wanted, &[]));
        }
    }
}
