//! `POST /v1/auth/login` and `POST /v1/auth/refresh` of provider `custom`: one debug user, on a developer's machine.
//!
//! No user database, no password hashing, no MFA: it exists to make local development convenient. [`DebugLogin::read`]
//! refuses to start it anywhere else.

use std::fmt;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use lambda_http::Request;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json as example;
use subtle::ConstantTimeEq as _;
use vega_auth::config::{Environment, Provider, text};
use vega_auth::{BearerToken, Claims, Groups, HmacSecret, Timestamp, TokenUse, UnverifiedJwt};
use vega_http::{Answer, Code, Handler, Problem, ProblemType, RequestProblem, json, read_json, route};
use vega_openapi::Route;

/// Lifetime of an access token.
const ACCESS_SECONDS: i64 = 60 * 60;
/// Lifetime of a refresh token.
const REFRESH_SECONDS: i64 = 30 * 24 * 60 * 60;

/// The login: its one user, and the keys that sign and verify tokens.
pub struct DebugLogin {
    user: DebugUser,
    sign: EncodingKey,
    verify: HmacSecret,
}

struct DebugUser {
    email: String,
    password: Password,
    groups: Groups,
}

/// A password. It can't be printed.
#[derive(Deserialize, JsonSchema)]
#[schemars(inline, extend("format" = "password"))]
struct Password(String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(redacted)")
    }
}

/// The debug user's credentials.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Credentials {
    /// The debug user's address.
    email: String,
    /// The debug user's password.
    password: Password,
}

/// A request for a new access token.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RefreshRequest {
    /// The login's refresh token.
    refresh_token: String,
}

/// RFC 6749 section 5.1.
#[derive(Serialize, JsonSchema)]
struct Tokens {
    /// For `Authorization: Bearer`.
    access_token: String,
    /// For `POST /v1/auth/refresh`; only the login returns one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    refresh_token: Option<String>,
    /// The authentication scheme.
    #[schemars(extend("const" = "Bearer"))]
    token_type: &'static str,
    /// Access token lifetime, in seconds.
    expires_in: i64,
}

/// The problem types of the login.
#[derive(Debug, thiserror::Error)]
enum LoginProblem {
    #[error("The e-mail address or the password is wrong.")]
    WrongCredentials,
    #[error("The refresh token is malformed or expired. Sign in again.")]
    InvalidRefreshToken,
}

impl ProblemType for LoginProblem {
    fn code(&self) -> Code {
        match self {
            Self::WrongCredentials => Code::InvalidCredentials,
            Self::InvalidRefreshToken => Code::InvalidToken,
        }
    }
}

/// The routes, as docs/openapi.json describes them.
pub fn routes() -> Vec<Route> {
    vec![
        Route::public("POST /v1/auth/login", "login", "Sign the debug user in")
            .description("For provider custom only, on a developer's machine. With Cognito, people sign in at the user pool, over SRP.")
            .body::<Credentials>(example!({ "email": "debug@example.com", "password": "vega-debug-password" }))
            .json::<Tokens>(
                200,
                "The tokens.",
                example!({
                    "access_token": "eyJ…", "refresh_token": "eyJ…", "token_type": "Bearer", "expires_in": ACCESS_SECONDS,
                }),
            )
            .error(&LoginProblem::WrongCredentials),
        Route::public("POST /v1/auth/refresh", "refresh", "Renew the access token")
            .description("For provider custom only.")
            .body::<RefreshRequest>(example!({ "refresh_token": "eyJ…" }))
            .json::<Tokens>(
                200,
                "A new access token.",
                example!({ "access_token": "eyJ…", "token_type": "Bearer", "expires_in": ACCESS_SECONDS }),
            )
            .error(&LoginProblem::InvalidRefreshToken),
    ]
}

impl DebugLogin {
    /// Reads the provider, which must be `custom` on an emulator, and the debug user.
    pub fn read(environment: &mut Environment<'_>) -> Option<Self> {
        let provider = Provider::read(environment);
        let secret = environment.get("VEGA_AUTH_SECRET").unwrap_or_default();
        let email = environment.optional("VEGA_DEBUG_EMAIL", "debug@example.com".to_owned(), text);
        let password = environment.optional("VEGA_DEBUG_PASSWORD", "vega-debug-password".to_owned(), text);
        let groups = environment.optional("VEGA_DEBUG_GROUPS", Groups::named(["user"]), str::parse);
        match provider? {
            Provider::Custom(verify) => Some(Self {
                user: DebugUser { email: email?, password: Password(password?), groups: groups? },
                sign: EncodingKey::from_secret(secret.as_bytes()),
                verify,
            }),
            Provider::Cognito(_) => environment
                .problem("VEGA_AUTH_PROVIDER is cognito: sign in at Cognito; this login is for provider custom"),
        }
    }

    /// Responds to a request at `now`:
    /// 401 for a wrong password or refresh token, 400 for a malformed body.
    pub fn handle(&self, request: &Request, now: Timestamp) -> Answer {
        match route(request).as_str() {
            "POST /v1/auth/login" => self.login(&read_json(request)?, now),
            "POST /v1/auth/refresh" => self.refresh(&read_json(request)?, now),
            _ => Err(RequestProblem::NoSuchRoute.into()),
        }
    }

