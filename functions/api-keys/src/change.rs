//! `PATCH` and `DELETE` of a key: changed as long as nobody else did meanwhile, revoked for good.

use http::header::IF_MATCH;
use http::{Response, StatusCode};
use lambda_http::{Body, Request};
use vega_auth::{CurrentUser, KeyRecord, KeyState, KeyStatus, Timestamp};
use vega_http::{Answer, Problem, read_json};
use vega_store::{Actor, ChangeError, EventKind};

use crate::body::KeyPatch;
use crate::problem::KeyProblem;
use crate::query::Parameters;
use crate::view::{etag, key_response};
use crate::{ApiKeys, actor, path_id};

/// How often a revocation or a rotation is tried again that met a change of the same key.
pub const CHANGE_TRIES: usize = 5;

impl ApiKeys {
    pub(crate) async fn change(&self, request: &Request, owner: &CurrentUser, now: Timestamp) -> Answer {
        let reason = Parameters::read(request, &["reason"])?.reason()?;
        let change = read_json::<KeyPatch>(request)?.check(owner, &self.rules)?;
        let record = self.own(path_id(request)?, owner).await?;
        check_version(request, &record)?;
        match record.state(now) {
            KeyState::Active | KeyState::Disabled => {}
            KeyState::Expired => return Err(KeyProblem::Expired.into()),
            KeyState::Revoked => return Err(KeyProblem::Revoked.into()),
        }
        match self.store.change(&record, change, reason.as_deref(), &actor(request, owner), now).await {
            Ok(changed) => key_response(changed, now),
            Err(ChangeError::TokenOutdated) => Err(KeyProblem::TokenOutdated.into()),
            Err(ChangeError::Conflict) => Err(KeyProblem::VersionMismatch.into()),
            Err(ChangeError::Fault(fault)) => Err(fault.into()),
        }
    }

    /// Revokes the key that `find` gives, whatever version it has, unless the client named one.
    pub(crate) async fn revoke<F>(
        &self,
        request: &Request,
        actor: &Actor,
        now: Timestamp,
        find: impl Fn() -> F,
    ) -> Answer
    where
        F: Future<Output = Result<KeyRecord, Problem>>,
    {
        let reason = Parameters::read(request, &["reason"])?.reason()?;
        for _ in 0..CHANGE_TRIES {
            let record = find().await?;
            // It is as the caller wants it, perhaps by this very request whose answer was lost (RFC 9110 section 13.1.1)
            if record.status == KeyStatus::Revoked {
                return Ok(no_content());
            }
            check_version(request, &record)?;
            match self.store.revoke(&record, EventKind::Revoked, reason.as_deref(), actor, now).await {
                Ok(_) => return Ok(no_content()),
                // Without If-Match it is meant for whatever version there is: no change may outrun it
                Err(ChangeError::Conflict | ChangeError::TokenOutdated) => {}
                Err(ChangeError::Fault(fault)) => return Err(fault.into()),
            }
        }
        Err(contended())
    }
}

/// `If-Match` (RFC 9110 section 13.1.1), where the client sent it.
pub fn check_version(request: &Request, record: &KeyRecord) -> Result<(), KeyProblem> {
    let Some(wanted) = request.headers().get(IF_MATCH) else { return Ok(()) };
    let current = etag(record);
    let matches = wanted
        .to_str()
        .is_ok_and(|list| list.split(',').map(str::trim).any(|tag| tag == "*" || tag.as_bytes() == current.as_bytes()));
    if matches { Ok(()) } else { Err(KeyProblem::VersionMismatch) }
}

pub fn contended() -> Problem {
    Problem::fault("key_contended", &"the key changed at every try")
}

fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
