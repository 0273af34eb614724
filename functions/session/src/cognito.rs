use lambda_http::Request;
use serde_json::{Value, json};
use vega_auth::Timestamp;
use vega_auth::config::{Environment, text};
use vega_aws::{CallError, Service, Settings};
use vega_http::{Answer, Handler, Problem};

use crate::{Issuer, Tokens};

/// The answers to a refresh token that doesn't continue a session: it is expired, revoked, replaced or malformed, or its person
/// was deleted, disabled or must choose a new password.
const ENDED: [&str; 6] = [
    "InvalidParameterException",
    "NotAuthorizedException",
    "PasswordResetRequiredException",
    "RefreshTokenReuseException",
    "UserNotConfirmedException",
    "UserNotFoundException",
];

/// Configuration, read from environment variables.
pub struct Config {
    /// Region and endpoint.
    pub aws: Settings,
    /// The app client that the refresh tokens are issued to.
    pub client_id: String,
}

impl Config {
    /// The problems are collected in `environment`.
    pub fn read(environment: &mut Environment<'_>) -> Option<Self> {
        let aws = Settings::read(environment);
        let client_id = environment.required("VEGA_COGNITO_APP_CLIENT_ID", text);
        Some(Self { aws: aws?, client_id: client_id? })
    }
}

/// The user pool's app client, as the issuer of refresh tokens.
pub struct Cognito {
    /// The calls that need no credentials.
    pub pool: Service,
    /// The app client.
    pub client_id: String,
}

impl Cognito {
    async fn call(&self, operation: &str, body: &Value) -> Result<Option<Value>, Problem> {
        let target = format!("AWSCognitoIdentityProviderService.{operation}");
        match self.pool.send("/", Some(&target), body.to_string().into()).await {
            Ok(answer) => Ok(Some(serde_json::from_slice(&answer).unwrap_or_default())),
            Err(CallError::Refused(code)) if ENDED.contains(&code.as_str()) => Ok(None),
            Err(error) => Err(Problem::fault("user_pool", &error)),
        }
    }
}

impl Issuer for Cognito {
    async fn renew(&self, refresh_token: &str, _: Timestamp) -> Result<Option<Tokens>, Problem> {
        let body = json!({ "ClientId": self.client_id, "RefreshToken": refresh_token });
        let Some(answer) = self.call("GetTokensFromRefreshToken", &body).await? else { return Ok(None) };
        let result = &answer["AuthenticationResult"];
        let text = |name: &str| result[name].as_str().map(str::to_owned);
        match (text("AccessToken"), result["ExpiresIn"].as_i64()) {
            (Some(access_token), Some(expires_in)) => {
                Ok(Some(Tokens { access_token, expires_in, refresh_token: text("RefreshToken") }))
            }
            _ => Err(Problem::fault("user_pool", &"no access token in the answer")),
        }
    }

    async fn revoke(&self, refresh_token: &str) -> Result<(), Problem> {
        let body = json!({ "ClientId": self.client_id, "Token": refresh_token });
        self.call("RevokeToken", &body).await.map(drop)
    }
}

impl Handler for Cognito {
    async fn handle(&self, request: &Request, now: Timestamp) -> Answer {
        crate::handle(self, request, now).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use http::StatusCode;
    use http::header::SET_COOKIE;
    use vega_aws::Api;
    use vega_http::Code;
    use vega_https_client::HttpsClient;
    use vega_testing::{NOW, Reply, TestServer};

    use super::*;
    use crate::tests::request;

    async fn pool(replies: impl IntoIterator<Item = (&'static str, &'static str)>) -> (Cognito, TestServer) {
        let replies = replies.into_iter().map(|(status, body)| Reply::status(status, body));
        let server = TestServer::start_in_turn(replies, Reply::Hang).await;
        let url = server.url().to_owned();
        let mut environment = Environment::new(move |name| match name {
            "AWS_ENDPOINT_URL" => Some(url.clone()),
            "AWS_REGION" | "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" | "VEGA_COGNITO_APP_CLIENT_ID" => {
                Some("x".into())
            }
            _ => None,
        });
        let Config { aws, client_id } = Config::read(&mut environment).unwrap();
        let service = Service::new(HttpsClient::new(None).unwrap(), aws, Api::SIGN_IN, || SystemTime::UNIX_EPOCH);
        (Cognito { pool: service.unwrap(), client_id }, server)
    }

    #[tokio::test]
    async fn a_rotated_refresh_token_replaces_the_cookie() {
        let renewed =
            r#"{"AuthenticationResult":{"AccessToken":"a.b.c","ExpiresIn":3600,"IdToken":"i","RefreshToken":"next"}}"#;
        let (cognito, server) = pool([("200 OK", renewed)]).await;
        let answer = cognito.handle(&request("POST", Some("__Secure-vega-session=old"), None), NOW).await.unwrap();
        assert!(answer.headers()[SET_COOKIE].to_str().unwrap().starts_with("__Secure-vega-session=next; "));
        let body: Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(body, json!({ "access_token": "a.b.c", "token_type": "Bearer", "expires_in": 3600 }));
        let sent = server.requests().concat().to_lowercase();
        assert!(sent.contains("gettokensfromrefreshtoken") && sent.contains(r#""refreshtoken":"old""#));
        assert!(!sent.contains("authorization:"), "Cognito takes this call without credentials");
    }

    #[tokio::test]
    async fn a_fault_of_the_pool_is_503_and_keeps_the_session() {
        for (status, body) in [
            ("500 Oops", "{}"),
            ("400 Bad Request", r#"{"__type":"TooManyRequestsException"}"#),
            ("400 Bad Request", r#"{"__type":"ResourceNotFoundException"}"#),
            ("200 OK", "{}"),
        ] {
            let (cognito, _server) = pool([(status, body); 3]).await;
            let problem = cognito.handle(&request("POST", Some("__Secure-vega-session=old"), None), NOW).await;
            let response = problem.unwrap_err().into_response();
            assert_eq!(
                (response.status().as_u16(), response.headers().get(SET_COOKIE)),
                (503, None),
                "{status} {body}"
            );
        }
    }

    #[tokio::test]
    async fn a_token_that_the_pool_refuses_ends_the_session() {
        for code in ENDED {
            let body: &'static str = format!(r#"{{"__type":"{code}","message":"no"}}"#).leak();
            let (cognito, _server) = pool([("400 Bad Request", body)]).await;
            let problem = cognito.handle(&request("POST", Some("__Secure-vega-session=old"), None), NOW).await;
            assert_eq!(problem.unwrap_err().code, Code::InvalidToken, "{code}");
        }
    }

    #[tokio::test]
    async fn signing_out_revokes_the_token_at_the_pool() {
        let (cognito, server) = pool([("200 OK", "{}")]).await;
        let answer = cognito.handle(&request("DELETE", Some("__Secure-vega-session=old"), None), NOW).await.unwrap();
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        let sent = server.requests().concat();
        assert!(sent.contains("AWSCognitoIdentityProviderService.RevokeToken") && sent.contains(r#""Token":"old""#));
    }

    #[tokio::test]
    async fn signing_out_clears_the_cookie_even_without_the_pool() {
        let (cognito, _server) = pool([("500 Oops", "{}"); 3]).await;
        let problem = cognito.handle(&request("DELETE", Some("__Secure-vega-session=old"), None), NOW).await;
        let response = problem.unwrap_err().into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers()[SET_COOKIE].to_str().unwrap().contains("; Max-Age=0"));
    }
}