    /// Whether this is one of our refresh tokens, and still valid.
    fn is_valid(&self, refresh_token: &str, now: Timestamp) -> bool {
        let verified = BearerToken::new(refresh_token)
            .and_then(UnverifiedJwt::parse)
            .and_then(|token| token.verify_hs256(&self.verify))
            .and_then(|claims| claims.into_custom_user(TokenUse::Refresh, now));
        verified.is_ok()
    }

    fn login(&self, credentials: &Credentials, now: Timestamp) -> Answer {
        // Both are compared in constant time, so the response time reveals nothing about either.
        let email = credentials.email.as_bytes().ct_eq(self.user.email.as_bytes());
        let password = credentials.password.0.as_bytes().ct_eq(self.user.password.0.as_bytes());
        if !bool::from(email & password) {
            return Err(LoginProblem::WrongCredentials.into());
        }
        self.tokens(Some(self.issue(TokenUse::Refresh, REFRESH_SECONDS, now)?), now)
    }

    fn refresh(&self, request: &RefreshRequest, now: Timestamp) -> Answer {
        if !self.is_valid(&request.refresh_token, now) {
            return Err(LoginProblem::InvalidRefreshToken.into());
        }
        self.tokens(None, now)
    }

    fn tokens(&self, refresh_token: Option<String>, now: Timestamp) -> Answer {
        let access_token = self.issue(TokenUse::Access, ACCESS_SECONDS, now)?;
        json(200, &Tokens { access_token, refresh_token, token_type: "Bearer", expires_in: ACCESS_SECONDS })
    }

    fn issue(&self, token_use: TokenUse, lifetime_seconds: i64, now: Timestamp) -> Result<String, Problem> {
        let (subject, expiry) = (format!("debug:{}", self.user.email), now.plus(lifetime_seconds));
        let mut claims = Claims::custom(token_use, &subject, &self.user.email, now, expiry);
        claims.groups = self.user.groups.iter().map(|group| group.name().to_owned()).collect();
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.sign)
            .map_err(|error| Problem::fault("unsigned_token", &error))
    }
}

impl Handler for DebugLogin {
    async fn handle(&self, request: &Request, now: Timestamp) -> Answer {
        if route(request).ends_with(session::PATH) {
            return session::handle(self, request, now).await;
        }
        Self::handle(self, request, now)
    }
}

/// The dashboard's session, as at Cognito, except that nothing revokes a token.
impl session::Issuer for DebugLogin {
    async fn renew(&self, refresh_token: &str, now: Timestamp) -> Result<Option<session::Tokens>, Problem> {
        if !self.is_valid(refresh_token, now) {
            return Ok(None);
        }
        let access_token = self.issue(TokenUse::Access, ACCESS_SECONDS, now)?;
        Ok(Some(session::Tokens { access_token, expires_in: ACCESS_SECONDS, refresh_token: None }))
    }

