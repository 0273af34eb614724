//! `/v1/api-keys`: people make, list, change, rotate and revoke their API keys, and read what happened to them.
//!
//! The owner is the verified caller, and nobody else: no body, path or query can name another. A key can't manage keys;
//! all it can do is look at itself, and revoke itself. `/v1/admin/api-keys` is for those who look after other people's.

mod admin;
mod body;
mod change;
mod create;
mod cursor;
mod events;
mod idempotency;
mod list;
mod problem;
mod query;
mod rotate;
mod routes;
mod view;

use std::time::Duration;

use lambda_http::Request;
use schemars::JsonSchema;
use serde::Serialize;
use vega_auth::config::{ConfigError, Environment, text};
use vega_auth::{AccessRules, Authentication, CurrentUser, KeyId, KeyRecord, Route, ScopeName, Timestamp};
use vega_http::{
    Answer, Problem, RequestProblem, current_user, json, path_parameter, request_id, route, source_address,
};
use vega_store::{Actor, Store};

pub use crate::routes::routes;

use crate::admin::Administrator;
use crate::problem::KeyProblem;
use crate::query::Parameters;
use crate::view::shown;

/// The function's name in the log.
pub const FUNCTION: &str = "api-keys";
/// All that a request may take: some time before Lambda would end it without an answer.
const DEADLINE: Duration = Duration::from_secs(8);

/// Live keys per person, unless `VEGA_KEY_LIMIT` says otherwise.
const DEFAULT_LIMIT: u32 = 100;

/// Random bytes from the operating system: `main` passes them on, and a test can choose them.
pub type Entropy = fn(&mut [u8]) -> Result<(), getrandom::Error>;

/// The keys of the callers.
pub struct ApiKeys {
    /// Where they live.
    pub store: Store,
    /// How many live ones a person may have.
    pub limit: u32,
    /// Which scopes there are.
    pub rules: AccessRules,
    /// What their secrets are made of.
    pub entropy: Entropy,
}

/// What the environment says.
#[derive(Debug)]
pub struct Config {
    /// Of every HTTP function.
    pub http: vega_http::Settings,
    /// Where the table is.
    pub store: vega_store::Settings,
    /// `VEGA_KEYS_TABLE`.
    pub table: String,
    /// `VEGA_KEY_LIMIT`: how many live keys a person may have.
    pub limit: u32,
    /// `VEGA_ACCESS_RULES`: for the scopes.
    pub rules: AccessRules,
}

impl Config {
    /// # Errors
    /// Names all that is missing or nonsense.
    pub fn load(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut environment = Environment::new(lookup);
        let table = environment.required("VEGA_KEYS_TABLE", text);
        let limit = environment.optional("VEGA_KEY_LIMIT", DEFAULT_LIMIT, |text| {
            text.parse().ok().filter(|limit| (1..=1000).contains(limit)).ok_or("expected a number from 1 to 1000")
        });
        let rules = environment.required("VEGA_ACCESS_RULES", str::parse);
        let http = vega_http::Settings::read(FUNCTION, &mut environment);
        let store = vega_store::Settings::read(&mut environment);
        let config = http.zip(store).zip(table.zip(limit.zip(rules)));
        environment.finish(config.map(|((http, store), (table, (limit, rules)))| Self {
            http,
            store,
            table,
            limit,
            rules,
        }))
    }
}

/// A scope, as `GET /v1/scopes` shows it.
#[derive(Serialize, JsonSchema)]
struct Scope {
    /// What keys call it.
    name: ScopeName,
    /// As the access rules write them: a method or `*`, and a path.
    routes: Vec<String>,
}

/// All that there are.
#[derive(Serialize, JsonSchema)]
struct Scopes {
    /// In the order of their names.
    items: Vec<Scope>,
}

