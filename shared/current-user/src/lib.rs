//! The caller of a function behind the Vega authorizer, for any team's API.
//!
//! The authorizer writes the caller into the request context, which no client can. A function reads it from there and rejects a
//! request without one: it didn't come through the authorizer.
//!
//! With `lambda_http`:
//! ```
//! use lambda_http::{Body, Error, Request, Response};
//! use vega_current_user::CurrentUser;
//!
//! async fn orders(request: Request) -> Result<Response<Body>, Error> {
//!     let user = match CurrentUser::of(&request) {
//!         Ok(user) => user,
//!         Err(unauthenticated) => return Ok(unauthenticated.response()),
//!     };
//!     Ok(Response::new(format!("orders of {}", user.id).into()))
//! }
//! ```
//!
//! With axum, under `lambda_http::run`, [`CurrentUser`] is an extractor: the default feature `axum`.

use lambda_http::http::StatusCode;
use lambda_http::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, RequestExt as _, Response};

/// The caller, as the authorizer identified them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CurrentUser {
    /// The stable id. Store this one.
    pub id: String,
    /// The name to show. It can change and isn't unique, so decide nothing by it.
    pub username: String,
    /// The groups that apply to this request.
    pub groups: Vec<String>,
    /// The credential that identified the caller.
    pub authenticated_by: Credential,
    /// The OAuth scopes of resource servers in an access token, `{resource server}/{name}`.
    pub oauth_scopes: Vec<String>,
}

/// The kind of credential, and of caller.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credential {
    /// An access token of a person of the deployment's own user pool.
    Jwt,
    /// An access token of a person of another pool.
    OtherPool,
    /// An access token of a program that acts for itself.
    Machine,
    /// An API key: a program that acts for its owner.
    #[non_exhaustive]
    ApiKey {
        /// The key's public id.
        key_id: String,
        /// The scopes that limit the key; none if nothing does. The authorizer has enforced them.
        scopes: Vec<String>,
    },
}

/// The request has no current user, or one that this version doesn't know: respond with 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request did not come through the authorizer")]
pub struct Unauthenticated;

impl CurrentUser {
    /// The caller of a request.
    /// Fails when the request context names none.
    pub fn of(request: &Request) -> Result<Self, Unauthenticated> {
        Self::from_context(request.request_context_ref())
    }

    /// The caller in a request context of a REST or HTTP API.
    /// Fails when it names none, or any part of it is missing or unknown.
    pub fn from_context(context: Option<&RequestContext>) -> Result<Self, Unauthenticated> {
        let fields = match context {
            Some(RequestContext::ApiGatewayV1(context)) => &context.authorizer.fields,
            Some(RequestContext::ApiGatewayV2(context)) => &context.authorizer.as_ref().ok_or(Unauthenticated)?.fields,
            _ => return Err(Unauthenticated),
        };
        let member = |name| fields.get(name).and_then(|value| value.as_str());
        let required = |name| member(name).filter(|text| !text.is_empty()).map(str::to_owned).ok_or(Unauthenticated);
        let list = |name, separator| match (fields.get(name), member(name)) {
            (None, _) => Ok(Vec::new()),
            (_, Some(text)) if !text.split(separator).any(str::is_empty) => {
                Ok(text.split(separator).map(str::to_owned).collect())
            }
            _ => Err(Unauthenticated),
        };
        Ok(Self {
            id: required("id")?,
            username: required("username")?,
            groups: list("groups", ' ')?,
            authenticated_by: match required("authenticated_by")?.as_str() {
                "jwt" => Credential::Jwt,
                "other_pool" => Credential::OtherPool,
                "machine" => Credential::Machine,
                "api_key" => Credential::ApiKey { key_id: required("key_id")?, scopes: list("scopes", ',')? },
                _ => return Err(Unauthenticated),
            },
            oauth_scopes: list("oauth_scopes", ' ')?,
        })
    }

    /// Whether the caller is in `group`.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|name| name == group)
    }
}

impl Unauthenticated {
    /// 401 `invalid_token`, as the authorizer's own API responds.
    pub fn response(self) -> Response<Body> {
        let problem = r#"{"type":"about:blank","title":"Unauthorized","status":401,"error":"invalid_token"}"#;
        let mut response = Response::new(problem.into());
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        let headers = response.headers_mut();
        headers
            .insert(CONTENT_TYPE, "application/problem+json".parse().unwrap_or_else(|_| unreachable!("a media type")));
        headers.insert(CACHE_CONTROL, "no-store".parse().unwrap_or_else(|_| unreachable!("a directive")));
        response
    }
}

#[cfg(feature = "axum")]
impl axum_core::response::IntoResponse for Unauthenticated {
    fn into_response(self) -> axum_core::response::Response {
        self.response().map(|body| axum_core::body::Body::from(body.to_vec()))
    }
}

#[cfg(feature = "axum")]
impl<S: Sync> axum_core::extract::FromRequestParts<S> for CurrentUser {
    type Rejection = Unauthenticated;

    async fn from_request_parts(parts: &mut lambda_http::http::request::Parts, _: &S) -> Result<Self, Unauthenticated> {
        Self::from_context(parts.extensions.get())
    }
}
