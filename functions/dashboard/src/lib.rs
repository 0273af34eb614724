//! `/api-keys`: the page where people manage their keys, and `GET /v1/auth/config`, the page's configuration. Its source is in
//! the folder `dashboard`.
//!
//! The built page is part of the binary. File names contain a hash of the content, so files can be cached forever; the page
//! itself can't. Nothing here is secret, and loading it requires no sign-in.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use http::{Response, StatusCode};
use lambda_http::{Body, Request};
use schemars::JsonSchema;
use serde::Serialize;
use vega_auth::UserPool;
use vega_auth::config::{Environment, text};
use vega_http::{Answer, Code, Problem, ProblemType, empty, json, path_parameter, route, source_address};
use vega_openapi::{Route, schema_of};

/// The files of the built page: the path below `dashboard/dist`, and the content. All files are text.
pub const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// The page and its configuration.
pub struct Dashboard {
    files: &'static [(&'static str, &'static str)],
    sign_in: SignIn,
    revocation_seconds: u32,
    key_limit: u32,
    policy: HeaderValue,
}

/// `GET /v1/auth/config`: the page's configuration. None of it is secret.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DashboardConfig")]
struct Config<'a> {
    #[serde(flatten)]
    sign_in: &'a SignIn,
    /// The time until a revocation takes effect everywhere, in seconds.
    revocation_seconds: u32,
    /// Maximum number of live keys per person.
    key_limit: u32,
    /// The caller's address, as the API sees it: a key can be limited to it.
    address: String,
}

/// The way to sign in. Any page with a sign-in reveals as much.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "provider", rename_all = "lowercase")]
enum SignIn {
    /// With `POST /v1/auth/login`, on a developer's machine.
    Custom,
    /// At the user pool, over SRP.
    Cognito {
        /// The pool's region.
        region: String,
        /// The pool's id.
        user_pool_id: String,
        /// The app client whose tokens are accepted.
        app_client_id: String,
        /// The endpoint of an emulator, if the pool isn't at AWS.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(with = "String")]
        user_pool_endpoint: Option<String>,
    },
}

/// The routes, as docs/openapi.json describes them.
pub fn routes() -> Vec<Route> {
    vec![
        Route::public("GET /v1/auth/config", "getDashboardConfig", "Get the dashboard's configuration")
            .description("The way to sign in, and what the page shows about revocations and networks. None of it is secret.")
            .json::<Config>(
                200,
                "The configuration.",
                serde_json::json!({
                    "provider": "cognito", "region": "us-west-1", "user_pool_id": "us-west-1_xxxxx", "app_client_id": "xxxxx",
                    "revocation_seconds": 0, "key_limit": 100, "address": "203.0.113.7",
                }),
            ),
        Route::public("GET /api-keys", "getDashboard", "The dashboard")
            .description("The page where people manage their keys.")
            .text(200, "The page.", "text/html; charset=utf-8"),
        Route::public("HEAD /api-keys", "headDashboard", "Whether the dashboard is there")
            .description("The headers of the page, for availability checks and link previews.")
            .text(200, "The headers.", "text/html; charset=utf-8"),
        Route::public("GET /api-keys/{file}", "getDashboardFile", "A file of the dashboard")
            .description("Its name contains a hash of its content, so it can be cached forever.")
            .path("file", "The file's path below `/api-keys/`.", &schema_of::<String>())
            .text(200, "The file.", "text/javascript; charset=utf-8")
            .immutable()
            .error(&NoSuchPage),
    ]
}

