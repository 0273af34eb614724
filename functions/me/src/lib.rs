//! `GET /v1/auth/me`: the caller, as the authorizer identified them.

use lambda_http::Request;
use vega_auth::CurrentUser;
use vega_http::{Answer, RequestProblem, current_user, json, route};
use vega_openapi::Route;

/// The routes, as docs/openapi.json describes them.
pub fn routes() -> Vec<Route> {
    vec![
        Route::new("GET /v1/auth/me", "getCurrentUser", "Get the caller")
            .allows_api_keys()
            .description("The caller, as the authorizer identified them. Use it to try out a token.")
            .json::<CurrentUser>(
                200,
                "The caller.",
                serde_json::json!({
                    "id": "1ab2c3d4-0000-4000-8000-000000000000", "username": "ada", "groups": ["user"],
                    "authenticated_by": "api_key", "key_id": "7Gh2kQ9XbT4m", "scopes": ["read"], "expires_at": "2027-02-22T05:00:00Z",
                }),
            ),
    ]
}

/// Returns the caller's `CurrentUser`.
/// 401 when the request did not come through the authorizer.
pub fn handle(request: &Request) -> Answer {
    match route(request).as_str() {
        "GET /v1/auth/me" => json(200, &current_user(request)?),
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

    #[test]
    fn a_caller_sees_themselves_as_the_authorizer_did() {
        let answer = handle(&request(&serde_json::json!({
            "id": "user-1", "username": "ada", "groups": "root,user", "authenticated_by": "jwt", "principalId": "user-1"
        })));
        let body: serde_json::Value = serde_json::from_slice(answer.unwrap().body()).unwrap();
        assert_eq!(
            body,
            serde_json::json!({ "id": "user-1", "username": "ada", "groups": ["root", "user"], "authenticated_by": "jwt" })
        );
    }

    #[test]
    fn a_request_that_skipped_the_authorizer_is_nobody_whatever_it_carries() {
        for context in [serde_json::json!({}), serde_json::Value::Null, serde_json::json!({ "id": "user-1" })] {
            let problem = handle(&request(&context)).unwrap_err();
            assert_eq!(problem.code, Code::InvalidToken);
        }
    }
}
