//! The meaning of Cognito's answers, from a server that gives them. The end-to-end tests ask the local stack's pool.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::SystemTime;

use owners::{OwnerStatus, Page, Pool, PoolFault};
use serde_json::{Value, json};
use vega_auth::config::Environment;
use vega_auth::{Group, Groups};
use vega_aws::{Api, Service, Settings, UserPool};
use vega_https_client::HttpsClient;
use vega_testing::{Reply, TestServer};

/// Calls a pool that gives these answers in turn. Returns the outcome and the requests.
async fn call<T>(answers: &[(u16, Value)], ask: impl AsyncFnOnce(UserPool) -> T) -> (T, Vec<String>) {
    call_with(answers.iter().map(|(status, body)| Reply::status(format!("{status} x"), body)), ask).await
}

async fn call_with<T>(
    replies: impl IntoIterator<Item = Reply>,
    ask: impl AsyncFnOnce(UserPool) -> T,
) -> (T, Vec<String>) {
    let server = TestServer::start_in_turn(replies, Reply::Hang).await;
    let endpoint = server.url().to_owned();
    let lookup = |name: &str| Some(if name.starts_with("AWS_ENDPOINT") { endpoint.clone() } else { "text".into() });
    let settings = Settings::read(&mut Environment::new(lookup)).unwrap();
    let service =
        Service::new(HttpsClient::new(None).unwrap(), settings, Api::COGNITO, || SystemTime::UNIX_EPOCH).unwrap();
    let outcome = ask(UserPool { service, pool_id: "us-west-1_abc".into() }).await;
    let requests = server.requests();
    let calls = requests.iter().map(|request| {
        let operation = request.split("AWSCognitoIdentityProviderService.").nth(1).unwrap();
        let body = request.split("\r\n\r\n").nth(1).unwrap();
        format!("{} {body}", operation.lines().next().unwrap())
    });
    (outcome, calls.collect())
}

/// Looks up `user-1`, also known as `ada`.
async fn find(username: &str, answers: &[(u16, Value)]) -> (Result<OwnerStatus, PoolFault>, Vec<String>) {
    call(answers, async |pool| Pool::find(&pool, "user-1", username).await).await
}

async fn page(
    group: Option<&str>,
    token: Option<&str>,
    answers: &[(u16, Value)],
) -> (Result<Page, PoolFault>, Vec<String>) {
    let group = group.map(|name| name.parse::<Group>().unwrap());
    call(answers, async |pool| Pool::page(&pool, group.as_ref(), token).await).await
}

fn user(subject: &str, enabled: bool) -> (u16, Value) {
    let attributes = json!([{ "Name": "email", "Value": "ada@example.com" }, { "Name": "sub", "Value": subject }]);
    (200, json!({ "Username": "ada", "UserAttributes": attributes, "Enabled": enabled, "UserStatus": "CONFIRMED" }))
}

fn groups(names: &[&str], next: Option<&str>) -> (u16, Value) {
    let groups: Vec<_> = names.iter().map(|name| json!({ "GroupName": name })).collect();
    (200, json!({ "Groups": groups, "NextToken": next }))
}

fn refused(code: &str) -> (u16, Value) {
    (400, json!({ "__type": code, "message": "no" }))
}