impl Dashboard {
    /// Reads the provider, for `cognito` its pool and endpoint, and the times for which decisions are cached.
    pub fn read(environment: &mut Environment<'_>, files: &'static [(&'static str, &'static str)]) -> Option<Self> {
        // API Gateway caches decisions for the first, the authorizer caches key records for the second.
        let [by_gateway, by_authorizer] = ["VEGA_AUTHORIZER_CACHE_SECONDS", "VEGA_KEY_CACHE_SECONDS"]
            .map(|name| environment.optional(name, 0, str::parse::<u16>));
        let key_limit = environment.optional("VEGA_KEY_LIMIT", 100, str::parse);
        let (sign_in, endpoint) = SignIn::read(environment)?;
        let key_limit = key_limit?;
        let revocation_seconds = u32::from(by_gateway?) + u32::from(by_authorizer?);
        match HeaderValue::from_str(&content_security_policy(endpoint.as_deref())) {
            Ok(policy) => Some(Self { files, sign_in, revocation_seconds, key_limit, policy }),
            Err(error) => environment.problem(format!("AWS_ENDPOINT_URL: {error}")),
        }
    }

    /// Responds to a request; 404 for a file that is not part of this build.
    pub fn handle(&self, request: &Request) -> Answer {
        // HEAD is like GET without the body, which API Gateway leaves out.
        match route(request).replacen("HEAD ", "GET ", 1).as_str() {
            "GET /v1/auth/config" => json(200, &self.config(request)),
            // The page's links are relative, so that they work below a stage and on a domain, but not with a trailing slash.
            "GET /api-keys" if request.uri().path().ends_with('/') => Ok(redirect("../api-keys")),
            "GET /api-keys" => {
                let mut page = self.file("index.html", "no-store")?;
                *page.body_mut() = self.with_head(page.body(), request)?.into();
                Ok(page)
            }
            "GET /api-keys/{file+}" => {
                let name = path_parameter(request, "file").unwrap_or_default();
                self.file(&format!("api-keys/{name}"), "public, max-age=31536000, immutable")
            }
            _ => Err(NoSuchPage.into()),
        }
    }

    fn config(&self, request: &Request) -> Config<'_> {
        let (sign_in, revocation_seconds, key_limit) = (&self.sign_in, self.revocation_seconds, self.key_limit);
        Config { sign_in, revocation_seconds, key_limit, address: source_address(request) }
    }

    /// The page with what it would otherwise request one after the other: its configuration, and the module for Cognito.
    fn with_head(&self, page: &[u8], request: &Request) -> Result<String, Problem> {
        let config = serde_json::to_string(&self.config(request))
            .map_err(|error| Problem::fault("unwritable_answer", &error))?
            .replace('&', "&amp;")
            .replace('"', "&quot;");
        let is_module =
            |name: &&str| name.strip_suffix(".js").is_some_and(|stem| stem.starts_with("api-keys/assets/cognito-"));
        let module = self.files.iter().map(|(name, _)| *name).find(is_module);
        let preload = module
            .filter(|_| matches!(self.sign_in, SignIn::Cognito { .. }))
            .map(|module| format!("<link rel=\"modulepreload\" crossorigin href=\"./{module}\" />"));
        let head = format!("<meta name=\"vega-config\" content=\"{config}\" />{}</head>", preload.unwrap_or_default());
        Ok(String::from_utf8_lossy(page).replacen("</head>", &head, 1))
    }

    fn file(&self, name: &str, caching: &'static str) -> Answer {
        let (_, content) = self.files.iter().find(|(known, _)| *known == name).ok_or(NoSuchPage)?;
        let mut response = Response::new(Body::from(*content));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(name)));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
        headers.insert(HeaderName::from_static("content-security-policy"), self.policy.clone());
        for (name, value) in HEADERS {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        Ok(response)
    }
}

impl SignIn {
    /// The way to sign in, and the one other origin that the page connects to for that.
    fn read(environment: &mut Environment<'_>) -> Option<(Self, Option<String>)> {
        match environment.required("VEGA_AUTH_PROVIDER", text)?.as_str() {
            "custom" => Some((Self::Custom, None)),
            "cognito" => {
                let pool = UserPool::read(environment)?;
                let name = "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER";
                let name = if environment.get(name).is_some() { name } else { "AWS_ENDPOINT_URL" };
                let user_pool_endpoint = environment.optional(name, None, |url| origin(url).map(Some))?;
                let endpoint = user_pool_endpoint.clone().unwrap_or_else(|| pool.endpoint());
                let [region, user_pool_id, app_client_id] = pool.into_parts();
                Some((Self::Cognito { region, user_pool_id, app_client_id, user_pool_endpoint }, Some(endpoint)))
            }
            _ => environment.problem("VEGA_AUTH_PROVIDER: expected custom or cognito"),
        }
    }
}

