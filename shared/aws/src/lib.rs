//! One signed JSON call to an AWS service.
//!
//! For the functions that need two or three operations of a service: its SDK knows hundreds, and would be built for each.
//! See docs/decisions.md, "Three calls don't need three SDKs".

mod user_pool;

use std::error::Error as StdError;
use std::fmt;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use http::Request;
use http::header::CONTENT_TYPE;
use reqwest::Client;
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use vega_auth::config::{Environment, aws_endpoint, text};

pub use crate::user_pool::{Page, User, UserPool};

/// One try, connection included.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// The first try and two more, with jitter between them.
const ATTEMPTS: u32 = 3;
/// The largest answer we read. 60 users with every attribute at its largest have 6 MB.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// What services say when they are asked too often. They say it with status 400.
const THROTTLED: [&str; 4] =
    ["ThrottlingException", "ThrottledException", "TooManyRequestsException", "RequestLimitExceeded"];

/// A service of AWS that speaks JSON.
#[derive(Clone, Copy, Debug)]
pub struct Api {
    /// The first part of its host name.
    host: &'static str,
    /// Its name in signatures.
    signing_name: &'static str,
    /// The variable that names another endpoint, as the SDKs read it.
    endpoint_variable: &'static str,
}

impl Api {
    /// User pools.
    pub const COGNITO: Self = Self {
        host: "cognito-idp",
        signing_name: "cognito-idp",
        endpoint_variable: "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER",
    };
    /// `EventBridge`.
    pub const EVENTS: Self =
        Self { host: "events", signing_name: "events", endpoint_variable: "AWS_ENDPOINT_URL_EVENTBRIDGE" };
    /// The mail service, version 2 of its API.
    pub const SES: Self = Self { host: "email", signing_name: "ses", endpoint_variable: "AWS_ENDPOINT_URL_SESV2" };
}

/// Where a service is, and who we are to it.
#[derive(Clone, Debug)]
pub struct Settings {
    api: Api,
    region: String,
    endpoint: Option<String>,
    credentials: Credentials,
}

impl Settings {
    /// Reads the standard variables: region and credentials, which Lambda sets, and the endpoint of an emulator.
    pub fn read(api: Api, environment: &mut Environment<'_>) -> Option<Self> {
        let region = environment.required("AWS_REGION", text);
        let access_key_id = environment.required("AWS_ACCESS_KEY_ID", text);
        let secret = environment.required("AWS_SECRET_ACCESS_KEY", text);
        let session_token = environment.get("AWS_SESSION_TOKEN");
        let endpoint = environment.get(api.endpoint_variable).or_else(|| environment.get("AWS_ENDPOINT_URL"));
        let credentials = Credentials::new(access_key_id?, secret?, session_token, None, "environment");
        Some(Self { api, region: region?, endpoint, credentials })
    }

    fn url(&self, path: &str) -> String {
        let Self { api, region, endpoint, .. } = self;
        let endpoint = endpoint.clone().unwrap_or_else(|| aws_endpoint(api.host, region));
        format!("{}{path}", endpoint.trim_end_matches('/'))
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum CallError {
    /// The service said no, with this code: `UserNotFoundException` …
    Refused(String),
    /// It did not answer, not in time, or not in a way that says anything.
    Unavailable(Box<dyn StdError + Send + Sync>),
}

/// With its causes, for one log line.
impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(code) => write!(f, "refused with {code}"),
            Self::Unavailable(cause) => {
                write!(f, "no answer: {cause}")?;
                let mut cause = cause.source();
                while let Some(error) = cause {
                    write!(f, ": {error}")?;
                    cause = error.source();
                }
                Ok(())
            }
        }
    }
}

impl StdError for CallError {}

/// A service, as this process calls it.
pub struct Service {
    settings: Settings,
    client: Client,
    clock: fn() -> SystemTime,
}

impl Service {
    /// `clock` dates the signatures: `SystemTime::now`, which only a `main` may name.
    ///
    /// # Errors
    /// When TLS can't be set up.
    pub fn new(settings: Settings, clock: fn() -> SystemTime) -> Result<Self, reqwest::Error> {
        // Fails only where a provider is installed already, which is then the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().redirect(Policy::none()).no_proxy().timeout(ATTEMPT_TIMEOUT).build()?;
        Ok(Self { settings, client, clock })
    }

    /// Posts `body` and gives the answer. `target` is the operation's name in the services that take all at one path.
    /// A failure that may pass is tried again, so an operation that isn't idempotent may happen twice.
    ///
    /// # Errors
    /// When the service refused, or there was no telling.
    pub async fn post(&self, path: &str, target: Option<&str>, body: &Value) -> Result<Value, CallError> {
        let body = body.to_string();
        let mut attempt = 1;
        loop {
            let outcome = self.try_post(path, target, &body).await;
            let may_pass = match &outcome {
                Ok(_) => false,
                Err(CallError::Refused(code)) => THROTTLED.contains(&code.as_str()),
                Err(CallError::Unavailable(_)) => true,
            };
            if !may_pass || attempt == ATTEMPTS {
                return outcome;
            }
            // 100 ms, then 200, half of it by chance
            let milliseconds = 50_u64 << attempt;
            tokio::time::sleep(Duration::from_millis(milliseconds / 2 + fastrand::u64(..milliseconds / 2))).await;
            attempt += 1;
        }
    }

