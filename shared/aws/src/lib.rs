//! Signed JSON calls to AWS services, without their SDKs: docs/decisions.md, "Two ways to the table" and "Three calls don't need
//! three SDKs".

mod metrics;
mod user_pool;

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_runtime_api::client::identity::Identity;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::uri::InvalidUri;
use http::{Request, Uri};
use serde_json::{Value, json};
use vega_auth::config::{Environment, aws_endpoint, text};
use vega_auth::error_chain;
use vega_https_client::HttpsClient;

pub use crate::metrics::{Directive, EmbeddedMetrics, Unit};
pub use crate::user_pool::{Page, User, UserPool};

/// The first attempt and two more, with jitter between them.
pub const ATTEMPTS: u32 = 3;
/// The largest response that is read. 60 users with every attribute at its largest have 6 MB; `DynamoDB`'s is at most 1 MB.
const MAX_RESPONSE_BYTES: usize = 8 * 1024 * 1024;
/// Errors with status 400 after which another attempt may succeed: "Error handling with `DynamoDB`" in its developer guide, and
/// `RetryConfig::standard` of the SDK.
const TRANSIENT: [&str; 8] = [
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottledException",
    "TooManyRequestsException",
    "TransactionInProgressException",
    "LimitExceededException",
];

type Failure = Box<dyn StdError + Send + Sync>;

/// An AWS service with a JSON API.
#[derive(Clone, Copy, Debug)]
pub struct Api {
    /// The first label of its host name.
    host: &'static str,
    /// Its name in signatures; `None` if its operations need none.
    signing_name: Option<&'static str>,
    /// The variable that replaces its endpoint, as the SDKs read it.
    endpoint_variable: &'static str,
    media_type: &'static str,
    attempt_timeout: Duration,
    /// Deadline for all attempts together.
    timeout: Duration,
}

impl Api {
    /// A point read takes single-digit milliseconds, so a slow attempt is lost. All attempts stay well within the authorizer's 5 s.
    pub const DYNAMODB: Self = Self {
        host: "dynamodb",
        signing_name: Some("dynamodb"),
        endpoint_variable: "AWS_ENDPOINT_URL_DYNAMODB",
        media_type: "application/x-amz-json-1.0",
        attempt_timeout: Duration::from_millis(900),
        timeout: Duration::from_millis(2500),
    };
    /// User pools.
    pub const COGNITO: Self = Self {
        host: "cognito-idp",
        signing_name: Some("cognito-idp"),
        endpoint_variable: "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER",
        media_type: "application/x-amz-json-1.1",
        attempt_timeout: Duration::from_secs(3),
        timeout: Duration::from_secs(10),
    };
    /// The operations of user pools for signing in, which need no credentials.
    pub const SIGN_IN: Self = Self { signing_name: None, ..Self::COGNITO };
    /// `EventBridge`.
    pub const EVENTS: Self = Self {
        host: "events",
        signing_name: Some("events"),
        endpoint_variable: "AWS_ENDPOINT_URL_EVENTBRIDGE",
        ..Self::COGNITO
    };
    /// Lambda. A cold start and the longest run of the authorizer take 15 s.
    pub const LAMBDA: Self = Self {
        host: "lambda",
        signing_name: Some("lambda"),
        endpoint_variable: "AWS_ENDPOINT_URL_LAMBDA",
        media_type: "application/json",
        attempt_timeout: Duration::from_secs(20),
        timeout: Duration::from_secs(20),
    };
    /// The mail service, version 2 of its API.
    pub const SES: Self = Self {
        host: "email",
        signing_name: Some("ses"),
        endpoint_variable: "AWS_ENDPOINT_URL_SESV2",
        media_type: "application/json",
        ..Self::COGNITO
    };
}

/// Region, credentials and endpoints. Nothing else is looked up: no file, no profile and no metadata service.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The region.
    pub region: String,
    /// The credentials.
    pub credentials: Credentials,
    /// The credentials as the signer takes them: built once, as every request needs them.
    identity: Identity,
    /// The endpoints that replace AWS's own, by host.
    endpoints: BTreeMap<&'static str, String>,
    /// Multiplies every time-out; 1, except in tests on a busy machine.
    pub time_factor: u32,
}