impl ApiKeys {
    /// Answers a request at `now`.
    ///
    /// # Errors
    /// A problem with a stable code. Nothing was changed, unless it is a 503: then the answer of a change may be lost.
    pub async fn handle(&self, request: &Request, now: Timestamp) -> Answer {
        tokio::time::timeout(DEADLINE, self.answer(request, now))
            .await
            .unwrap_or_else(|elapsed| Err(Problem::fault("deadline", &elapsed)))
    }

    async fn answer(&self, request: &Request, now: Timestamp) -> Answer {
        let user = current_user(request)?;
        let route = route(request);
        if route == "GET /v1/scopes" {
            return self.scopes();
        }
        if let Authentication::ApiKey { key_id, .. } = user.authentication {
            let itself = Actor { id: format!("api_key:{key_id}"), ..actor(request, &user) };
            return match route.as_str() {
                "GET /v1/api-keys/self" => shown(self.own(key_id, &user).await?, now),
                "DELETE /v1/api-keys/self" => self.revoke(request, &itself, now, || self.own(key_id, &user)).await,
                _ => Err(KeyProblem::PersonOnly.into()),
            };
        }
        match route.as_str() {
            "POST /v1/api-keys" => self.create(request, &user, now).await,
            "GET /v1/api-keys" => self.list(request, &user, now).await,
            "GET /v1/api-keys/{id}" => shown(self.own(path_id(request)?, &user).await?, now),
            "PATCH /v1/api-keys/{id}" => self.change(request, &user, now).await,
            "DELETE /v1/api-keys/{id}" => {
                let id = path_id(request)?;
                self.revoke(request, &actor(request, &user), now, || self.own(id, &user)).await
            }
            "POST /v1/api-keys/{id}/rotate" => self.rotate(request, &user, now).await,
            "GET /v1/api-keys/{id}/events" => self.events(request, &user, now).await,
            "GET /v1/admin/api-keys" => self.admin_list(request, Administrator::check(&user)?, now).await,
            "DELETE /v1/admin/api-keys" => self.revoke_all(request, Administrator::check(&user)?, now).await,
            "DELETE /v1/admin/api-keys/{id}" => self.admin_revoke(request, Administrator::check(&user)?, now).await,
            "GET /v1/api-keys/self" | "DELETE /v1/api-keys/self" => Err(KeyProblem::ApiKeyOnly.into()),
            _ => Err(RequestProblem::NoSuchRoute.into()),
        }
    }

    async fn list(&self, request: &Request, owner: &CurrentUser, now: Timestamp) -> Answer {
        let parameters = Parameters::read(request, &list::PARAMETERS)?;
        self.page(&parameters, &owner.id, now).await
    }

    async fn page(&self, parameters: &Parameters, owner: &str, now: Timestamp) -> Answer {
        let query = list::Query::read(parameters, owner)?;
        let records = self.store.list(owner).await?;
        json(200, &query.page(records, now))
    }

    /// What a key can be narrowed to.
    fn scopes(&self) -> Answer {
        let routes = |routes: &[Route]| routes.iter().map(ToString::to_string).collect();
        let items = self.rules.scopes().map(|(name, of)| Scope { name: name.clone(), routes: routes(of) }).collect();
        json(200, &Scopes { items })
    }

    /// The key, if it is the caller's. Another's looks like none.
    async fn own(&self, id: KeyId, owner: &CurrentUser) -> Result<KeyRecord, Problem> {
        let record = self.store.find(id).await?;
        record.filter(|record| record.owner == owner.id).ok_or_else(|| KeyProblem::NotYours.into())
    }
}

fn path_id(request: &Request) -> Result<KeyId, KeyProblem> {
    path_parameter(request, "id").and_then(|id| id.parse().ok()).ok_or(KeyProblem::NotYours)
}

fn actor(request: &Request, user: &CurrentUser) -> Actor {
    Actor {
        id: user.id.clone(),
        username: user.username.clone(),
        address: source_address(request),
        request_id: request_id(request),
        token_issued_at: user.issued_at,
        token_groups: user.groups,
    }
}
