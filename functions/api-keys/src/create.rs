//! `POST /v1/api-keys`: a new key, shown whole only once.

use lambda_http::Request;
use vega_auth::{ApiKey, CurrentUser, KeyId, KeySecret, Timestamp, Transition};
use vega_http::{Answer, Problem, read_json};

use crate::ApiKeys;
use crate::body::NewKey;
use crate::idempotency::{self, Creation};

impl ApiKeys {
    pub(crate) async fn create(&self, request: &Request, owner: &CurrentUser, now: Timestamp) -> Answer {
        let create = || async {
            let (new, key): (NewKey, _) = (read_json(request)?, self.new_key()?);
            let created = Transition::creation(new.into_record(&key, owner, &self.rules, now)?);
            Ok(Creation { key, created, replaced: None })
        };
        idempotency::once(self, request, owner, now, create).await
    }

    /// A key with a random id and secret.
    pub(crate) fn new_key(&self) -> Result<ApiKey, Problem> {
        let (id, mut secret) = (self.random()?, self.random()?);
        Ok(ApiKey::new(KeyId::from_entropy(id), &KeySecret::from_entropy(&mut secret)))
    }

    pub(crate) fn random<const N: usize>(&self) -> Result<[u8; N], Problem> {
        let mut bytes = [0; N];
        (self.entropy)(&mut bytes).map_err(|error| Problem::fault("entropy_unavailable", &error))?;
        Ok(bytes)
    }
}
