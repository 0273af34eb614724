//! Checks a new version of the authorizer before callers meet it: docs/operations.md, "How a new authorizer is checked".
//!
//! It is a custom resource of `CloudFormation`, between the version and the alias that API Gateway calls. It invokes the version with
//! tokens that nobody issued, to which the only right answer is `Unauthorized`. That takes a valid configuration, the access rules,
//! the pool's key set and the table. Any other answer fails the deployment, and the alias keeps the version before.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Request as HttpRequest;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use vega_auth::config::aws_endpoint;
use vega_aws::Service;
use vega_https_client::HttpsClient;

/// A request with a key that nobody has.
const SAMPLE: &str = include_str!("../../../events/authorizer/unknown-key.json");
/// The authorizer's answer when something that it depends on didn't answer.
pub const UNAVAILABLE: &str = "temporarily unavailable";
/// For this long, faults are asked about again: a role that was just created takes effect after some seconds.
pub const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_secs(2);
/// The response to `CloudFormation`'s URL is empty.
const MAX_RESPONSE_BYTES: usize = 16 * 1024;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A request of `CloudFormation` for a custom resource
/// ([reference](https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-requests.html)).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(clippy::struct_field_names, reason = "the names are CloudFormation's")]
pub struct Request {
    request_type: RequestType,
    /// Whoever has it can answer in our place, so it is a secret.
    #[serde(rename = "ResponseURL")]
    response_url: String,
    stack_id: String,
    request_id: String,
    logical_resource_id: String,
    resource_properties: Properties,
    #[serde(default)]
    old_resource_properties: Properties,
}

#[derive(PartialEq, Eq, Deserialize)]
enum RequestType {
    Create,
    Update,
    Delete,
}

/// The resource's properties in template.yaml.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Properties {
    /// The version's ARN.
    version: String,
    /// The user pool, if there is one.
    pool_id: String,
    /// `true` if nobody can invoke the authorizer, not even this check.
    is_closed: String,
}

impl Properties {
    /// The function's ARN and the version's number.
    fn function_and_number(&self) -> Option<(&str, u64)> {
        let (function, number) = self.version.rsplit_once(':')?;
        Some((function, number.parse().ok()?))
    }
}

impl Request {
    /// Whether the version is to be checked. One that served before isn't checked when a failed deployment returns to it: that must
    /// succeed even if the reason for the failure concerns both.
    fn is_due(&self) -> bool {
        let (new, old) =
            (self.resource_properties.function_and_number(), self.old_resource_properties.function_and_number());
        let returns = matches!((new, old), (Some((function, new)), Some((same, old))) if function == same && new < old);
        self.request_type != RequestType::Delete && self.resource_properties.is_closed != "true" && !returns
    }
}

/// The check.
pub struct Check {
    /// Invokes the version.
    pub lambda: Service,
    /// Sends the outcome.
    pub client: HttpsClient,
    /// The region of the user pool.
    pub region: String,
}

impl Check {
    /// Checks a version, and sends the outcome to `CloudFormation`. Returns the reason for a failed check.
    /// Fails when the outcome wasn't delivered. Lambda then repeats the request.
    pub async fn run(&self, request: &Request) -> Result<Option<String>, Failure> {
        let outcome = if request.is_due() { self.check(&request.resource_properties).await } else { Ok(()) };
        let version = request.resource_properties.version.rsplit(':').next();
        let reason = outcome.err();
        let answer = json!({
            "Status": if reason.is_none() { "SUCCESS" } else { "FAILED" },
            "Reason": reason,
            // Always the same resource: no update deletes another one.
            "PhysicalResourceId": request.logical_resource_id,
            "StackId": request.stack_id,
            "RequestId": request.request_id,
            "LogicalResourceId": request.logical_resource_id,
            "Data": { "Version": version },
        });
        // The URL is signed for a request without a content type.
        let answer = HttpRequest::put(&request.response_url).body(Bytes::from(answer.to_string()))?;
        let status = self.client.send(answer, MAX_RESPONSE_BYTES).await?.status();
        if status.is_success() { Ok(reason) } else { Err(format!("CloudFormation answered {status}").into()) }
    }

    async fn check(&self, properties: &Properties) -> Result<(), String> {
        let sample: Value = serde_json::from_str(SAMPLE).map_err(|error| error.to_string())?;
        let mut with_jwt = sample.clone();
        let authorization = format!("Bearer {}", self.unknown_jwt(&properties.pool_id));
        with_jwt["multiValueHeaders"]["Authorization"] = json!([&authorization]);
        with_jwt["headers"]["Authorization"] = authorization.into();
        for (token, event) in [("key", sample), ("JWT", with_jwt)] {
            let answer = self.settled_answer(&properties.version, &event).await;
            if answer != "Unauthorized" {
                return Err(format!("the new authorizer answered an unknown {token} with: {answer}; see its log"));
            }
        }
        Ok(())
    }

    /// The version's answer, once it is no fault or that has lasted too long.
    async fn settled_answer(&self, version: &str, event: &Value) -> String {
        let started = Instant::now();
        let path = format!("/2015-03-31/functions/{}/invocations", version.replace(':', "%3A"));
        loop {
            let (answer, is_fault) = match self.lambda.post(&path, None, event).await {
                Ok(answer) => {
                    let answer = answer["errorMessage"].as_str().unwrap_or("a policy").to_owned();
                    let is_fault = answer == UNAVAILABLE;
                    (answer, is_fault)
                }
                Err(error) => (error.to_string(), true),
            };
            if !is_fault || started.elapsed() >= PATIENCE {
                return answer;
            }
            sleep(PAUSE).await;
        }
    }

    /// A token of the pool's issuer, with a key that its key set doesn't have.
    fn unknown_jwt(&self, pool_id: &str) -> String {
        let issuer = format!("{}/{pool_id}", aws_endpoint("cognito-idp", &self.region));
        let header = json!({ "alg": "RS256", "kid": "deployment-check" });
        let claims = json!({
            "iss": issuer, "sub": "deployment-check", "client_id": "deployment-check", "token_use": "access",
            "iat": 0, "exp": i64::from(u32::MAX),
        });
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode([0; 256]))
    }
}
