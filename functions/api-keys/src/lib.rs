//! `/v1/api-keys`: people make, list, change and revoke their API keys.
//!
//! The owner is the verified caller, and nobody else: no body, path or query can name another. A key can't manage keys.

mod body;
mod list;
mod view;

use std::time::Duration;

use http::header::{ETAG, HeaderValue, IF_MATCH, LOCATION};
use http::{Response, StatusCode};
use lambda_http::{Body, Request};
use serde::Serialize;
use vega_auth::config::{ConfigError, Environment, text};
use vega_auth::{
    AccessRules, ApiKey, Authentication, CurrentUser, DIGEST_VERSION, Fault, FindKey as _, KeyId, KeyRecord, KeySecret,
    KeyStatus, Route, ScopeName, Timestamp,
};
use vega_http::{Answer, Problem, current_user, json, path_parameter, read_json, request_id, route, source_address};
use vega_store::{Actor, ChangeError, CreateError, Store};

use crate::body::{KeyPatch, NewKey};
use crate::view::KeyView;

/// The function's name in the log.
pub const FUNCTION: &str = "api-keys";
/// How many ids are tried before giving up. One is enough, but for a collision of 71 bits.
const ID_TRIES: usize = 3;
/// How often a revocation is tried again that met a change of the same key.
const REVOKE_TRIES: usize = 5;
/// All that a request may take: some time before Lambda would end it without an answer.
const DEADLINE: Duration = Duration::from_secs(8);

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
        let limit = environment.optional("VEGA_KEY_LIMIT", 100, |text| {
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

/// A key that was just made. The one answer that holds it whole.
#[derive(Serialize)]
struct Created<'a> {
    key: &'a str,
    #[serde(flatten)]
    view: KeyView,
}

/// A scope, as `GET /v1/scopes` shows it.
#[derive(Serialize)]
struct Scope {
    name: ScopeName,
    /// As the access rules write them: a method or `*`, and a path.
    routes: Vec<String>,
}

#[derive(Serialize)]
struct Scopes {
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
        let owner = current_user(request)?;
        if route(request) == "GET /v1/scopes" {
            return self.scopes();
        }
        if owner.authentication != Authentication::Jwt {
            return Err(Problem::new(403, "forbidden", "An API key can't manage API keys. Sign in."));
        }
        match route(request).as_str() {
            "POST /v1/api-keys" => self.create(request, &owner, now).await,
            "GET /v1/api-keys" => self.list(request, &owner, now).await,
            "GET /v1/api-keys/{id}" => self.get(request, &owner, now).await,
            "PATCH /v1/api-keys/{id}" => self.change(request, &owner, now).await,
            "DELETE /v1/api-keys/{id}" => self.revoke(request, &owner, now).await,
            _ => Err(Problem::new(404, "not_found", "There is no such route.")),
        }
    }

    async fn create(&self, request: &Request, owner: &CurrentUser, now: Timestamp) -> Answer {
        let wanted = read_json::<NewKey>(request)?.check(owner, &self.rules, now)?;
        for _ in 0..ID_TRIES {
            let key = self.new_key()?;
            let record = KeyRecord {
                id: key.id(),
                owner: owner.id.clone(),
                owner_username: owner.username.clone(),
                digest: key.digest(),
                digest_version: DIGEST_VERSION,
                status: KeyStatus::Active,
                name: wanted.name.clone(),
                description: wanted.description.clone(),
                groups: wanted.groups,
                scopes: wanted.scopes.clone(),
                cidrs: wanted.cidrs.clone(),
                created_at: now,
                expires_at: wanted.expires_at,
                revoked_at: None,
                rotated_from: None,
                rotated_to: None,
                version: 1,
                last_use: None,
            };
            match self.store.create(&record, self.limit, &actor(request, owner)).await {
                Ok(()) => return created(&key, record, now),
                Err(CreateError::IdTaken) => {}
                Err(CreateError::LimitReached) => {
                    let detail = format!(
                        "You have {} live keys, which is the limit. Revoke one that you don't need.",
                        self.limit
                    );
                    return Err(Problem::new(409, "key_limit_reached", detail));
                }
                Err(CreateError::Fault(fault)) => return Err(unavailable(&fault)),
            }
        }
        Err(Problem::fault("no_free_id", &"every id was taken"))
    }

    async fn list(&self, request: &Request, owner: &CurrentUser, now: Timestamp) -> Answer {
        let query = list::Query::read(request)?;
        let records = self.store.list(&owner.id).await.map_err(|fault| unavailable(&fault))?;
        json(200, &query.page(records, now))
    }

    async fn get(&self, request: &Request, owner: &CurrentUser, now: Timestamp) -> Answer {
        let record = self.own(request, owner).await?;
        shown(record, now)
    }

    async fn change(&self, request: &Request, owner: &CurrentUser, now: Timestamp) -> Answer {
        let change = read_json::<KeyPatch>(request)?.check(owner, &self.rules)?;
        let record = self.own(request, owner).await?;
        check_version(request, &record)?;
        if record.status == KeyStatus::Revoked {
            return Err(Problem::new(409, "key_revoked", "The key is revoked, which can't be undone. Make a new one."));
        }
        match self.store.change(&record, change, &actor(request, owner), now).await {
            Ok(changed) => shown(changed, now),
            Err(ChangeError::Conflict) => Err(version_mismatch()),
            Err(ChangeError::Fault(fault)) => Err(unavailable(&fault)),
        }
    }

    async fn revoke(&self, request: &Request, owner: &CurrentUser, now: Timestamp) -> Answer {
        for _ in 0..REVOKE_TRIES {
            let record = self.own(request, owner).await?;
            // It is as the caller wants it, perhaps by this very request whose answer was lost (RFC 9110 section 13.1.1)
            if record.status == KeyStatus::Revoked {
                return Ok(no_content());
            }
            check_version(request, &record)?;
            match self.store.revoke(&record, &actor(request, owner), now).await {
                Ok(_) => return Ok(no_content()),
                // Without If-Match it is meant for whatever version there is: no change may outrun it
                Err(ChangeError::Conflict) => {}
                Err(ChangeError::Fault(fault)) => return Err(unavailable(&fault)),
            }
        }
        Err(Problem::fault("revoke_contended", &"the key changed at every try"))
    }

    /// What a key can be narrowed to.
    fn scopes(&self) -> Answer {
        let routes = |routes: &[Route]| routes.iter().map(ToString::to_string).collect();
        let items = self.rules.scopes().map(|(name, of)| Scope { name: name.clone(), routes: routes(of) }).collect();
        json(200, &Scopes { items })
    }

    /// The key of the path, if it is the caller's. Another's looks like none.
    async fn own(&self, request: &Request, owner: &CurrentUser) -> Result<KeyRecord, Problem> {
        let none = || Problem::new(404, "not_found", "You have no such API key.");
        let id: KeyId = path_parameter(request, "id").and_then(|id| id.parse().ok()).ok_or_else(none)?;
        let record = self.store.find(id).await.map_err(|fault| unavailable(&fault))?;
        record.filter(|record| record.owner == owner.id).ok_or_else(none)
    }

    fn new_key(&self) -> Result<ApiKey, Problem> {
        let (mut id, mut secret) = ([0; 16], [0; 32]);
        (self.entropy)(&mut id)
            .and_then(|()| (self.entropy)(&mut secret))
            .map_err(|error| Problem::fault("entropy_unavailable", &error))?;
        Ok(ApiKey::new(KeyId::from_entropy(id), &KeySecret::from_entropy(&mut secret)))
    }
}

