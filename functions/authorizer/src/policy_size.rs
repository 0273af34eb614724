use vega_auth::{AccessRules, Authentication, Caching, CurrentUser, KeyId, KeyRecord, ScopeName};

use crate::policy::{MAX_RESOURCE, denials, resources};

/// Largest policy we create, in bytes: WebSocket APIs accept at most 8 KB of response.
const MAX_POLICY_BYTES: usize = 7 * 1024;
/// The longest possible ARN before the path: partition, region, account, API id and stage at their longest.
const LONGEST_STAGE: usize = 220;
/// A usual stage's ARN has 70 characters.
const USUAL_STAGE: usize = 80;
/// The quotes and the comma of a resource.
const SEPARATORS: usize = 3;

/// Fails when a policy for the whole API could exceed API Gateway's limits. Checked at init, so no caller meets it.
pub fn check_size(rules: &AccessRules) -> Result<(), String> {
    if rules.caching() != Caching::Token {
        return Ok(());
    }
    for (who, caller, restrictions) in largest_callers(rules) {
        let granted = rules.granted(&caller);
        let mut size = restrictions;
        for route in &granted {
            for resource in resources("", route) {
                if LONGEST_STAGE + resource.len() + 2 > MAX_RESOURCE {
                    return Err(format!("{:?}: the path is too long for a policy; shorten it", route.to_string()));
                }
                size += USUAL_STAGE + resource.len() + SEPARATORS;
            }
        }
        size += denials("", &granted).iter().map(|resource| USUAL_STAGE + resource.len() + SEPARATORS).sum::<usize>();
        if size > MAX_POLICY_BYTES {
            return Err(format!(
                "the policy of {who} would have {size} bytes, more than {MAX_POLICY_BYTES}: join some routes with /*, or declare \"cache\": \"none\" or \
                 \"token_method_path\""
            ));
        }
    }
    Ok(())
}

/// The callers whose policies can be largest, and the bytes needed outside the resource list. More groups mean more routes;
/// so do more scopes, except that no scopes at all means no restriction.
fn largest_callers(rules: &AccessRules) -> [(&'static str, CurrentUser, usize); 3] {
    /// The longest network with its quotes and comma: `"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",`
    const NETWORK_BYTES: usize = 46;
    /// The JSON around the networks: `,"Condition":{"IpAddress":{"aws:SourceIp":[]}}`
    const CONDITION_BYTES: usize = 48;
    let restrictions =
        CONDITION_BYTES + KeyRecord::MAX_RESTRICTIONS * (NETWORK_BYTES + ScopeName::MAX_CHARACTERS + ",".len());
    let caller = |authentication| CurrentUser {
        id: String::new(),
        username: String::new(),
        groups: rules.groups().clone(),
        authentication,
        oauth_scopes: Vec::new(),
        issued_at: None,
        expires_at: None,
    };
    let key = |scopes| {
        let key_id = KeyId::from_entropy([0; 16]);
        caller(Authentication::ApiKey { key_id, scopes, networks: Vec::new() })
    };
    [
        ("a person in every group", caller(Authentication::Jwt), 0),
        ("a key with every group", key(Vec::new()), restrictions),
        ("a key with every scope", key(rules.scopes().map(|(name, _)| name.clone()).collect()), restrictions),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vega_auth::{Access, DeniedAs, Groups};

    use super::*;
    use crate::method_arn::MethodArn;
    use crate::policy::Policies;
    use crate::response::AuthorizerResponse;

    #[test]
    fn rules_whose_policy_would_be_too_large_are_refused() {
        let rules = |count: usize, path: &str| -> AccessRules {
            let list: Vec<_> =
                (0..count).map(|n| json!({ "route": format!("GET /{path}{n}"), "groups": "any" })).collect();
            json!({ "rules": list }).to_string().parse().unwrap()
        };
        assert_eq!(check_size(&rules(50, "v1/x")), Ok(()));
        assert!(check_size(&rules(100, "v1/x")).unwrap_err().contains("bytes"));
        assert!(check_size(&rules(1, &"x".repeat(400))).unwrap_err().contains("too long"));
    }

    #[test]
    fn accepted_rules_keep_the_largest_response_within_8_kb() {
        let rules = |scopes: usize, path: &str| -> AccessRules {
            let scopes: serde_json::Map<_, _> =
                (0..scopes).map(|n| (format!("scope-{n:02}"), json!([format!("GET /{path}{n:02}")]))).collect();
            json!({ "rules": [{ "route": "* /*", "groups": "any" }], "scopes": scopes }).to_string().parse().unwrap()
        };
        assert!(check_size(&rules(100, "v1/x")).unwrap_err().contains("every scope"));
        assert!(check_size(&rules(1, &"x".repeat(400))).unwrap_err().contains("too long"));
        let largest = (1..100).rev().find(|count| check_size(&rules(*count, "v1/x")).is_ok()).unwrap();
        let scopes = (0..largest).map(|n| format!("scope-{n:02}").parse().unwrap());
        let networks =
            (0..KeyRecord::MAX_RESTRICTIONS).map(|n| format!("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff{n:02}/128"));
        let user = CurrentUser {
            id: "user-1".into(),
            username: "ada".into(),
            groups: Groups::NONE,
            authentication: Authentication::ApiKey {
                key_id: KeyId::from_entropy([0; 16]),
                scopes: scopes.chain(["read".parse().unwrap()]).collect(),
                networks: networks.map(|network| network.parse().unwrap()).collect(),
            },
            oauth_scopes: Vec::new(),
            issued_at: None,
            expires_at: None,
        };
        let arn = "arn:aws:execute-api:us-west-1:123456789012:abcdef1234/live/GET/v1/x";
        let policy =
            Policies::new(rules(largest, "v1/x")).policy(&user, MethodArn::parse(arn).unwrap(), Access::Allowed);
        let response = AuthorizerResponse::policy(&user, policy, DeniedAs::Forbidden);
        let size = serde_json::to_string(&response).unwrap().len();
        assert!((5 * 1024..8 * 1024).contains(&size), "{size}");
    }
}
