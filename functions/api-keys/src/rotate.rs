//! `POST /v1/api-keys/{id}/rotate`: a successor, and time to deploy it before the old key expires.

use lambda_http::Request;
use vega_auth::{CurrentUser, Timestamp};
use vega_http::{Answer, body_bytes, read_json};

use crate::body::Rotation;
use crate::change::check_version;
use crate::idempotency::{self, Creation};
use crate::problem::KeyProblem;
use crate::{ApiKeys, path_id};

impl ApiKeys {
    pub(crate) async fn rotate(&self, request: &Request, owner: &CurrentUser, now: Timestamp) -> Answer {
        let create = || async {
            let rotation =
                if body_bytes(request).is_empty() { Rotation::default() } else { read_json::<Rotation>(request)? };
            let overlap_seconds = rotation.check()?;
            let old = self.own(path_id(request)?, owner).await?;
            check_version(request, &old)?;
            let key = self.new_key()?;
            let rotation = old.rotate(&key, owner, overlap_seconds, now).map_err(KeyProblem::from)?;
            Ok(Creation { key, created: rotation.successor, replaced: Some(rotation.old) })
        };
        idempotency::once(self, request, owner, now, create).await
    }
}