impl Settings {
    /// Reads the standard variables: region and credentials, which Lambda sets and which last as long as the process, and the
    /// endpoints of an emulator.
    pub fn read(environment: &mut Environment<'_>) -> Option<Self> {
        let region = environment.required("AWS_REGION", text);
        let access_key_id = environment.required("AWS_ACCESS_KEY_ID", text);
        let secret = environment.required("AWS_SECRET_ACCESS_KEY", text);
        let session_token = environment.get("AWS_SESSION_TOKEN");
        let credentials = Credentials::new(access_key_id?, secret?, session_token, None, "environment");
        let endpoint =
            |api: Api| environment.get(api.endpoint_variable).or_else(|| environment.get("AWS_ENDPOINT_URL"));
        let endpoints = [Api::DYNAMODB, Api::COGNITO, Api::EVENTS, Api::LAMBDA, Api::SES].into_iter();
        let endpoints = endpoints.filter_map(|api| Some((api.host, endpoint(api)?))).collect();
        Some(Self { region: region?, identity: credentials.clone().into(), credentials, endpoints, time_factor: 1 })
    }

    /// The configured endpoint of `api`, otherwise the region's own.
    pub fn endpoint(&self, api: Api) -> String {
        let configured = self.endpoints.get(api.host).map(|url| url.trim_end_matches('/').to_owned());
        configured.unwrap_or_else(|| aws_endpoint(api.host, &self.region))
    }

    /// Deadlines for one attempt, and for all attempts together.
    pub fn timeouts(&self, api: Api) -> [Duration; 2] {
        [api.attempt_timeout, api.timeout].map(|timeout| timeout * self.time_factor)
    }
}

/// Why there is no result.
#[derive(Debug)]
pub enum CallError {
    /// The service refused, with this code, such as `UserNotFoundException`. Its message isn't kept: it may repeat what was sent.
    Refused(String),
    /// No usable response arrived in time.
    Unavailable(Failure),
}

/// With its causes, for one log line.
impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(code) => write!(f, "refused with {code}"),
            Self::Unavailable(cause) => write!(f, "no answer: {}", error_chain(&**cause)),
        }
    }
}

impl StdError for CallError {}

impl CallError {
    fn is_transient(&self) -> bool {
        match self {
            Self::Refused(code) => TRANSIENT.contains(&code.as_str()),
            Self::Unavailable(_) => true,
        }
    }
}

fn unavailable(cause: impl Into<Failure>) -> CallError {
    CallError::Unavailable(cause.into())
}

/// A client of one service.
pub struct Service {
    client: HttpsClient,
    api: Api,
    settings: Settings,
    endpoint: String,
    clock: fn() -> SystemTime,
    attempts: AtomicU32,
}

impl Service {
    /// `clock` dates the signatures: `SystemTime::now`, which only a `main` may name.
    pub fn new(
        client: HttpsClient,
        settings: Settings,
        api: Api,
        clock: fn() -> SystemTime,
    ) -> Result<Self, InvalidUri> {
        let endpoint = settings.endpoint(api);
        endpoint.parse::<Uri>()?;
        Ok(Self { client, api, settings, endpoint, clock, attempts: AtomicU32::new(0) })
    }

    /// The attempts of [`Self::send`] since the last call.
    pub fn take_attempts(&self) -> u32 {
        self.attempts.swap(0, Ordering::Relaxed)
    }

    /// Posts `body` as [`Self::send`] does, and parses the response.
    pub async fn post(&self, path: &str, target: Option<&str>, body: &Value) -> Result<Value, CallError> {
        let response = self.send(path, target, body.to_string().into()).await?;
        serde_json::from_slice(&response).map_err(unavailable)
    }

    /// Puts an event with this detail, which is JSON, on `EventBridge`'s default bus.
    pub async fn put_event(&self, source: &str, detail_type: &str, detail: &str) -> Result<(), CallError> {
        let entry = json!({ "Source": source, "DetailType": detail_type, "Detail": detail });
        let answer = self.post("/", Some("AWSEvents.PutEvents"), &json!({ "Entries": [entry] })).await?;
        // The status is 200 even if the entry was rejected.
        match answer["FailedEntryCount"].as_u64() {
            Some(0) => Ok(()),
            Some(_) => {
                Err(CallError::Refused(answer["Entries"][0]["ErrorCode"].as_str().unwrap_or("unknown").to_owned()))
            }
            None => Err(CallError::Unavailable("PutEvents: no FailedEntryCount".into())),
        }
    }

