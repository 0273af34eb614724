//! The check of a version, with a Lambda and a `CloudFormation` of ours.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, SystemTime};

use authorizer_check::{Check, PATIENCE, UNAVAILABLE};
use serde_json::{Value, json};
use vega_auth::config::Environment;
use vega_aws::{Api, Service, Settings};
use vega_https_client::HttpsClient;
use vega_testing::{Reply, TestServer};

const VERSION: &str = "arn:aws:lambda:us-west-1:111122223333:function:vega-Authorizer:7";
const POOL: &str = "us-west-1_abc";

struct Test {
    /// Both services: invocations first, then the outcome.
    server: TestServer,
    check: Check,
}

impl Test {
    /// The version gives these answers in turn.
    async fn start(answers: &[Value]) -> Self {
        Self::start_with(answers, Reply::ok("")).await
    }

    /// And `CloudFormation` gives this one.
    async fn start_with(answers: &[Value], response: Reply) -> Self {
        let server = TestServer::start_in_turn(answers.iter().map(Reply::ok), response).await;
        let settings = Settings::read(&mut Environment::new(|name| match name {
            "AWS_REGION" => Some("us-west-1".into()),
            "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("test".into()),
            "AWS_ENDPOINT_URL" => Some(server.url().into()),
            _ => None,
        }))
        .unwrap();
        let client = HttpsClient::new(None).unwrap();
        let lambda = Service::new(client.clone(), settings, Api::LAMBDA, || SystemTime::UNIX_EPOCH).unwrap();
        Self { server, check: Check { lambda, client, region: "us-west-1".into() } }
    }

    fn request(&self, change: impl FnOnce(&mut Value)) -> Value {
        let mut request = json!({
            "RequestType": "Create", "ResponseURL": format!("{}/response?signature=x", self.server.url()),
            "StackId": "stack-1", "RequestId": "request-1", "ResourceType": "Custom::AuthorizerCheck",
            "LogicalResourceId": "AuthorizerCheck",
            "ResourceProperties": {
                "ServiceToken": "arn", "ServiceTimeout": "240", "Version": VERSION, "PoolId": POOL, "IsClosed": "false",
            },
        });
        change(&mut request);
        request
    }

    /// The reason for a failed check, and what `CloudFormation` got.
    async fn run(&self, change: impl FnOnce(&mut Value)) -> (Option<String>, Value) {
        let request = serde_json::from_value(self.request(change)).unwrap();
        let reason = self.check.run(&request).await.unwrap();
        let requests = self.server.requests();
        let (head, body) = requests.last().unwrap().split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("PUT /response?signature=x "), "{head}");
        assert!(!head.to_lowercase().contains("content-type"), "CloudFormation's URL is signed without one");
        let answer: Value = serde_json::from_str(body).unwrap();
        assert_eq!(answer["Status"], if reason.is_none() { "SUCCESS" } else { "FAILED" });
        assert_eq!(answer["Reason"].as_str(), reason.as_deref());
        (reason, answer)
    }

    fn invocations(&self) -> usize {
        self.server.requests().iter().filter(|request| request.starts_with("POST ")).count()
    }
}

fn error(message: &str) -> Value {
    json!({ "errorType": "Refusal", "errorMessage": message })
}

#[tokio::test]
async fn a_version_that_rejects_unknown_tokens_gets_requests() {
    let test = Test::start(&[error("Unauthorized"), error("Unauthorized")]).await;
    let (reason, answer) = test.run(|_| {}).await;
    assert_eq!(reason, None);
    assert_eq!((&answer["Data"]["Version"], &answer["PhysicalResourceId"]), (&json!("7"), &json!("AuthorizerCheck")));
    assert_eq!((&answer["StackId"], &answer["RequestId"]), (&json!("stack-1"), &json!("request-1")));
    let requests = test.server.requests();
    let path = "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-west-1%3A111122223333%3Afunction%3Avega-Authorizer%3A7";
    assert!(requests[0].starts_with(&format!("POST {path}/invocations ")), "{}", requests[0]);
    assert!(requests[0].contains("Bearer vk_") && requests[1].contains("Bearer eyJ"));
}

