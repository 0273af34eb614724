//! The requests to a function, and the required responses.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::Failure;
use crate::credentials::{self, Issuer};
use crate::instance::Reply;

/// The kinds of request, each with its own cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// A JWT that the function hasn't verified before.
    NewJwt,
    /// The same JWT every time.
    SameJwt,
    /// A JWT with an invalid signature.
    BadSignature,
    /// An expired JWT.
    Expired,
    /// Three dot-separated parts that aren't a JWT.
    Malformed,
    /// A key in the table.
    Key,
    /// The form of a key with a wrong checksum.
    BadChecksum,
}

impl Case {
    /// In the order of the table.
    pub const ALL: [Self; 7] =
        [Self::NewJwt, Self::SameJwt, Self::BadSignature, Self::Expired, Self::Malformed, Self::Key, Self::BadChecksum];

    /// The label in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::NewJwt => "new JWT",
            Self::SameJwt => "repeated JWT",
            Self::BadSignature => "invalid signature",
            Self::Expired => "expired JWT",
            Self::Malformed => "malformed JWT",
            Self::Key => "key, consistent read",
            Self::BadChecksum => "key with a wrong checksum",
        }
    }

    /// Request number `number` of this kind, and the caller's id; `None` if it must be rejected.
    pub fn request(self, issuer: &Issuer, number: u64) -> Result<(Bytes, Option<String>), Failure> {
        let person = credentials::person(number % 1000);
        let (credential, caller) = match self {
            Self::NewJwt => (issuer.token(number % 1000, number, 3600)?, Some(person)),
            Self::SameJwt => (issuer.token(7, 0, 3600)?, Some(credentials::person(7))),
            Self::BadSignature => (altered(&issuer.token(number % 1000, number, 3600)?, 20), None),
            // Beyond jsonwebtoken's default leeway of one minute.
            Self::Expired => (issuer.token(number % 1000, number, -120)?, None),
            Self::Malformed => {
                (issuer.token(number % 1000, number, 3600)?.replacen('.', ".!", 1).replace('!', "*"), None)
            }
            Self::Key => (credentials::key(number).expose().to_owned(), Some(credentials::owner_of(number))),
            Self::BadChecksum => (altered(credentials::key(number).expose(), 1), None),
        };
        Ok((event(&credential), caller))
    }
}

/// The text with another character at this position from the end.
fn altered(text: &str, from_end: usize) -> String {
    let at = text.len() - from_end;
    let other = if text.as_bytes().get(at) == Some(&b'A') { 'B' } else { 'A' };
    text.char_indices().map(|(index, character)| if index == at { other } else { character }).collect()
}

/// A measured function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Allows everybody.
    Hello,
    /// This project's authorizer.
    Authorizer,
    /// A plain authorizer.
    Naive,
}

impl Subject {
    /// In the order of the table.
    pub const ALL: [Self; 3] = [Self::Hello, Self::Authorizer, Self::Naive];

    /// Fails when the response is wrong.
    pub fn check(self, case: Case, reply: &Reply, caller: Option<&str>) -> Result<(), Failure> {
        self.check_caller(reply, caller).map_err(|problem| format!("{case:?}: {problem}").into())
    }

    /// Fails when the response doesn't name `caller`, or accepts a request without one.
    pub fn check_caller(self, reply: &Reply, caller: Option<&str>) -> Result<(), Failure> {
        let body: Value = serde_json::from_slice(&reply.body)?;
        let is_allowed = reply.is_result && body["policyDocument"]["Statement"][0]["Effect"] == "Allow";
        let is_right = match (self, caller) {
            (Self::Hello, _) => is_allowed,
            (_, Some(caller)) => is_allowed && body["context"]["id"] == caller,
            (_, None) => !reply.is_result && body["errorMessage"] == "Unauthorized",
        };
        if is_right { Ok(()) } else { Err(format!("{self:?} answered {body}").into()) }
    }
}

/// A REST API's event for a browser's request.
pub fn event(credential: &str) -> Bytes {
    let headers = [
        ("Accept", "application/json, text/plain, */*"),
        ("Accept-Encoding", "gzip, deflate, br, zstd"),
        ("Accept-Language", "en-GB,en;q=0.9,de;q=0.8"),
        ("Host", "abcdef1234.execute-api.us-west-1.amazonaws.com"),
        ("Origin", "https://app.example.com"),
        ("Referer", "https://app.example.com/projects"),
        (
            "User-Agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
        ),
        ("X-Amzn-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700"),
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Forwarded-Port", "443"),
        ("X-Forwarded-Proto", "https"),
        ("sec-fetch-dest", "empty"),
        ("sec-fetch-mode", "cors"),
        ("sec-fetch-site", "same-site"),
    ];
    let authorization = format!("Bearer {credential}");
    let all = || headers.into_iter().chain([("Authorization", authorization.as_str())]);
    let single: serde_json::Map<_, _> = all().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    let multi: serde_json::Map<_, _> = all().map(|(name, value)| (name.to_owned(), json!([value]))).collect();
    let event = json!({
        "type": "REQUEST",
        "methodArn": "arn:aws:execute-api:us-west-1:123456789012:abcdef1234/live/GET/v1/projects",
        "resource": "/v1/projects", "path": "/v1/projects", "httpMethod": "GET",
        "headers": single, "multiValueHeaders": multi,
        "queryStringParameters": { "limit": "50" }, "multiValueQueryStringParameters": { "limit": ["50"] },
        "pathParameters": {}, "stageVariables": {},
        "requestContext": {
            "resourceId": "xyz123", "resourcePath": "/v1/projects", "httpMethod": "GET", "path": "/live/v1/projects",
            "extendedRequestId": "JnJ1kHzqDoEFgXA=", "requestTime": "24/Nov/2026:05:00:00 +0000",
            "requestTimeEpoch": 1_795_496_400_000_u64, "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "accountId": "123456789012", "apiId": "abcdef1234", "stage": "live", "protocol": "HTTP/1.1",
            "domainPrefix": "abcdef1234", "domainName": "abcdef1234.execute-api.us-west-1.amazonaws.com",
            "identity": {
                "cognitoIdentityPoolId": null, "accountId": null, "cognitoIdentityId": null, "caller": null,
                "sourceIp": "192.0.2.1", "principalOrgId": null, "accessKey": null,
                "cognitoAuthenticationType": null, "cognitoAuthenticationProvider": null, "userArn": null,
                "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36", "user": null,
            },
        },
    });
    Bytes::from(event.to_string())
}
