//! The contract with the authorizer: its own code writes the context of each test.
#![allow(missing_docs, clippy::unwrap_used)]

use lambda_http::Request;
use serde_json::{Map, Value, json};
use vega_auth::{Authentication, Groups};
use vega_current_user::{Credential, CurrentUser, Unauthenticated};

fn written(authentication: Authentication) -> vega_auth::CurrentUser {
    vega_auth::CurrentUser {
        id: "user-1".into(),
        username: "ada".into(),
        groups: Groups::named(["operator", "user"]),
        authentication,
        oauth_scopes: vec!["orders/read,write".into(), "orders/read".into()],
        issued_at: None,
        expires_at: None,
    }
}

fn api_key() -> Authentication {
    let key_id = "7Gh2kQ9XbT4m".parse().unwrap();
    let scopes = vec!["deploy".parse().unwrap(), "read".parse().unwrap()];
    Authentication::ApiKey { key_id, scopes, networks: vec![] }
}

fn context(user: &vega_auth::CurrentUser) -> Map<String, Value> {
    user.to_context().into_iter().map(|(name, text)| (name.to_owned(), text.into())).collect()
}

/// A request of a REST API and one of an HTTP API, with this authorizer context.
fn requests(authorizer: &Value) -> [Request; 2] {
    let rest = json!({
        "httpMethod": "GET", "path": "/orders", "resource": "/orders", "headers": {}, "multiValueHeaders": {},
        "requestContext": { "resourcePath": "/orders", "httpMethod": "GET", "identity": {}, "authorizer": authorizer }
    });
    let http = json!({
        "version": "2.0", "routeKey": "GET /orders", "rawPath": "/orders", "rawQueryString": "", "headers": {},
        "isBase64Encoded": false,
        "requestContext": {
            "http": { "method": "GET", "path": "/orders" }, "routeKey": "GET /orders", "timeEpoch": 0,
            "authorizer": { "lambda": authorizer }
        }
    });
    [rest, http].map(|event| lambda_http::request::from_str(&event.to_string()).unwrap())
}

#[test]
fn every_caller_that_the_authorizer_writes_is_read() {
    for (authentication, expected) in [
        (Authentication::Jwt, Credential::Jwt),
        (Authentication::OtherPool, Credential::OtherPool),
        (Authentication::Machine, Credential::Machine),
    ] {
        for request in requests(&context(&written(authentication)).into()) {
            let user = CurrentUser::of(&request).unwrap();
            assert_eq!((user.id.as_str(), user.username.as_str()), ("user-1", "ada"));
            assert_eq!(user.authenticated_by, expected);
            assert_eq!(user.oauth_scopes, ["orders/read,write", "orders/read"]);
            assert!(user.is_in("user") && user.is_in("operator") && !user.is_in("root") && !user.is_in("use"));
        }
    }
    for request in requests(&context(&written(api_key())).into()) {
        match CurrentUser::of(&request).unwrap().authenticated_by {
            Credential::ApiKey { key_id, scopes, .. } => {
                assert_eq!((key_id.as_str(), scopes), ("7Gh2kQ9XbT4m", vec!["deploy".to_owned(), "read".to_owned()]));
            }
            other => unreachable!("{other:?}"),
        }
    }
}

#[test]
fn a_request_without_a_complete_caller_is_unauthenticated() {
    let complete = context(&written(api_key()));
    let mut incomplete = vec![Value::Null, json!({}), json!({ "principalId": "user-1" })];
    for name in ["id", "username", "authenticated_by", "key_id"] {
        for value in [Value::Null, json!(""), json!(7)] {
            incomplete.push(
                complete.iter().map(|(n, v)| (n.clone(), if n == name { value.clone() } else { v.clone() })).collect(),
            );
        }
    }
    for (name, value) in [("authenticated_by", "trust me"), ("groups", " "), ("groups", ""), ("scopes", "read,")] {
        let mut context = complete.clone();
        context.insert(name.into(), value.into());
        incomplete.push(context.into());
    }
    for authorizer in incomplete {
        for request in requests(&authorizer) {
            assert_eq!(CurrentUser::of(&request), Err(Unauthenticated), "{authorizer}");
        }
    }
    assert_eq!(CurrentUser::of(&Request::default()), Err(Unauthenticated));
    assert_eq!(Unauthenticated.response().status(), 401);
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn axum_extracts_the_caller_or_responds_with_401() {
    use axum_core::extract::FromRequestParts as _;
    use axum_core::response::IntoResponse as _;

    for request in requests(&context(&written(Authentication::Jwt)).into()) {
        let (mut parts, _) = request.into_parts();
        assert_eq!(CurrentUser::from_request_parts(&mut parts, &()).await.unwrap().id, "user-1");
    }
    let (mut parts, _) = Request::default().into_parts();
    let rejected = CurrentUser::from_request_parts(&mut parts, &()).await.unwrap_err();
    assert_eq!(rejected.into_response().status(), 401);
}

/// The vectors that the readers in examples/ are tested with, in Python and TypeScript.
#[test]
fn other_languages_read_the_same_callers() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../../../tests/vectors/current-user.json")).unwrap();
    for vector in &vectors {
        for request in requests(&vector["context"]) {
            let groups = CurrentUser::of(&request).ok().map(|user| json!(user.groups));
            assert_eq!(groups.as_ref(), vector.get("groups"), "{vector}");
        }
    }
}