#[tokio::test]
async fn any_other_answer_fails_the_deployment() {
    for (answers, cause) in [
        (vec![error("Runtime exited with error: exit status 1")], "unknown key with: Runtime exited"),
        (vec![error("Unauthorized"), error("2026 Task timed out")], "unknown JWT with: 2026 Task timed out"),
        (vec![json!({ "principalId": "x", "policyDocument": {} })], "unknown key with: a policy"),
        (vec![Value::Null], "unknown key with: a policy"),
    ] {
        let test = Test::start(&answers).await;
        let (reason, _) = test.run(|_| {}).await;
        assert!(reason.as_ref().is_some_and(|reason| reason.contains(cause)), "{reason:?}");
        assert_eq!(test.invocations(), answers.len());
    }
}

/// With a paused clock, which advances whenever every task waits.
#[tokio::test(start_paused = true)]
async fn a_fault_counts_only_if_it_lasts_for_a_minute() {
    let fault = authorizer::Refusal::Unavailable.to_string();
    assert_eq!(fault, UNAVAILABLE);
    let test =
        Test::start(&[error(&fault), error(&fault), error("Unauthorized"), error(&fault), error("Unauthorized")]).await;
    assert_eq!((test.run(|_| {}).await.0, test.invocations()), (None, 5));

    let test = Test::start(&vec![error(&fault); 31]).await;
    let started = tokio::time::Instant::now();
    let (reason, _) = test.run(|_| {}).await;
    assert!(reason.is_some_and(|reason| reason.contains(UNAVAILABLE)));
    assert!((PATIENCE..PATIENCE + Duration::from_secs(5)).contains(&started.elapsed()), "{:?}", started.elapsed());
}

#[tokio::test]
async fn only_a_new_version_that_can_be_invoked_is_checked() {
    let update = |version: u64, old: &str| {
        let (old, version) = (format!("{old}:{version}"), VERSION);
        move |request: &mut Value| {
            request["RequestType"] = "Update".into();
            request["ResourceProperties"]["Version"] = version.into();
            request["OldResourceProperties"] = json!({ "Version": old });
        }
    };
    let (function, _) = VERSION.rsplit_once(':').unwrap();
    let good = [error("Unauthorized"), error("Unauthorized")];
    for (invocations, change) in [
        (2, Box::new(update(6, function)) as Box<dyn FnOnce(&mut Value)>),
        (2, Box::new(update(7, function))),
        // A failed deployment returns to the version before.
        (0, Box::new(update(8, function))),
        (2, Box::new(update(8, "arn:aws:lambda:us-west-1:111122223333:function:another"))),
        (0, Box::new(|request: &mut Value| request["RequestType"] = "Delete".into())),
        (0, Box::new(|request: &mut Value| request["ResourceProperties"]["IsClosed"] = "true".into())),
        (
            0,
            Box::new(|request: &mut Value| {
                request["RequestType"] = "Delete".into();
                request["ResourceProperties"] = json!({ "Other": [1] });
            }),
        ),
    ] {
        let test = Test::start(&good[..invocations]).await;
        assert_eq!(test.run(change).await.0, None);
        assert_eq!(test.invocations(), invocations);
    }
}

#[tokio::test]
async fn an_undelivered_outcome_is_an_error_without_the_url() {
    let good = [error("Unauthorized"), error("Unauthorized")];
    let test = Test::start_with(&good, Reply::status("403 Forbidden", "")).await;
    let request = serde_json::from_value(test.request(|_| {})).unwrap();
    let error = test.check.run(&request).await.unwrap_err().to_string();
    assert!(!error.contains("signature") && error.contains("403"), "{error}");
}