#[tokio::test]
async fn a_member_has_the_groups_of_all_pages() {
    let answers = [user("user-1", true), groups(&["user", "Root", "beta"], Some("more")), groups(&["operator"], None)];
    let (status, asked) = find("ada", &answers).await;
    assert_eq!(status.unwrap(), OwnerStatus::Member(Groups::named(["Root", "beta", "operator", "user"])));
    assert_eq!(asked.len(), 3);
    assert!(asked[0].starts_with("AdminGetUser") && asked[0].contains(r#""Username":"ada""#), "{asked:?}");
    assert!(asked[2].starts_with("AdminListGroupsForUser") && asked[2].contains(r#""NextToken":"more""#), "{asked:?}");
    let (status, _) = find("ada", &[user("user-1", true), groups(&[], None)]).await;
    assert_eq!(status.unwrap(), OwnerStatus::Member(Groups::NONE));
}

#[tokio::test]
async fn a_disabled_user_is_disabled() {
    assert_eq!(find("ada", &[user("user-1", false)]).await.0.unwrap(), OwnerStatus::Disabled);
}

#[tokio::test]
async fn only_who_is_known_by_neither_name_is_gone() {
    let unknown = || refused("UserNotFoundException");
    assert_eq!(find("ada", &[unknown(), unknown()]).await.0.unwrap(), OwnerStatus::Gone);
    assert_eq!(find("user-1", &[unknown()]).await.0.unwrap(), OwnerStatus::Gone, "both names are one");
    // somebody else has the name now
    assert_eq!(find("ada", &[user("user-2", true), unknown()]).await.0.unwrap(), OwnerStatus::Gone);
    let found = find("ada", &[unknown(), user("user-1", false)]).await.0.unwrap();
    assert_eq!(found, OwnerStatus::Disabled, "known by the sub alone");
}

#[tokio::test]
async fn no_other_answer_means_a_deleted_user_or_no_groups() {
    let found = || user("user-1", true);
    for answers in [
        vec![refused("ResourceNotFoundException")],
        vec![refused("AccessDeniedException")],
        vec![refused("InvalidParameterException")],
        vec![refused("TooManyRequestsException"); 3],
        vec![refused("UserNotFoundException"), refused("ResourceNotFoundException")],
        vec![(200, json!({}))],
        vec![(200, json!({ "Username": "ada", "UserAttributes": [{ "Name": "sub", "Value": "user-1" }] }))],
        vec![found(), refused("UserNotFoundException")],
        vec![found(), (200, json!({}))],
        vec![found(), (200, json!({ "Groups": [{}] }))],
        [vec![found()], vec![groups(&["user"], Some("more")); 10]].concat(),
    ] {
        assert!(find("ada", &answers).await.0.is_err(), "{answers:?}");
    }
}

fn users(next: &str, token: &Value) -> (u16, Value) {
    let user = |subject: &str, enabled: bool| {
        json!({
            "Username": "x", "Attributes": [{ "Name": "email", "Value": "x" }, { "Name": "sub", "Value": subject }],
            "Enabled": enabled,
        })
    };
    (200, json!({ "Users": [user("user-1", true), user("user-2", false)], next: token }))
}

#[tokio::test]
async fn a_page_has_everybodys_sub_and_the_token_of_the_next() {
    for (group, next, operation) in
        [(None, "PaginationToken", "ListUsers"), (Some("operator"), "NextToken", "ListUsersInGroup")]
    {
        let (found, asked) = page(group, Some("two"), &[users(next, &json!("three"))]).await;
        let found = found.unwrap();
        assert_eq!(found.users, [("user-1".to_owned(), true), ("user-2".to_owned(), false)]);
        assert_eq!(found.next.as_deref(), Some("three"));
        assert!(asked[0].starts_with(&format!("{operation} ")), "{asked:?}");
        assert!(asked[0].contains(&format!(r#""{next}":"two""#)) && asked[0].contains(r#""Limit":60"#), "{asked:?}");
        assert_eq!(asked[0].contains(r#""GroupName":"operator""#), group.is_some());
        let (last, asked) = page(group, None, &[users(next, &Value::Null)]).await;
        assert_eq!((last.unwrap().next, asked[0].contains(next)), (None, false));
        // Cognito returns pages with fewer users than requested, which may be none.
        let (empty, _) = page(group, None, &[(200, json!({ "Users": [], next: "more" }))]).await;
        assert_eq!(empty.unwrap().next.as_deref(), Some("more"));
    }
}

#[tokio::test]
async fn no_other_answer_is_a_page() {
    for group in [None, Some("user")] {
        let next = if group.is_some() { "NextToken" } else { "PaginationToken" };
        for answers in [
            vec![refused("ResourceNotFoundException")],
            vec![refused("AccessDeniedException")],
            vec![refused("TooManyRequestsException"); 3],
            vec![(500, json!({})); 3],
            vec![(200, json!({}))],
            vec![(200, json!({ "Users": null }))],
            vec![(200, json!({ "Users": [{ "Attributes": [], "Enabled": true }] }))],
            vec![(200, json!({ "Users": [{ "Attributes": [{ "Name": "sub", "Value": "user-1" }] }] }))],
            vec![users(next, &json!(""))],
            vec![users(next, &json!(7))],
        ] {
            assert!(page(group, None, &answers).await.0.is_err(), "{answers:?}");
        }
        let Reply::Bytes(whole) = Reply::ok(users(next, &Value::Null).1) else { panic!("no bytes") };
        let replies = vec![Reply::Truncate(whole); 3];
        let (cut_off, _) = call_with(replies, async |pool| {
            Pool::page(&pool, group.map(|name| name.parse::<Group>().unwrap()).as_ref(), None).await
        })
        .await;
        assert!(cut_off.is_err());
    }
}
