//! What Cognito's answers mean, against a server that gives them. The end-to-end tests ask the local stack's pool.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::Mutex;
use std::time::SystemTime;

use owners::{FindOwner, OwnerStatus, PoolFault};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use vega_auth::Groups;
use vega_auth::config::Environment;
use vega_aws::{Api, Service, Settings, UserPool};

/// Looks `user-1`, also known as `ada`, up in a pool that gives these answers in turn; and what the pool was asked.
async fn find(username: &str, answers: &[(u16, Value)]) -> (Result<OwnerStatus, PoolFault>, Vec<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let lookup = |name: &str| Some(if name.starts_with("AWS_ENDPOINT") { endpoint.clone() } else { "text".into() });
    let settings = Settings::read(Api::COGNITO, &mut Environment::new(lookup)).unwrap();
    let service = Service::new(settings, || SystemTime::UNIX_EPOCH).unwrap();
    let pool = UserPool { service, pool_id: "us-west-1_abc".into() };
    let asked = Arc::new(Mutex::new(Vec::new()));
    let server = async {
        for (status, answer) in answers {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut bytes = Vec::new();
            while !bytes.ends_with(b"}") {
                let mut some = [0; 4096];
                let length = connection.read(&mut some).await.unwrap();
                bytes.extend_from_slice(&some[..length]);
            }
            let request = String::from_utf8(bytes).unwrap();
            let operation = request.split("AWSCognitoIdentityProviderService.").nth(1).unwrap();
            let body = request.split("\r\n\r\n").nth(1).unwrap();
            asked.lock().unwrap().push(format!("{} {body}", operation.lines().next().unwrap()));
            let body = answer.to_string();
            let length = body.len();
            let head = format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
            connection.write_all((head + &body).as_bytes()).await.unwrap();
        }
        std::future::pending::<()>().await;
    };
    let standing = tokio::select! {
        standing = FindOwner::find(&pool, "user-1", username) => standing,
        () = server => unreachable!("the server goes on"),
    };
    let asked = asked.lock().unwrap().clone();
    (standing, asked)
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
async fn a_member_has_the_groups_of_all_pages_and_only_those_that_count() {
    let answers = [user("user-1", true), groups(&["user", "Root", "beta"], Some("more")), groups(&["operator"], None)];
    let (standing, asked) = find("ada", &answers).await;
    assert_eq!(standing.unwrap(), OwnerStatus::Member(Groups::known(["operator", "user"])));
    assert_eq!(asked.len(), 3);
    assert!(asked[0].starts_with("AdminGetUser") && asked[0].contains(r#""Username":"ada""#), "{asked:?}");
    assert!(asked[2].starts_with("AdminListGroupsForUser") && asked[2].contains(r#""NextToken":"more""#), "{asked:?}");
    let (standing, _) = find("ada", &[user("user-1", true), groups(&[], None)]).await;
    assert_eq!(standing.unwrap(), OwnerStatus::Member(Groups::NONE));
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
async fn any_other_answer_is_a_fault_and_never_a_deleted_user_or_one_without_groups() {
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