    /// Puts an event with this detail, which is JSON, on `EventBridge`'s default bus.
    ///
    /// # Errors
    /// When it may not have arrived.
    pub async fn put_event(&self, source: &str, detail_type: &str, detail: &str) -> Result<(), CallError> {
        let entry = json!({ "Source": source, "DetailType": detail_type, "Detail": detail });
        let answer = self.post("/", Some("AWSEvents.PutEvents"), &json!({ "Entries": [entry] })).await?;
        // The status is 200 even if the entry was refused.
        match answer["FailedEntryCount"].as_u64() {
            Some(0) => Ok(()),
            Some(_) => {
                Err(CallError::Refused(answer["Entries"][0]["ErrorCode"].as_str().unwrap_or("unknown").to_owned()))
            }
            None => Err(CallError::Unavailable("PutEvents: no FailedEntryCount".into())),
        }
    }

    async fn try_post(&self, path: &str, target: Option<&str>, body: &str) -> Result<Value, CallError> {
        let unavailable = |error: Box<dyn StdError + Send + Sync>| CallError::Unavailable(error);
        let request = self.signed(path, target, body).map_err(unavailable)?;
        let request = reqwest::Request::try_from(request).map_err(|error| unavailable(error.into()))?;
        let mut response = self.client.execute(request).await.map_err(|error| unavailable(error.into()))?;
        let status = response.status();
        let named = response.headers().get("x-amzn-errortype").and_then(|name| name.to_str().ok()).map(str::to_owned);
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| unavailable(error.into()))? {
            answer.extend_from_slice(&chunk);
            if answer.len() > MAX_ANSWER_BYTES {
                return Err(unavailable("the answer is too large".into()));
            }
        }
        let answer: Option<Value> = serde_json::from_slice(&answer).ok();
        if status.is_success() {
            return answer.ok_or_else(|| unavailable("the answer is not JSON".into()));
        }
        let code = named.or_else(|| Some(answer?.get("__type")?.as_str()?.to_owned()));
        match code {
            // com.amazonaws.cognito#UserNotFoundException, UserNotFoundException:http://…
            Some(code) if status.is_client_error() => {
                let code = code.rsplit('#').next().unwrap_or_default();
                Err(CallError::Refused(code.split(':').next().unwrap_or_default().to_owned()))
            }
            _ => Err(unavailable(format!("status {status}").into())),
        }
    }

    /// The request with its signature (AWS Signature Version 4).
    fn signed(
        &self,
        path: &str,
        target: Option<&str>,
        body: &str,
    ) -> Result<Request<String>, Box<dyn StdError + Send + Sync>> {
        let Settings { api, region, credentials, .. } = &self.settings;
        let media_type = if target.is_some() { "application/x-amz-json-1.1" } else { "application/json" };
        let mut request = Request::post(self.settings.url(path)).header(CONTENT_TYPE, media_type);
        if let Some(target) = target {
            request = request.header("x-amz-target", target);
        }
        let mut request = request.body(body.to_owned())?;
        let identity = aws_smithy_runtime_api::client::identity::Identity::from(credentials.clone());
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name(api.signing_name)
            .time((self.clock)())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let uri = request.uri().to_string();
        let headers = request.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let signable = SignableRequest::new("POST", uri, headers, SignableBody::Bytes(body.as_bytes()))?;
        let (instructions, _) = sign(signable, &parameters)?.into_parts();
        instructions.apply_to_request_http1x(&mut request);
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
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
        let settings = Settings::read(Api::COGNITO, &mut environment).unwrap();
        assert!(!format!("{settings:?}").contains("wJalr"), "credentials aren't printed");
        Service::new(settings, clock).unwrap()
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
    fn the_signature_is_the_one_that_another_implementation_makes() {
        let request = service(None)
            .signed("/", Some("AWSCognitoIdentityProviderService.AdminGetUser"), r#"{"UserPoolId":"us-west-1_abc"}"#)
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
        let request = service_in("cn-north-1", None).signed("/", None, "{}").unwrap();
        assert_eq!(request.uri(), "https://cognito-idp.cn-north-1.amazonaws.com.cn/");
    }

    #[tokio::test]
    async fn an_answer_is_given_as_it_is_and_a_refusal_by_its_code() {
        let (answer, asked) = call(&[("200 OK", r#"{"Enabled":true}"#)]).await;
        assert_eq!((answer.unwrap(), asked), (serde_json::json!({ "Enabled": true }), 1));
        for (head, body) in [
            ("400 Bad Request", r#"{"__type":"UserNotFoundException","message":"User does not exist."}"#),
            ("400 Bad Request", r#"{"__type":"com.amazonaws.cognito#UserNotFoundException"}"#),
            ("404 Not Found\r\nx-amzn-errortype: UserNotFoundException:http://internal.amazon.com/", ""),
        ] {
            let (refused, asked) = call(&[(head, body)]).await;
            assert!(matches!(refused, Err(CallError::Refused(code)) if code == "UserNotFoundException"));
            assert_eq!(asked, 1);
        }
    }

    #[tokio::test]
    async fn trouble_that_may_pass_is_tried_three_times_and_is_never_taken_for_a_refusal() {
        let good = ("200 OK", "{}");
        let throttled = ("400 Bad Request", r#"{"__type":"TooManyRequestsException"}"#);
        let broken = ("500 Oops", r#"{"__type":"InternalErrorException"}"#);
        let babble = ("200 OK", "<html>");
        assert!(matches!(call(&[throttled, broken, good]).await, (Ok(_), 3)));
        for trouble in [broken, babble, ("302 Found\r\nlocation: http://127.0.0.1:1/", ""), ("404 Not Found", "")] {
            let (outcome, asked) = call(&[trouble, trouble, trouble, good]).await;
            assert!(matches!(outcome, Err(CallError::Unavailable(_))), "{trouble:?}");
            assert_eq!(asked, 3);
        }
        assert!(matches!(call(&[throttled, throttled, throttled]).await, (Err(CallError::Refused(_)), 3)));
    }
}
