//! What the authorizer answers: a policy that decides every route of the API as the access rules do, because API Gateway
//! may cache it and hold it against the next route.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::Serialize;
use vega_auth::{AccessRules, CurrentUser, MethodPattern, PathPattern, Route};

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
        policy_document: PolicyDocument,
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

/// An IAM policy of one statement.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PolicyDocument {
    version: &'static str,
    statement: [Statement; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    effect: &'static str,
    action: &'static str,
    resource: Vec<String>,
}

impl Answer {
    /// What `user` may call, of all the routes of the API that `arn` is of.
    pub fn policy(user: &CurrentUser, rules: &AccessRules, arn: &MethodArn) -> Self {
        let granted: Vec<String> = rules.granted(user).flat_map(|route| resources(&arn.stage, route)).collect();
        let (effect, resource) =
            if granted.is_empty() { ("Deny", vec![format!("{}/*", arn.stage)]) } else { ("Allow", granted) };
        Self::Policy {
            principal_id: user.id.clone(),
            policy_document: PolicyDocument {
                version: "2012-10-17",
                statement: [Statement { effect, action: "execute-api:Invoke", resource }],
            },
            context: user.to_context(),
        }
    }

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
    let is_too_long = |route: &&Route| resources(&longest_stage, route).iter().any(|text| text.len() > MAX_RESOURCE);
    if let Some(route) = rules.routes().find(is_too_long) {
        return Err(format!("rule {:?}: the path is too long for a policy", route.to_string()));
    }
    // A usual stage's ARN has 70 characters; 3 are the quotes and the comma.
    let usual_stage = "x".repeat(80);
    let size: usize = rules.routes().flat_map(|route| resources(&usual_stage, route)).map(|text| text.len() + 3).sum();
    if size > MAX_POLICY_BYTES {
        return Err(format!(
            "the policy of all rules would have {size} bytes, more than {MAX_POLICY_BYTES}: use /* to join some"
        ));
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vega_auth::{Authentication, Group, Groups};

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
        let Answer::Policy { policy_document: PolicyDocument { statement: [statement], .. }, .. } = answer else {
            panic!("not a policy")
        };
        statement
    }

    fn iam_allows(answer: &Answer, method: &str, path: &str) -> bool {
        let arn = format!("{STAGE}/{method}{path}");
        let statement = statement(answer);
        statement.effect == "Allow"
            && statement.action == "execute-api:Invoke"
            && statement.resource.iter().any(|resource| iam_matches(resource.as_bytes(), arn.as_bytes()))
    }

    fn user(groups: Groups, authentication: Authentication) -> CurrentUser {
        CurrentUser { id: "user-1".into(), username: "ada".into(), groups, authentication, expires_at: None }
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
        let rules: AccessRules =
            r#"{"rules":[{"route":"GET /v1/projects","groups":["user"]},{"route":"GET /v1/x/*","groups":"any"},{"route":"POST /v1/x/*","groups":"any"}]}"#
                .parse()
                .unwrap();
        let arn = format!("{STAGE}/GET/v1/projects").parse().unwrap();
        let answer = Answer::policy(&user(Groups::known(["user"]), Authentication::Jwt), &rules, &arn);
        assert_eq!(
            serde_json::to_value(&answer).unwrap(),
            serde_json::json!({
                "principalId": "user-1",
                "policyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [{
                        "Effect": "Allow", "Action": "execute-api:Invoke",
                        "Resource": [format!("{STAGE}/GET/v1/projects"), format!("{STAGE}/GET/v1/x/*"), format!("{STAGE}/POST/v1/x/*")]
                    }]
                },
                "context": { "id": "user-1", "username": "ada", "groups": "user", "authenticated_by": "jwt" }
            })
        );
    }

    #[test]
    fn every_method_is_written_out_since_a_wildcard_there_would_match_other_paths() {
        let rules: AccessRules = r#"{"rules":[{"route":"* /v1/*","groups":"any"}]}"#.parse().unwrap();
        let answer =
            Answer::policy(&user(Groups::NONE, Authentication::Jwt), &rules, &format!("{STAGE}/GET/").parse().unwrap());
        assert_eq!(statement(&answer).resource.len(), Route::METHODS.len());
        assert!(iam_allows(&answer, "DELETE", "/v1/x") && !iam_allows(&answer, "GET", "/other/v1/x"));
    }

    #[test]
    fn who_may_call_nothing_is_denied_everything() {
        let rules: AccessRules = r#"{"rules":[{"route":"GET /v1/projects","groups":["root"]}]}"#.parse().unwrap();
        let arn = format!("{STAGE}/GET/v1/projects").parse().unwrap();
        let answer = Answer::policy(&user(Groups::NONE, Authentication::Jwt), &rules, &arn);
        assert_eq!(statement(&answer).effect, "Deny");
        assert_eq!(statement(&answer).resource, [format!("{STAGE}/*")]);
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

    fn paths() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!["v1", "a", "b", "a%2Fb", "admin", ".", "..", ""]), 0..4)
            .prop_map(|parts| format!("/{}", parts.join("/")))
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
        ];
        (
            prop::sample::select(routes),
            prop::sample::subsequence(vec!["root", "operator", "user"], 0..=3),
            any::<bool>(),
        )
            .prop_map(|(route, groups, api_keys)| {
                let groups = if groups.is_empty() { serde_json::json!("any") } else { serde_json::json!(groups) };
                serde_json::json!({ "route": route, "groups": groups, "api_keys": api_keys })
            })
    }

    proptest! {
        #[test]
        fn a_policy_made_for_one_route_decides_every_other_as_the_rules_do(
            rules in prop::collection::vec(rule(), 1..4),
            groups in prop::sample::subsequence(Group::ALL.to_vec(), 0..=3),
            by_key: bool,
            first in paths(),
            requests in prop::collection::vec((prop::sample::select(vec!["GET", "POST", "DELETE"]), paths()), 1..20),
        ) {
            let Ok(rules) = serde_json::json!({ "rules": rules }).to_string().parse::<AccessRules>() else { return Ok(()) };
            let authentication = if by_key {
                Authentication::ApiKey { key_id: "000000000000".parse().unwrap() }
            } else {
                Authentication::Jwt
            };
            let user = user(groups.into_iter().collect(), authentication);
            let answer = Answer::policy(&user, &rules, &format!("{STAGE}/GET{first}").parse().unwrap());
            for (method, path) in requests {
                prop_assert_eq!(iam_allows(&answer, method, &path), rules.allow(&user, method, &path), "{} {}", method, path);
            }
        }
    }
}