/// The headers of every file, besides its policy.
const HEADERS: [(&str, &str); 6] = [
    ("strict-transport-security", "max-age=63072000"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"),
];

/// Only our own files run, and text never becomes script. The Trusted Types policy is Svelte's, for its own templates.
fn content_security_policy(endpoint: Option<&str>) -> String {
    let endpoint = endpoint.map(|endpoint| format!(" {endpoint}")).unwrap_or_default();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'{endpoint}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types svelte-trusted-html"
    )
}

/// An endpoint without a path: an origin for the content security policy. Anything else could widen that policy.
fn origin(url: &str) -> Result<String, &'static str> {
    let url = url.trim_end_matches('/');
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or_default();
    let is_plain = |character: char| character.is_ascii_alphanumeric() || ".-:[]".contains(character);
    if host.is_empty() || !host.chars().all(is_plain) {
        return Err("expected an origin, such as http://127.0.0.1:4566");
    }
    Ok(url.to_owned())
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    }
}

fn redirect(location: &'static str) -> Response<Body> {
    let mut response = empty(StatusCode::PERMANENT_REDIRECT);
    response.headers_mut().insert(LOCATION, HeaderValue::from_static(location));
    response
}

/// The only problem type of the page.
#[derive(Debug, thiserror::Error)]
#[error("There is no such page. The dashboard is at /api-keys.")]
struct NoSuchPage;

impl ProblemType for NoSuchPage {
    fn code(&self) -> Code {
        Code::NotFound
    }
}

#[cfg(test)]
mod tests {
    use vega_auth::config::load;

    use super::*;

    const PAGE: &[(&str, &str)] = &[
        ("api-keys/assets/cognito-abc.js", "export{}"),
        ("api-keys/assets/index-abc.css", "body{}"),
        ("api-keys/assets/index-abc.js", "export{}"),
        ("api-keys/assets/key.svg", "<svg/>"),
        ("index.html", "<!doctype html><head></head>"),
    ];
    const POOL: &[(&str, &str)] = &[
        ("VEGA_AUTH_PROVIDER", "cognito"),
        ("VEGA_COGNITO_REGION", "us-west-1"),
        ("VEGA_COGNITO_USER_POOL_ID", "us-west-1_abc"),
        ("VEGA_COGNITO_APP_CLIENT_ID", "client"),
    ];

    fn dashboard(variables: &[(&str, &str)]) -> Result<Dashboard, Vec<String>> {
        let lookup =
            |name: &str| variables.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        load("test", lookup, |environment| Dashboard::read(environment, PAGE)).map_err(|error| error.0)
    }

    fn get(dashboard: &Dashboard, resource: &str, path: &str) -> Result<Response<Body>, Code> {
        call(dashboard, "GET", resource, path)
    }

    fn call(dashboard: &Dashboard, method: &str, resource: &str, path: &str) -> Result<Response<Body>, Code> {
        let event = serde_json::json!({
            "httpMethod": method, "path": path, "resource": resource, "headers": {}, "multiValueHeaders": {},
            "pathParameters": { "file": path.trim_start_matches("/api-keys/") }, "isBase64Encoded": false,
            "requestContext": {
                "stage": "live", "httpMethod": method, "resourcePath": resource, "identity": { "sourceIp": "192.0.2.1" }
            }
        });
        let request = lambda_http::request::from_str(&event.to_string()).unwrap();
        dashboard.handle(&request).map_err(|problem| problem.code)
    }