fn created(key: &ApiKey, record: KeyRecord, now: Timestamp) -> Answer {
    let (location, etag) = (format!("/v1/api-keys/{}", record.id), etag(&record));
    let mut response = json(201, &Created { key: key.expose(), view: KeyView::new(record, now) })?;
    response.headers_mut().insert(ETAG, etag);
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn shown(record: KeyRecord, now: Timestamp) -> Answer {
    let etag = etag(&record);
    let mut response = json(200, &KeyView::new(record, now))?;
    response.headers_mut().insert(ETAG, etag);
    Ok(response)
}

/// A strong validator (RFC 9110 section 8.8.3): the version of the record.
fn etag(record: &KeyRecord) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{}\"", record.version)).unwrap_or(HeaderValue::from_static("\"0\""))
}

/// `If-Match` (RFC 9110 section 13.1.1), where the client sent it.
fn check_version(request: &Request, record: &KeyRecord) -> Result<(), Problem> {
    let Some(wanted) = request.headers().get(IF_MATCH) else { return Ok(()) };
    let current = etag(record);
    let matches = wanted
        .to_str()
        .is_ok_and(|list| list.split(',').map(str::trim).any(|tag| tag == "*" || tag.as_bytes() == current.as_bytes()));
    if matches { Ok(()) } else { Err(version_mismatch()) }
}

fn version_mismatch() -> Problem {
    Problem::new(412, "version_mismatch", "The key changed since you read it. Read it again, then change it.")
}

fn unavailable(fault: &Fault) -> Problem {
    Problem::fault(fault.code(), &fault.chain())
}

fn actor(request: &Request, owner: &CurrentUser) -> Actor {
    Actor { id: owner.id.clone(), address: source_address(request), request_id: request_id(request) }
}