    /// Posts `body`. `target` names the operation, in services with one path for all. Transient failures are retried, so an
    /// operation that isn't idempotent may happen twice.
    pub async fn send(&self, path: &str, target: Option<&str>, body: Bytes) -> Result<Bytes, CallError> {
        let [attempt_timeout, timeout] = self.settings.timeouts(self.api);
        let attempts = async {
            let mut attempt = 1;
            loop {
                self.attempts.fetch_add(1, Ordering::Relaxed);
                let outcome = tokio::time::timeout(attempt_timeout, self.send_once(path, target, body.clone())).await;
                match outcome.map_err(unavailable).flatten() {
                    Err(error) if error.is_transient() && attempt < ATTEMPTS => {}
                    outcome => return outcome,
                }
                // Full jitter, up to 50 ms, then 100: clients that collided once don't collide again.
                tokio::time::sleep(Duration::from_millis(fastrand::u64(..50 << (attempt - 1)))).await;
                attempt += 1;
            }
        };
        tokio::time::timeout(timeout, attempts).await.map_err(unavailable)?
    }

    /// As [`Self::send`], without a retry or a deadline.
    pub async fn send_once(&self, path: &str, target: Option<&str>, body: Bytes) -> Result<Bytes, CallError> {
        let request = self.signed(path, target, body).map_err(unavailable)?;
        let response = self.client.send(request, MAX_RESPONSE_BYTES).await.map_err(unavailable)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response.into_body());
        }
        let header = response.headers().get("x-amzn-errortype").and_then(|name| name.to_str().ok());
        let problem: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        // `com.amazonaws.cognito#UserNotFoundException`, or `UserNotFoundException:http://…`
        let name = header.or_else(|| problem["__type"].as_str()).unwrap_or_default();
        let name = name.split(':').next().and_then(|name| name.rsplit('#').next()).unwrap_or_default();
        let code: String = name.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
        if status.is_client_error() && !code.is_empty() {
            return Err(CallError::Refused(code));
        }
        Err(unavailable(format!("status {} {code}", status.as_u16())))
    }

    /// The request with its signature (AWS Signature Version 4), if it needs one.
    fn signed(&self, path: &str, target: Option<&str>, body: Bytes) -> Result<Request<Bytes>, Failure> {
        let mut request = Request::post(format!("{}{path}", self.endpoint)).header(CONTENT_TYPE, self.api.media_type);
        if let Some(target) = target {
            request = request.header("x-amz-target", target);
        }
        let mut request = request.body(body)?;
        let Some(signing_name) = self.api.signing_name else { return Ok(request) };
        let parameters = SigningParams::builder()
            .identity(&self.settings.identity)
            .region(&self.settings.region)
            .name(signing_name)
            .time((self.clock)())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let headers = request.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let body = SignableBody::Bytes(request.body());
        let signable = SignableRequest::new("POST", request.uri().to_string(), headers, body)?;
        let (signature, _) = sign(signable, &parameters)?.into_parts();
        signature.apply_to_request_http1x(&mut request);
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use vega_auth::config::load;
    use vega_testing::{Reply, TestServer};

    use super::*;

    /// 2026-11-24T05:00:00Z.
    fn clock() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_hours(498_749)
    }

    fn service(endpoint: Option<&str>) -> Service {
        service_in("us-west-1", endpoint)
    }

    fn service_in(region: &str, endpoint: Option<&str>) -> Service {
        let mut environment = Environment::new(|name| match name {
            "AWS_REGION" => Some(region.into()),
            "AWS_ACCESS_KEY_ID" => Some("AKIDEXAMPLE".into()),
            "AWS_SECRET_ACCESS_KEY" => Some("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into()),
            "AWS_SESSION_TOKEN" => Some("session".into()),
            "AWS_ENDPOINT_URL" => endpoint.map(str::to_owned),
            _ => None,
        });
        let settings = Settings::read(&mut environment).unwrap();
        Service::new(HttpsClient::new(None).unwrap(), settings, Api::COGNITO, clock).unwrap()
    }

    /// Calls a service that gives these answers in turn. Returns the outcome and the number of requests.
    async fn call(answers: &[(&str, &str)]) -> (Result<Value, CallError>, usize) {
        let replies = answers.iter().map(|(status, body)| Reply::status(status, body));
        let server = TestServer::start_in_turn(replies, Reply::Hang).await;
        let outcome = service(Some(server.url())).post("/", Some("Service.Operation"), &Value::Null).await;
        (outcome, server.requests().len())
    }

    /// botocore 1.43 signed the same request at the same instant with the same credentials.
    #[test]
    fn the_signature_equals_botocores() {
        let request = service(None)
            .signed(
                "/",
                Some("AWSCognitoIdentityProviderService.AdminGetUser"),
                r#"{"UserPoolId":"us-west-1_abc"}"#.into(),
            )
            .unwrap();
        assert_eq!(request.uri(), "https://cognito-idp.us-west-1.amazonaws.com/");
        assert_eq!(request.headers()["x-amz-security-token"], "session");
        assert_eq!(
            request.headers()["authorization"],
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261124/us-west-1/cognito-idp/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, Signature=f10e65734b39e9c9fa01007a2dd72e4ef75956931f1f6f48a422d5091fd262e7"
        );
    }

    #[test]
    fn a_service_is_called_at_its_own_partition() {
        let request = service_in("cn-north-1", None).signed("/", None, "{}".into()).unwrap();
        assert_eq!(request.uri(), "https://cognito-idp.cn-north-1.amazonaws.com.cn/");
    }

    #[test]
    fn missing_variables_are_named_and_credentials_not_printed() {
        assert_eq!(
            load("test", |_| None, Settings::read).unwrap_err().0,
            ["AWS_REGION is not set", "AWS_ACCESS_KEY_ID is not set", "AWS_SECRET_ACCESS_KEY is not set"]
        );
        let settings = load("test", |name| Some(format!("the {name}")), Settings::read).unwrap();
        assert_eq!(settings.endpoint(Api::DYNAMODB), "the AWS_ENDPOINT_URL_DYNAMODB");
        let shown = format!("{settings:?}");
        assert!(!shown.contains("SECRET"), "{shown}");
        assert!(!shown.contains("TOKEN"), "{shown}");
    }

    #[test]
    fn a_service_has_its_own_endpoint_or_the_common_one() {
        let lookup = |name: &str| match name {
            "AWS_ENDPOINT_URL" => Some("http://all/".to_owned()),
            "AWS_ENDPOINT_URL_SESV2" => Some("http://ses".to_owned()),
            _ => Some("text".to_owned()),
        };
        let settings =
            load("test", |name| lookup(name).filter(|_| name != "AWS_ENDPOINT_URL_DYNAMODB"), Settings::read);
        let settings = settings.unwrap();
        assert_eq!(settings.endpoint(Api::DYNAMODB), "http://all");
        assert_eq!(settings.endpoint(Api::SES), "http://ses");
    }

    #[tokio::test]
    async fn a_response_is_parsed_and_a_refusal_is_its_code() {
        let (answer, requests) = call(&[("200 OK", r#"{"Enabled":true}"#)]).await;
        assert_eq!((answer.unwrap(), requests), (serde_json::json!({ "Enabled": true }), 1));
        for (head, body) in [
            ("400 Bad Request", r#"{"__type":"UserNotFoundException","message":"User does not exist."}"#),
            ("400 Bad Request", r#"{"__type":"com.amazonaws.cognito#UserNotFoundException"}"#),
            ("404 Not Found\r\nx-amzn-errortype: UserNotFoundException:http://internal.amazon.com/", ""),
        ] {
            let (refused, requests) = call(&[(head, body)]).await;
            assert!(matches!(refused, Err(CallError::Refused(code)) if code == "UserNotFoundException"));
            assert_eq!(requests, 1);
        }
    }

    #[tokio::test]
    async fn a_transient_failure_is_retried_and_never_a_refusal() {
        let good = ("200 OK", "{}");
        let throttled = ("400 Bad Request", r#"{"__type":"TooManyRequestsException"}"#);
        let broken = ("500 Oops", r#"{"__type":"InternalErrorException"}"#);
        assert!(matches!(call(&[throttled, broken, good]).await, (Ok(_), 3)));
        for failure in [broken, ("302 Found\r\nlocation: http://127.0.0.1:1/", ""), ("404 Not Found", "")] {
            let (outcome, requests) = call(&[failure, failure, failure, good]).await;
            assert!(matches!(outcome, Err(CallError::Unavailable(_))), "{failure:?}");
            assert_eq!(requests, 3);
        }
        assert!(matches!(call(&[throttled, throttled, throttled]).await, (Err(CallError::Refused(_)), 3)));
    }

    #[tokio::test]
    async fn a_success_without_json_is_a_fault_and_not_repeated() {
        let (outcome, requests) = call(&[("200 OK", "<html>"), ("200 OK", "{}")]).await;
        assert!(matches!(outcome, Err(CallError::Unavailable(_))));
        assert_eq!(requests, 1);
    }

    #[tokio::test]
    async fn a_hostile_error_name_is_reduced_to_letters_and_digits() {
        let (outcome, _) = call(&[("400 Bad Request", r#"{"__type":"a\n\u001b[31mb"}"#)]).await;
        assert_eq!(outcome.unwrap_err().to_string(), "refused with a31mb");
    }
}