    fn with(extra: (&'static str, &'static str)) -> Vec<(&'static str, &'static str)> {
        POOL.iter().copied().chain([extra]).collect()
    }

    fn policy(variables: &[(&str, &str)]) -> String {
        let page = get(&dashboard(variables).unwrap(), "/api-keys", "/api-keys").unwrap();
        page.headers()["content-security-policy"].to_str().unwrap().to_owned()
    }

    #[test]
    fn the_page_is_asked_for_each_time_and_its_files_are_kept_for_ever() {
        let dashboard = dashboard(POOL).unwrap();
        for (resource, path, kind, caching) in [
            ("/api-keys", "/api-keys", "text/html; charset=utf-8", "no-store"),
            ("/api-keys/{file+}", "/api-keys/assets/index-abc.js", "text/javascript; charset=utf-8", "immutable"),
            ("/api-keys/{file+}", "/api-keys/assets/index-abc.css", "text/css; charset=utf-8", "immutable"),
            ("/api-keys/{file+}", "/api-keys/assets/key.svg", "image/svg+xml", "immutable"),
        ] {
            let answer = get(&dashboard, resource, path).unwrap();
            assert_eq!(answer.headers()[CONTENT_TYPE], kind);
            assert!(answer.headers()[CACHE_CONTROL].to_str().unwrap().contains(caching), "{path}");
            for (name, value) in HEADERS {
                assert_eq!(answer.headers()[name], value, "{path}");
            }
        }
    }

