//! `POST /v1/api-keys`: a new key, shown whole this once.

use http::header::{CONTENT_TYPE, ETAG, HeaderValue, LOCATION};
use http::{Response, StatusCode};
use lambda_http::{Body, Request};
use schemars::JsonSchema;
use serde::Serialize;
use vega_auth::{ApiKey, CurrentUser, KeyId, KeyRecord, KeySecret, Timestamp};
use vega_http::{Answer, Problem, read_json};
use vega_store::CreateError;

use crate::body::NewKey;
use crate::change::contended;
use crate::idempotency::IdempotentRequest;
use crate::problem::KeyProblem;
use crate::view::KeyView;
use crate::{ApiKeys, actor};

/// How often making a key is tried: again when its id was taken, or when the key changed whose place it takes.
pub const MAKE_TRIES: usize = 5;
/// The version of a key that was just made.
const FIRST_ETAG: HeaderValue = HeaderValue::from_static("\"1\"");

/// A key that was just made. The one answer that holds it whole.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CreatedKey")]
pub struct Created<'a> {
    /// The whole key: keep it now, it is not shown again.
    #[schemars(regex(pattern = "^vk_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}$"))]
    key: &'a str,
    #[serde(flatten)]
    view: KeyView,
}

impl ApiKeys {
    pub(crate) async fn create(&self, request: &Request, owner: &CurrentUser, now: Timestamp) -> Answer {
        let repeatable = IdempotentRequest::read(request)?;
        if let Some(repeatable) = &repeatable
            && let Some(answer) = self.repeated(repeatable, owner, now).await?
        {
            return Ok(answer);
        }
        let wanted = read_json::<NewKey>(request)?.check(owner, &self.rules, now)?;
        for _ in 0..MAKE_TRIES {
            let key = self.new_key()?;
            let record = KeyRecord {
                owner_username: owner.username.clone(),
                name: wanted.name.clone(),
                description: wanted.description.clone(),
                groups: wanted.groups,
                scopes: wanted.scopes.clone(),
                cidrs: wanted.cidrs.clone(),
                expires_at: wanted.expires_at,
                ..KeyRecord::new(&key, &owner.id, now)
            };
            let answer = to_json(&key, record.clone(), now)?;
            let replay = self.kept(repeatable.as_ref(), owner, record.id, &answer, now)?;
            match self.store.create(&record, self.limit, replay.as_ref(), &actor(request, owner)).await {
                Ok(()) => return created(answer, record.id),
                Err(error) => self.refusal(error)?,
            }
        }
        Err(contended())
    }

    pub(crate) fn new_key(&self) -> Result<ApiKey, Problem> {
        let (mut id, mut secret) = ([0; 16], [0; 32]);
        (self.entropy)(&mut id)
            .and_then(|()| (self.entropy)(&mut secret))
            .map_err(|error| Problem::fault("entropy_unavailable", &error))?;
        Ok(ApiKey::new(KeyId::from_entropy(id), &KeySecret::from_entropy(&mut secret)))
    }

    /// Why a key was not made; `Ok` where another try may make it.
    pub(crate) fn refusal(&self, error: CreateError) -> Result<(), Problem> {
        match error {
            CreateError::IdTaken | CreateError::Conflict => Ok(()),
            CreateError::TokenOutdated => Err(KeyProblem::TokenOutdated.into()),
            CreateError::LimitReached => Err(KeyProblem::LimitReached { limit: self.limit }.into()),
            CreateError::InProgress => Err(KeyProblem::IdempotencyInProgress.into()),
            CreateError::Fault(fault) => Err(fault.into()),
        }
    }
}

/// The answer to who made a key, as JSON: the one place where it is whole.
pub fn to_json(key: &ApiKey, record: KeyRecord, now: Timestamp) -> Result<String, Problem> {
    serde_json::to_string(&Created { key: key.expose(), view: KeyView::new(record, now) })
        .map_err(|error| Problem::fault("unwritable_answer", &error))
}

/// The answer to who made a key.
pub fn created(answer: String, id: KeyId) -> Answer {
    Response::builder()
        .status(StatusCode::CREATED)
        .header(CONTENT_TYPE, "application/json")
        .header(LOCATION, format!("/v1/api-keys/{id}"))
        .header(ETAG, FIRST_ETAG)
        .body(Body::from(answer))
        .map_err(|error| Problem::fault("unwritable_answer", &error))
}
