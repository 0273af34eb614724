//! `/v1/session/token`: keeps a person signed in to the dashboard. The refresh token is in a cookie that no script can read and
//! that only these routes receive; the page itself has access tokens only.
//!
//! docs/security.md, "The dashboard's session", lists the attacks on it.

mod cognito;

use std::time::Duration;

use http::header::{COOKIE, HeaderValue, SET_COOKIE};
use http::{Response, StatusCode};
use lambda_http::{Body, Request};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json as example;
use vega_auth::Timestamp;
use vega_http::{
    Answer, Code, Problem, ProblemType, RequestProblem, body_bytes, empty, json, read_json, route, within,
};
use vega_openapi::Route;

pub use crate::cognito::{Cognito, Config};

/// The function's name in the log.
pub const FUNCTION: &str = "session";
/// The path of all routes.
pub const PATH: &str = "/v1/session/token";
/// Deadline for a request: shorter than Lambda's, which would end it without a response.
const DEADLINE: Duration = Duration::from_secs(8);

/// The cookie. Browsers accept this prefix only together with `Secure`.
const NAME: &str = "__Secure-vega-session";
/// Without `Path`, the browser sends the cookie to paths below its request's folder (RFC 6265 section 5.1.4), here `/v1/session`,
/// whatever stage or base path is before it. Without `Max-Age`, it ends with the browser. Without `Domain`, no subdomain gets it.
const ATTRIBUTES: &str = "HttpOnly; Secure; SameSite=Strict";
/// Browsers drop cookies over 4096 bytes. Cognito's refresh tokens have 1,800.
const MAX_TOKEN: usize = 4000;

/// The issuer of refresh tokens.
pub trait Issuer: Sync {
    /// New tokens. `None` if the refresh token is expired, revoked or not one.
    fn renew(
        &self,
        refresh_token: &str,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<Tokens>, Problem>> + Send;

    /// Revokes the refresh token and its successors.
    fn revoke(&self, refresh_token: &str) -> impl Future<Output = Result<(), Problem>> + Send;
}

/// The result of a renewal.
pub struct Tokens {
    /// For `Authorization: Bearer`.
    pub access_token: String,
    /// The access token's lifetime, in seconds.
    pub expires_in: i64,
    /// The refresh token's successor, if the issuer rotates it.
    pub refresh_token: Option<String>,
}

/// The request that begins a session.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewSession {
    /// The refresh token of the sign-in.
    refresh_token: String,
}

/// RFC 6749 section 5.1, without the refresh token, which is in the cookie.
#[derive(Serialize, JsonSchema)]
struct SessionToken {
    /// For `Authorization: Bearer`.
    access_token: String,
    /// The authentication scheme.
    #[schemars(extend("const" = "Bearer"))]
    token_type: &'static str,
    /// The access token's lifetime, in seconds.
    expires_in: i64,
}

/// The problem types of the session.
#[derive(Debug, thiserror::Error)]
enum SessionProblem {
    #[error("Only the dashboard can use its session: no other site, and no program. Programs use an API key.")]
    AnotherSite,
    #[error("There is no session, or it has ended. Sign in.")]
    Ended,
}

impl ProblemType for SessionProblem {
    fn code(&self) -> Code {
        match self {
            Self::AnotherSite => Code::Forbidden,
            Self::Ended => Code::InvalidToken,
        }
    }
}

/// The routes, as docs/openapi.json describes them.
pub fn routes() -> Vec<Route> {
    let same_origin = |route: Route| {
        route
            .header(
                "Sec-Fetch-Site",
                "Set by the browser: only the page of the same origin can use its session.",
                &example!({ "const": "same-origin" }),
            )
            .error(&SessionProblem::AnotherSite)
    };
    vec![
        Route::public("POST /v1/session/token", "renewSession", "Get an access token for the dashboard's session")
            .with(same_origin)
            .description(
                "With a refresh token in the body, a session begins; without a body, the session in the cookie continues. The \
                 cookie contains the refresh token, and scripts can't read it.",
            )
            .body::<NewSession>(example!({ "refresh_token": "eyJ…" }))
            .optional_body()
            .json::<SessionToken>(
                200,
                "The access token. `Set-Cookie` keeps the refresh token.",
                example!({ "access_token": "eyJ…", "token_type": "Bearer", "expires_in": 3600 }),
            )
            .error(&SessionProblem::Ended),
        Route::public("DELETE /v1/session/token", "endSession", "End the dashboard's session")
            .with(same_origin)
            .description("Revokes the refresh token and deletes the cookie; the latter also after a 503.")
            .no_content(204, "The session has ended."),
    ]
}

