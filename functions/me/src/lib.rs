//! `GET /v1/auth/me`: the caller, as the authorizer identified them.

use lambda_http::Request;
use schemars::JsonSchema;
use serde::Serialize;
use vega_auth::{AccessRules, Authentication, CurrentUser};
use vega_http::{Answer, RequestProblem, current_user, json, route};
use vega_openapi::Route;

/// The caller, as the authorizer identified them, and their rights over other people's keys.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CurrentUser")]
struct Caller {
    #[serde(flatten)]
    user: CurrentUser,
    /// Whether the caller administers other people's keys.
    administers_keys: bool,
}

/// The routes, as docs/openapi.json describes them.
pub fn routes() -> Vec<Route> {
    vec![
        Route::new("GET /v1/auth/me", "getCurrentUser", "Get the caller")
            .allows_api_keys()
            .description("The caller, as the authorizer identified them. Use it to try out a token.")
            .json::<Caller>(
                200,
                "The caller.",
                serde_json::json!({
                    "id": "1ab2c3d4-0000-4000-8000-000000000000", "username": "ada", "groups": ["user"],
                    "authenticated_by": "api_key", "key_id": "7Gh2kQ9XbT4m", "scopes": ["read"], "expires_at": "2027-02-22T05:00:00Z",
                    "administers_keys": false,
                }),
            ),
    ]
}

/// Returns the caller's `CurrentUser`.
/// 401 when the request did not come through the authorizer.
pub fn handle(request: &Request, rules: &AccessRules) -> Answer {
    let user = current_user(request)?;
    let administers_keys = user.authentication == Authentication::Jwt && rules.administer_keys(&user.groups);
    match route(request).as_str() {
        "GET /v1/auth/me" => json(200, &Caller { user, administers_keys }),
        _ => Err(RequestProblem::NoSuchRoute.into()),
    }
}

#[cfg(test)]
mod tests {
    use vega_http::Code;

    use super::*;

    fn request(authorizer: &serde_json::Value) -> Request {
        let event = serde_json::json!({
            "httpMethod": "GET", "path": "/v1/auth/me", "resource": "/v1/auth/me",
            "headers": { "authorization": "Bearer x.y.z" }, "multiValueHeaders": {},
            "requestContext": {
                "stage": "live", "requestId": "r-1", "httpMethod": "GET", "resourcePath": "/v1/auth/me",
                "identity": { "sourceIp": "192.0.2.1" }, "authorizer": authorizer
            },
            "isBase64Encoded": false
        });
        lambda_http::request::from_str(&event.to_string()).unwrap()
    }

    fn rules() -> AccessRules {
        r#"{
            "groups": ["sales,EMEA", "admins,all"], "administrators": [{ "group": "admins,all" }],
            "rules": [{ "route": "GET /v1/auth/me", "groups": "any" }]
        }"#
        .parse()
        .unwrap()
    }

    fn body(authorizer: &serde_json::Value) -> serde_json::Value {
        serde_json::from_slice(handle(&request(authorizer), &rules()).unwrap().body()).unwrap()
    }

    #[test]
    fn a_caller_sees_themselves_as_the_authorizer_did() {
        assert_eq!(
            body(&serde_json::json!({
                "id": "user-1", "username": "ada", "groups": "admins,all sales,EMEA", "authenticated_by": "jwt", "principalId": "x"
            })),
            serde_json::json!({
                "id": "user-1", "username": "ada", "groups": ["admins,all", "sales,EMEA"], "authenticated_by": "jwt",
                "administers_keys": true
            })
        );
    }

    #[test]
    fn only_people_in_the_rules_groups_administer_keys() {
        for (groups, kind, expected) in [
            ("admins,all", "jwt", true),
            ("admins,all", "other_pool", false),
            ("admins,all", "machine", false),
            ("sales,EMEA", "jwt", false),
            ("root", "jwt", false),
        ] {
            let caller =
                serde_json::json!({ "id": "1", "username": "ada", "groups": groups, "authenticated_by": kind });
            assert_eq!(body(&caller)["administers_keys"], expected, "{groups} {kind}");
        }
    }

    #[test]
    fn a_request_that_skipped_the_authorizer_is_nobody_whatever_it_carries() {
        for context in [serde_json::json!({}), serde_json::Value::Null, serde_json::json!({ "id": "user-1" })] {
            let problem = handle(&request(&context), &rules()).unwrap_err();
            assert_eq!(problem.code, Code::InvalidToken);
        }
    }
}
