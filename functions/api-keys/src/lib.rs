//! `/v1/api-keys`: people create, list, change, rotate and revoke their API keys, and read the keys' audit events.
//!
//! The owner is always the verified caller: no body, path or query can name another. A key can't manage keys; it can only
//! read and revoke itself. `/v1/admin/api-keys` is for administrators.

mod admin;
mod body;
mod change;
mod create;
mod cursor;
mod endpoint;
mod events;
mod idempotency;
mod list;
mod problem;
mod query;
mod rotate;
mod view;

use std::time::Duration;

use lambda_http::Request;
use schemars::JsonSchema;
use serde::Serialize;
use vega_auth::config::Environment;
use vega_auth::{
    AccessRules, Actor, ApiKey, Authentication, CurrentUser, KeyId, KeyRecord, Route, ScopeName, Timestamp,
};
use vega_http::{Answer, Handler, Problem, current_user, json, path_parameter, request_id, source_address, within};
use vega_store::Store;

pub use crate::endpoint::routes;

use crate::endpoint::Endpoint;
use crate::problem::KeyProblem;
use crate::query::Parameters;
use crate::view::key_response;

/// The function's name in the log.
pub const FUNCTION: &str = "api-keys";
/// Deadline for a request: shorter than Lambda's, which would end it without a response.
const DEADLINE: Duration = Duration::from_secs(8);

/// Default of `VEGA_KEY_LIMIT`.
const DEFAULT_LIMIT: u32 = 100;

/// Fills a buffer with random bytes: the operating system's in `main`, chosen ones in tests.
pub type Entropy = fn(&mut [u8]) -> Result<(), getrandom::Error>;

/// The handler.
pub struct ApiKeys {
    /// Where keys are stored.
    pub store: Store,
    /// Maximum number of live keys per person.
    pub limit: u32,
    /// The access rules, for the scopes.
    pub rules: AccessRules,
    /// The random source for ids, secrets and nonces.
    pub entropy: Entropy,
}

impl ApiKeys {
    /// Reads `VEGA_KEY_LIMIT`, the access rules and the table's variables. The problems are collected in `environment`.
    pub fn read(environment: &mut Environment<'_>, entropy: Entropy) -> Option<Self> {
        let limit = environment.optional("VEGA_KEY_LIMIT", DEFAULT_LIMIT, |text| {
            text.parse().ok().filter(|limit| (1..=1000).contains(limit)).ok_or("expected a number from 1 to 1000")
        });
        let rules = vega_access_files::read(environment);
        let store = Store::read(environment);
        Some(Self { store: store?, limit: limit?, rules: rules?, entropy })
    }
}

/// A scope, as `GET /v1/scopes` lists it.
#[derive(Serialize, JsonSchema)]
struct Scope {
    /// The name, for a key's `scopes`.
    name: ScopeName,
    /// The routes that it allows, as in the access rules: a method or `*`, and a path.
    routes: Vec<String>,
}

/// Every scope.
#[derive(Serialize, JsonSchema)]
struct Scopes {
    /// The scopes, sorted by name.
    items: Vec<Scope>,
}

impl Handler for ApiKeys {
    /// After a problem nothing was changed, except possibly after a 503.
    async fn handle(&self, request: &Request, now: Timestamp) -> Answer {
        within(DEADLINE, Box::pin(self.answer(request, now))).await
    }
}

impl ApiKeys {
    async fn answer(&self, request: &Request, now: Timestamp) -> Answer {
        let user = current_user(request)?;
        match Endpoint::of(request)? {
            Endpoint::CreateKey => self.create(request, person(&user)?, now).await,
            Endpoint::ListKeys => self.list(request, person(&user)?, now).await,
            Endpoint::GetKey => key_response(self.own(path_id(request)?, person(&user)?).await?, now),
            Endpoint::ChangeKey => self.change(request, person(&user)?, now).await,
            Endpoint::RevokeKey => {
                let (id, owner) = (path_id(request)?, person(&user)?);
                let is_own = |key: &KeyRecord| check_owner(key, owner);
                self.revoke(request, id, &actor(request, owner), now, KeyProblem::NotYours, is_own).await
            }
            Endpoint::RotateKey => self.rotate(request, person(&user)?, now).await,
            Endpoint::ListEvents => self.events(request, person(&user)?, now).await,
            Endpoint::ListScopes => self.scopes(),
            Endpoint::GetOwnKey => key_response(self.own(calling_key(&user)?, &user).await?, now),
            Endpoint::RevokeOwnKey => {
                let id = calling_key(&user)?;
                let itself = Actor { id: format!("api_key:{id}"), ..actor(request, &user) };
                let is_own = |key: &KeyRecord| check_owner(key, &user);
                self.revoke(request, id, &itself, now, KeyProblem::NotYours, is_own).await
            }
            Endpoint::AdminListKeys => self.admin_list(request, self.administrator(&user)?, now).await,
            Endpoint::AdminRevokeKeys => self.revoke_all(request, self.administrator(&user)?, now).await,
            Endpoint::AdminEnableKeys => self.enable_all(request, self.administrator(&user)?, now).await,
            Endpoint::AdminRevokeKey => self.admin_revoke(request, self.administrator(&user)?, now).await,
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

    /// `GET /v1/scopes`: every scope that a key can be limited to.
    fn scopes(&self) -> Answer {
        let routes = |routes: &[Route]| routes.iter().map(ToString::to_string).collect();
        let items = self.rules.scopes().map(|(name, of)| Scope { name: name.clone(), routes: routes(of) }).collect();
        json(200, &Scopes { items })
    }

    /// The caller's key.
    async fn own(&self, id: KeyId, owner: &CurrentUser) -> Result<KeyRecord, Problem> {
        let record = self.store.find(id).await?.ok_or(KeyProblem::NotYours)?;
        check_owner(&record, owner)?;
        Ok(record)
    }
}

/// Somebody else's key is indistinguishable from a missing one.
fn check_owner(key: &KeyRecord, owner: &CurrentUser) -> Result<(), KeyProblem> {
    if key.owner == owner.id { Ok(()) } else { Err(KeyProblem::NotYours) }
}

/// Only a person whom the owner sync can look up manages API keys: not a key, a machine or a person of another pool.
fn person(user: &CurrentUser) -> Result<&CurrentUser, KeyProblem> {
    match user.authentication {
        Authentication::ApiKey { .. } => Err(KeyProblem::PersonOnly),
        Authentication::Machine | Authentication::OtherPool => Err(KeyProblem::OwnPoolOnly),
        Authentication::Jwt => Ok(user),
    }
}

fn calling_key(user: &CurrentUser) -> Result<KeyId, KeyProblem> {
    match user.authentication {
        Authentication::ApiKey { key_id, .. } => Ok(key_id),
        Authentication::Jwt | Authentication::OtherPool | Authentication::Machine => Err(KeyProblem::ApiKeyOnly),
    }
}

/// The key's id in the path, as lists show it or as it stands in the key.
fn path_id(request: &Request) -> Result<KeyId, KeyProblem> {
    let id = path_parameter(request, "id").unwrap_or_default();
    if id.parse::<ApiKey>().is_ok() {
        return Err(KeyProblem::SecretInPath);
    }
    id.strip_prefix("vk_").unwrap_or(&id).parse().map_err(|_| KeyProblem::NotYours)
}

fn actor(request: &Request, user: &CurrentUser) -> Actor {
    Actor {
        id: user.id.clone(),
        username: user.username.clone(),
        address: source_address(request),
        request_id: request_id(request),
        token_issued_at: user.issued_at,
        token_groups: user.groups.clone(),
    }
}