/// Responds to a request at `now`: 403 unless it is from a page of the API's own origin.
pub async fn handle(issuer: &impl Issuer, request: &Request, now: Timestamp) -> Answer {
    // No page can set this header. It also tells a subdomain's page apart, which SameSite doesn't.
    if request.headers().get("sec-fetch-site").is_none_or(|site| site != "same-origin") {
        return Err(SessionProblem::AnotherSite.into());
    }
    match route(request).split_once(' ') {
        Some(("POST", PATH)) => within(DEADLINE, renew(issuer, request, now)).await,
        Some(("DELETE", PATH)) => {
            let revoked = within(DEADLINE, revoke(issuer, request)).await;
            revoked.map_err(|problem| problem.with_header(SET_COOKIE, HeaderValue::from_static(CLEARED)))
        }
        _ => Err(RequestProblem::NoSuchRoute.into()),
    }
}

/// Deletes the cookie.
const CLEARED: &str = "__Secure-vega-session=; Max-Age=0; HttpOnly; Secure; SameSite=Strict";

async fn renew(issuer: &impl Issuer, request: &Request, now: Timestamp) -> Answer {
    let given = if body_bytes(request).is_empty() {
        cookie(request)
    } else {
        Some(read_json::<NewSession>(request)?.refresh_token)
    };
    let renewed = match &given {
        Some(refresh_token) if is_token(refresh_token) => issuer.renew(refresh_token, now).await?,
        _ => None,
    };
    let (Some(given), Some(tokens)) = (given, renewed) else {
        let problem = Problem::from(SessionProblem::Ended);
        return Err(problem.with_header(SET_COOKIE, HeaderValue::from_static(CLEARED)));
    };
    let refresh_token = tokens.refresh_token.filter(|next| is_token(next)).unwrap_or(given);
    let (access_token, expires_in) = (tokens.access_token, tokens.expires_in);
    let answer = json(200, &SessionToken { access_token, token_type: "Bearer", expires_in })?;
    with_cookie(answer, &format!("{NAME}={refresh_token}; {ATTRIBUTES}"))
}

async fn revoke(issuer: &impl Issuer, request: &Request) -> Answer {
    if let Some(refresh_token) = cookie(request).filter(|text| is_token(text)) {
        issuer.revoke(&refresh_token).await?;
    }
    with_cookie(empty(StatusCode::NO_CONTENT), CLEARED)
}

fn with_cookie(mut response: Response<Body>, cookie: &str) -> Answer {
    let value = HeaderValue::from_str(cookie).map_err(|error| Problem::fault("unwritable_answer", &error))?;
    response.headers_mut().insert(SET_COOKIE, value);
    Ok(response)
}

/// The session's cookie. Two of them mean that another site of the domain set one, and we can't tell which: then there is none.
fn cookie(request: &Request) -> Option<String> {
    let headers = request.headers().get_all(COOKIE).into_iter().filter_map(|header| header.to_str().ok());
    let mut found = headers
        .flat_map(|header| header.split(';'))
        .filter_map(|pair| pair.trim().strip_prefix(NAME)?.strip_prefix('='));
    let only = found.next()?;
    found.next().is_none().then(|| only.to_owned())
}

