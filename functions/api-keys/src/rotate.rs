//! `POST /v1/api-keys/{id}/rotate`: a successor, and some time to bring it to where the old key is.

use lambda_http::Request;
use vega_auth::{CurrentUser, NotRotatable, Timestamp};
use vega_http::{Answer, body_bytes, read_json};

use crate::body::Rotation;
use crate::change::{check_version, contended};
use crate::create::{MAKE_TRIES, created, to_json};
use crate::idempotency::IdempotentRequest;
use crate::problem::KeyProblem;
use crate::{ApiKeys, actor, path_id};

impl ApiKeys {
    pub(crate) async fn rotate(&self, request: &Request, owner: &CurrentUser, now: Timestamp) -> Answer {
        let repeatable = IdempotentRequest::read(request)?;
        if let Some(repeatable) = &repeatable
            && let Some(answer) = self.repeated(repeatable, owner, now).await?
        {
            return Ok(answer);
        }
        let rotation =
            if body_bytes(request).is_empty() { Rotation::default() } else { read_json::<Rotation>(request)? };
        let overlap_seconds = rotation.check()?;
        for _ in 0..MAKE_TRIES {
            let old = self.own(path_id(request)?, owner).await?;
            check_version(request, &old)?;
            let key = self.new_key()?;
            let successor = old.successor(&key, owner, now).map_err(not_rotatable)?;
            let answer = to_json(&key, successor.clone(), now)?;
            let replay = self.kept(repeatable.as_ref(), owner, successor.id, &answer, now)?;
            let actor = actor(request, owner);
            let limit = self.limit;
            match self.store.rotate(&old, &successor, overlap_seconds, limit, replay.as_ref(), &actor).await {
                Ok(()) => return created(answer, successor.id),
                Err(error) => self.refusal(error)?,
            }
        }
        Err(contended())
    }
}

fn not_rotatable(reason: NotRotatable) -> KeyProblem {
    match reason {
        NotRotatable::Rotated(successor) => KeyProblem::Rotated(successor),
        NotRotatable::Revoked => KeyProblem::Revoked,
        NotRotatable::Expired => KeyProblem::Expired,
        NotRotatable::Disabled => KeyProblem::Disabled,
    }
}