    async fn revoke(&self, _: &str) -> Result<(), Problem> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use vega_auth::config::load;

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000);
    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn login(variables: &[(&str, &str)]) -> Result<DebugLogin, Vec<String>> {
        let mut all = vec![
            ("VEGA_AUTH_PROVIDER", "custom"),
            ("VEGA_AUTH_SECRET", SECRET),
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:4566"),
        ];
        all.extend(variables);
        let lookup =
            |name: &str| all.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        load("test", lookup, DebugLogin::read).map_err(|error| error.0)
    }

    fn post(path: &str, body: &str) -> Result<serde_json::Value, (Code, String)> {
        post_at(path, body, NOW)
    }

    fn post_at(path: &str, body: &str, now: Timestamp) -> Result<serde_json::Value, (Code, String)> {
        let event = serde_json::json!({
            "httpMethod": "POST", "path": path, "resource": path, "multiValueHeaders": {},
            "headers": { "content-type": "application/json" }, "body": body, "isBase64Encoded": false,
            "requestContext": { "stage": "live", "httpMethod": "POST", "resourcePath": path, "identity": {} }
        });
        let request = lambda_http::request::from_str(&event.to_string()).unwrap();
        login(&[])
            .unwrap()
            .handle(&request, now)
            .map(|response| serde_json::from_slice(response.body()).unwrap())
            .map_err(|problem| (problem.code, problem.detail))
    }

    fn tokens() -> (String, String) {
        let body = post("/v1/auth/login", r#"{"email":"debug@example.com","password":"vega-debug-password"}"#).unwrap();
        assert_eq!((body["token_type"].as_str(), body["expires_in"].as_i64()), (Some("Bearer"), Some(3600)));
        (body["access_token"].as_str().unwrap().to_owned(), body["refresh_token"].as_str().unwrap().to_owned())
    }

    fn verified(token: &str) -> Claims {
        let secret = HmacSecret::new_from_text(SECRET).unwrap();
        UnverifiedJwt::parse(BearerToken::new(token).unwrap()).unwrap().verify_hs256(&secret).unwrap()
    }

    #[test]
    fn the_documented_credentials_give_an_access_and_a_refresh_token() {
        let (access, refresh) = tokens();
        let user = |token, token_use, now| verified(token).into_custom_user(token_use, now);
        assert_eq!(user(&access, TokenUse::Access, NOW.plus(3599)).unwrap().groups, Groups::named(["user"]));
        assert!(user(&access, TokenUse::Access, NOW.plus(3600)).is_err());
        assert!(user(&refresh, TokenUse::Refresh, NOW).is_ok());
        assert!(user(&refresh, TokenUse::Access, NOW).is_err(), "no refresh token in the place of an access token");
    }

    #[test]
    fn a_wrong_email_and_a_wrong_password_look_the_same() {
        let wrong = |email, password| {
            post("/v1/auth/login", &serde_json::json!({ "email": email, "password": password }).to_string())
                .unwrap_err()
        };
        let answers = [
            wrong("debug@example.com", "wrong"),
            wrong("root@example.com", "vega-debug-password"),
            wrong("", ""),
            wrong("debug@example.com", &"x".repeat(10_000)),
        ];
        for answer in &answers {
            assert_eq!((answer.0, &answer.1), (Code::InvalidCredentials, &answers[0].1));
        }
    }

    #[test]
    fn a_bad_body_is_refused_by_what_is_wrong_with_it_and_not_repeated() {
        for (body, expected) in [
            ("", "is empty"),
            ("{", "not JSON"),
            (r#"{"email":"a"}"#, "password: required"),
            (r#"{"email":"a","password":"hunter2","admin":true}"#, "unknown member"),
            (r#"{"email":"a","password":"x","hunter2":true}"#, "expected email or password"),
            (r#"{"email":"a","password":["hunter2"]}"#, "expected a string"),
            (r#"{"email":"a","password":7}"#, "expected a string"),
        ] {
            let (code, detail) = post("/v1/auth/login", body).unwrap_err();
            assert_eq!(code, Code::InvalidBody, "{body}");
            assert!(detail.contains(expected), "{detail}");
            assert!(!detail.contains("hunter2"), "{detail}");
        }
        let huge = format!(r#"{{"email":"{}","password":"x"}}"#, "x".repeat(20_000));
        assert_eq!(post("/v1/auth/login", &huge).unwrap_err().0, Code::BodyTooLarge);
    }

    #[test]
    fn a_refresh_token_gives_a_new_access_token_until_it_expires() {
        let (access, refresh) = tokens();
        let body = serde_json::json!({ "refresh_token": refresh }).to_string();
        let later = NOW.plus(REFRESH_SECONDS - 1);
        let answer = post_at("/v1/auth/refresh", &body, later).unwrap();
        assert!(verified(answer["access_token"].as_str().unwrap()).into_custom_user(TokenUse::Access, later).is_ok());
        assert_eq!(post_at("/v1/auth/refresh", &body, NOW.plus(REFRESH_SECONDS)).unwrap_err().0, Code::InvalidToken);
        for token in [access.as_str(), "", "a.b.c", "vk_x"] {
            let body = serde_json::json!({ "refresh_token": token }).to_string();
            assert_eq!(post("/v1/auth/refresh", &body).unwrap_err().0, Code::InvalidToken);
        }
    }

    #[tokio::test]
    async fn the_session_lasts_as_long_as_its_refresh_token() {
        use session::Issuer as _;
        let (access, refresh) = tokens();
        let login = login(&[]).unwrap();
        let renewed = login.renew(&refresh, NOW.plus(REFRESH_SECONDS - 1)).await.unwrap().unwrap();
        assert!(verified(&renewed.access_token).into_custom_user(TokenUse::Access, NOW.plus(REFRESH_SECONDS)).is_ok());
        for (token, now) in [(refresh.as_str(), NOW.plus(REFRESH_SECONDS)), (access.as_str(), NOW), ("x", NOW)] {
            assert!(login.renew(token, now).await.unwrap().is_none());
        }
    }

    #[test]
    fn it_starts_only_as_provider_custom_on_an_emulator() {
        let problems = |variables: &[_]| login(variables).err().unwrap_or_default().join("\n");
        assert!(problems(&[("AWS_ENDPOINT_URL", "")]).contains("local development only"));
        assert!(problems(&[("VEGA_AUTH_SECRET", "short")]).contains("VEGA_AUTH_SECRET: expected at least 32 bytes"));
        assert!(problems(&[("VEGA_DEBUG_GROUPS", "user  admins")]).contains("a group's name has 1 to 128"));
        let cognito = [
            ("VEGA_AUTH_PROVIDER", "cognito"),
            ("VEGA_COGNITO_REGION", "us-west-1"),
            ("VEGA_COGNITO_USER_POOL_ID", "us-west-1_abc"),
            ("VEGA_COGNITO_APP_CLIENT_ID", "client"),
        ];
        assert!(problems(&cognito).contains("sign in at Cognito"));
    }

    #[test]
    fn a_password_cannot_be_printed() {
        let credentials: Credentials = serde_json::from_str(r#"{"email":"a","password":"hunter2"}"#).unwrap();
        assert!(!format!("{credentials:?}").contains("hunter2"));
    }
}