/// A JWT, a JWE or another token of RFC 6750's characters: nothing that could end the cookie's value.
fn is_token(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    (1..=MAX_TOKEN).contains(&text.len()) && text.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use vega_testing::NOW;

    use super::*;

    /// An issuer with one valid refresh token, which it doesn't rotate.
    struct One;

    impl Issuer for One {
        async fn renew(&self, refresh_token: &str, _: Timestamp) -> Result<Option<Tokens>, Problem> {
            let tokens = Tokens { access_token: "access".into(), expires_in: 60, refresh_token: None };
            Ok((refresh_token == "valid").then_some(tokens))
        }

        async fn revoke(&self, refresh_token: &str) -> Result<(), Problem> {
            assert_eq!(refresh_token, "valid");
            Ok(())
        }
    }

    pub(crate) fn request(method: &str, cookie: Option<&str>, body: Option<&str>) -> Request {
        request_from(Some("same-origin"), method, cookie, body)
    }

    fn request_from(site: Option<&str>, method: &str, cookie: Option<&str>, body: Option<&str>) -> Request {
        let mut headers = example!({ "content-type": "application/json" });
        for (name, value) in [("sec-fetch-site", site), ("cookie", cookie)] {
            if let Some(value) = value {
                headers[name] = value.into();
            }
        }
        let event = example!({
            "httpMethod": method, "path": PATH, "resource": PATH, "headers": headers, "multiValueHeaders": {},
            "body": body, "isBase64Encoded": false,
            "requestContext": { "stage": "live", "httpMethod": method, "resourcePath": PATH, "identity": {} }
        });
        lambda_http::request::from_str(&event.to_string()).unwrap()
    }

    async fn call(request: Request) -> (u16, String) {
        let response = handle(&One, &request, NOW).await.unwrap_or_else(Problem::into_response);
        let cookie = response.headers().get(SET_COOKIE).map(|value| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), cookie.unwrap_or_default())
    }

    const VALID: &str = "__Secure-vega-session=valid";

    #[tokio::test]
    async fn no_script_and_no_other_route_gets_the_refresh_token() {
        let begun = handle(&One, &request("POST", None, Some(r#"{"refresh_token":"valid"}"#)), NOW).await.unwrap();
        let cookie = begun.headers()[SET_COOKIE].to_str().unwrap();
        // Neither Path nor Domain: the route's own folder, on this host only.
        assert_eq!(cookie, "__Secure-vega-session=valid; HttpOnly; Secure; SameSite=Strict");
        let body: serde_json::Value = serde_json::from_slice(begun.body()).unwrap();
        assert_eq!(body, example!({ "access_token": "access", "token_type": "Bearer", "expires_in": 60 }));
    }

    #[tokio::test]
    async fn the_cookie_alone_continues_the_session() {
        let (status, cookie) = call(request("POST", Some(&format!("a=b; {VALID}; c=d")), None)).await;
        assert_eq!((status, cookie.starts_with(VALID)), (200, true));
    }

    #[tokio::test]
    async fn only_a_page_of_the_same_origin_uses_the_session() {
        for site in [None, Some("same-site"), Some("cross-site"), Some("none"), Some("same-origin, same-origin")] {
            for (method, body) in [("POST", None), ("POST", Some(r#"{"refresh_token":"valid"}"#)), ("DELETE", None)] {
                let answer = call(request_from(site, method, Some(VALID), body)).await;
                assert_eq!(answer, (403, String::new()), "{site:?} {method}");
            }
        }
    }

    #[tokio::test]
    async fn a_session_that_isnt_valid_ends_and_clears_its_cookie() {
        let long = "x".repeat(MAX_TOKEN + 1);
        for value in ["", "revoked", "a b", "\"valid\"", long.as_str()] {
            let (status, cookie) = call(request("POST", Some(&format!("__Secure-vega-session={value}")), None)).await;
            assert_eq!((status, cookie.as_str()), (401, CLEARED), "{value}");
        }
        assert_eq!(call(request("POST", None, None)).await.0, 401);
        let forged = example!({ "refresh_token": "valid; Domain=example.com" }).to_string();
        assert_eq!(call(request("POST", None, Some(&forged))).await, (401, CLEARED.into()));
    }

    #[tokio::test]
    async fn two_session_cookies_are_none() {
        for cookies in [format!("{VALID}; __Secure-vega-session=other"), format!("{VALID}; {VALID}")] {
            assert_eq!(call(request("POST", Some(&cookies), None)).await.0, 401);
        }
        assert_eq!(call(request("POST", Some("__Secure-vega-session-2=valid"), None)).await.0, 401);
    }

    #[tokio::test]
    async fn signing_out_deletes_the_cookie_with_or_without_a_session() {
        for cookie in [Some(VALID), None, Some("__Secure-vega-session=\"\"")] {
            assert_eq!(call(request("DELETE", cookie, None)).await, (204, CLEARED.into()));
        }
    }
}