    #[test]
    fn the_page_contains_its_configuration_and_preloads_cognito() {
        let page = |variables: &[(&str, &str)]| {
            let page = get(&dashboard(variables).unwrap(), "/api-keys", "/api-keys").unwrap();
            String::from_utf8(page.body().to_vec()).unwrap()
        };
        let cognito = page(POOL);
        assert!(cognito.contains(
            r#"<meta name="vega-config" content="{&quot;provider&quot;:&quot;cognito&quot;,&quot;region&quot;:&quot;us-west-1&quot;"#
        ));
        assert!(
            cognito
                .contains(r#"<link rel="modulepreload" crossorigin href="./api-keys/assets/cognito-abc.js" /></head>"#)
        );
        let custom = page(&[("VEGA_AUTH_PROVIDER", "custom")]);
        assert!(custom.contains("&quot;address&quot;:&quot;192.0.2.1&quot;"));
        assert!(!custom.contains("modulepreload"));
    }

    #[test]
    fn head_has_the_headers_of_get() {
        let dashboard = dashboard(POOL).unwrap();
        let [head, get] = ["HEAD", "GET"].map(|method| call(&dashboard, method, "/api-keys", "/api-keys").unwrap());
        assert_eq!((head.status(), head.headers()), (get.status(), get.headers()));
    }

    #[test]
    fn what_is_not_a_file_of_the_page_is_not_found() {
        let dashboard = dashboard(POOL).unwrap();
        for path in ["/api-keys/index.html", "/api-keys/../index.html", "/api-keys/assets/", "/api-keys/assets/old.js"]
        {
            assert_eq!(get(&dashboard, "/api-keys/{file+}", path).unwrap_err(), Code::NotFound, "{path}");
        }
        assert_eq!(get(&dashboard, "/v1/other", "/v1/other").unwrap_err(), Code::NotFound);
    }

    #[test]
    fn a_slash_too_many_leads_to_the_page() {
        let answer = get(&dashboard(POOL).unwrap(), "/api-keys", "/api-keys/").unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()[LOCATION]),
            (308, &HeaderValue::from_static("../api-keys"))
        );
    }

    #[test]
    fn the_page_runs_its_own_files_only_and_talks_to_the_api_and_to_cognito_only() {
        let policy = policy(POOL);
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self' https://cognito-idp.us-west-1.amazonaws.com",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types svelte-trusted-html",
        ] {
            assert!(policy.split("; ").any(|directive| directive == part), "{part}: {policy}");
        }
        assert!(!policy.contains("unsafe"));
        assert!(!policy.contains('*'));
    }

    #[test]
    fn an_emulators_endpoint_takes_the_place_of_cognitos() {
        let local = with(("AWS_ENDPOINT_URL", "http://127.0.0.1:8001/"));
        assert!(policy(&local).contains("connect-src 'self' http://127.0.0.1:8001;"));
        assert!(policy(&[("VEGA_AUTH_PROVIDER", "custom")]).contains("connect-src 'self';"));
    }

    #[test]
    fn an_endpoint_cannot_widen_the_policy() {
        for url in ["http://a; script-src *", "http://a *", "http://", "*", "http://a/b", "javascript:x", "http://a'b"]
        {
            let problems = dashboard(&with(("AWS_ENDPOINT_URL", url))).err().unwrap();
            assert_eq!(problems, ["AWS_ENDPOINT_URL: expected an origin, such as http://127.0.0.1:4566"], "{url}");
        }
    }

    #[test]
    fn the_page_learns_how_people_sign_in() {
        let says = |variables: &[(&str, &str)]| -> serde_json::Value {
            let answer = get(&dashboard(variables).unwrap(), "/v1/auth/config", "/v1/auth/config").unwrap();
            serde_json::from_slice(answer.body()).unwrap()
        };
        let pool = serde_json::json!({
            "provider": "cognito", "region": "us-west-1", "user_pool_id": "us-west-1_abc", "app_client_id": "client",
            "revocation_seconds": 0, "key_limit": 100, "address": "192.0.2.1"
        });
        assert_eq!(says(POOL), pool);
        let caching = [("VEGA_AUTHORIZER_CACHE_SECONDS", "60"), ("VEGA_KEY_CACHE_SECONDS", "5")];
        let caching: Vec<_> = POOL.iter().copied().chain(caching).collect();
        assert_eq!(says(&caching)["revocation_seconds"], 65);
        assert_eq!(says(&with(("VEGA_KEY_LIMIT", "7")))["key_limit"], 7);
        assert_eq!(
            says(&with(("AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER", "http://localhost:1")))["user_pool_endpoint"],
            "http://localhost:1"
        );
        assert_eq!(
            says(&[("VEGA_AUTH_PROVIDER", "custom")]),
            serde_json::json!({ "provider": "custom", "revocation_seconds": 0, "key_limit": 100, "address": "192.0.2.1" })
        );
    }

    #[test]
    fn every_missing_variable_is_named_at_once() {
        let problems = |variables: &[(&str, &str)]| dashboard(variables).err().unwrap_or_default().len();
        assert_eq!(problems(&[]), 1);
        assert_eq!(problems(&[("VEGA_AUTH_PROVIDER", "basic")]), 1);
        assert_eq!(problems(&[("VEGA_AUTH_PROVIDER", "cognito")]), 3);
        assert_eq!(problems(&with(("VEGA_COGNITO_USER_POOL_ID", "not a pool"))), 1);
        assert_eq!(problems(&with(("VEGA_AUTHORIZER_CACHE_SECONDS", "soon"))), 1);
    }

    #[test]
    #[cfg_attr(not(has_page), ignore = "dashboard/dist isn't built: make dashboard")]
    fn the_built_page_names_only_files_that_are_there_and_runs_nothing_inline() {
        let (_, page) = FILES.iter().find(|(name, _)| *name == "index.html").unwrap();
        let named: Vec<_> = page.split(['"', '\'']).filter_map(|text| text.strip_prefix("./")).collect();
        for kind in ["text/javascript", "text/css"] {
            assert!(named.iter().any(|name| content_type(name).starts_with(kind)), "{kind}");
        }
        for name in named {
            assert!(FILES.iter().any(|(known, _)| *known == name), "{name}");
        }
        assert!(!page.contains("<style"));
        assert!(!page.contains(" style="));
        assert!(!page.contains("<script>"));
    }
}
