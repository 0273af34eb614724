use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE, DATE};
use serde_json::{Value, json};
use vega_auth::config::is_emulator;
use vega_https_client::HttpsClient;

use crate::World;
use crate::arguments::Connection;
use crate::outcome::{Answer, Failure, about};
use crate::token::Token;

/// API Gateway answers within 29 s.
const DEADLINE: Duration = Duration::from_secs(30);
const MAX_RESPONSE_BYTES: usize = 8 * 1024 * 1024;

/// The deployed API.
pub struct Api {
    client: HttpsClient,
    url: String,
}

/// A response.
pub struct Response {
    pub status: u16,
    pub body: Value,
    /// The time at which it was sent.
    pub date: Option<String>,
}

impl Api {
    /// Refuses to send a credential without TLS, except to this machine.
    pub fn new(connection: &Connection, world: &World) -> Result<Self, Failure> {
        let url = connection.url.clone().or_else(|| (world.lookup)("VEGA_URL"));
        let url = url.ok_or_else(|| Failure("no API: set VEGA_URL, or pass --url".into()))?;
        let url = url.trim_end_matches('/').to_owned();
        if !url.starts_with("https://") && !is_emulator(&url) {
            return Err(about(&url, "expected a URL with https://, so that nobody can read the credential"));
        }
        let authorities = (world.lookup)("SSL_CERT_FILE").map(std::path::PathBuf::from);
        let client = HttpsClient::new(authorities.as_deref()).map_err(|error| Failure(error.to_string()))?;
        Ok(Self { client, url })
    }

    /// Calls a route.
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        token: Option<&Token>,
        body: Option<&Value>,
        headers: &[(&str, String)],
    ) -> Result<Response, Failure> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token.header());
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let request = request.body(body).map_err(|_| about(&self.url, "that isn't the URL of an API"))?;
        let response = tokio::time::timeout(DEADLINE, self.client.send(request, MAX_RESPONSE_BYTES)).await;
        let response = response
            .map_err(|_| about(&self.url, "no answer within 30 seconds"))?
            .map_err(|error| about(&self.url, format!("no answer: {}", vega_auth::error_chain(&*error))))?;
        let status = response.status().as_u16();
        let date = response.headers().get(DATE).and_then(|date| date.to_str().ok()).map(str::to_owned);
        let body = if response.body().is_empty() { Ok(Value::Null) } else { serde_json::from_slice(response.body()) };
        match body {
            Ok(body) if status < 300 || (status >= 400 && body["error"].is_string()) => {
                Ok(Response { status, body, date })
            }
            _ => Err(about(&self.url, format!("status {status}, and not in the form of Vega Auth: is this its URL?"))),
        }
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Calls a route, and returns the body or the API's refusal.
    pub async fn get(&self, path: &str, token: &Token) -> Result<Result<Value, Answer>, Failure> {
        self.call("GET", path, Some(token), None, &[]).await?.accepted()
    }
}

impl Response {
    /// The body, or the refusal. That something is temporarily unavailable proves nothing.
    pub fn accepted(self) -> Result<Result<Value, Answer>, Failure> {
        let Self { status, body, date: _ } = self;
        if status < 400 {
            return Ok(Ok(body));
        }
        let [error, detail] = ["error", "detail"].map(|name| body[name].as_str().unwrap_or_default());
        let text = format!("{status} {error}: {detail}");
        if status == 429 || status >= 500 {
            return Err(Failure(text));
        }
        Ok(Err(Answer::problem(text, json!({ "status": status, "error": error, "detail": detail }))))
    }
}

/// A value for a path or a query.
pub fn encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    text.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
