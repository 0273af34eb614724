//! `/v1/admin/api-keys`: groups `root` and `operator` administer everybody's keys. They see no secrets either.

use lambda_http::Request;
use schemars::JsonSchema;
use serde::Serialize;
use vega_auth::{CurrentUser, Group, KeyRecord, Timestamp, Transition};
use vega_http::{Answer, Problem, RequestProblem, json};
use vega_store::{CommitError, Store};

use crate::problem::{InvalidQuery, KeyProblem};
use crate::query::Parameters;
use crate::{ApiKeys, actor, list, path_id};

/// Upper bound for `?owner=`; a Cognito `sub` has 36 characters.
pub const MAX_OWNER: usize = 256;

/// A person who administers other people's keys. Checked here too, regardless of the access rules.
pub struct Administrator<'a>(&'a CurrentUser);

/// The result of revoking an owner's keys.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RevokedKeys")]
pub struct Revoked {
    /// Number of revoked keys.
    revoked: usize,
}

impl<'a> Administrator<'a> {
    /// 403 for everybody else.
    pub fn check(person: &'a CurrentUser) -> Result<Self, RequestProblem> {
        if person.is_administrator() { Ok(Self(person)) } else { Err(RequestProblem::AdministratorOnly) }
    }

    /// A key of group `root` can be revoked only by `root`: nobody revokes the key of a more powerful group.
    fn may_revoke(&self, record: &KeyRecord) -> Result<(), KeyProblem> {
        if record.groups.contains(Group::Root) && !self.0.groups.contains(Group::Root) {
            return Err(KeyProblem::RootOnly(record.id));
        }
        Ok(())
    }
}

impl ApiKeys {
    pub(crate) async fn admin_list(&self, request: &Request, _: Administrator<'_>, now: Timestamp) -> Answer {
        let parameters = Parameters::read(request, &[&["owner"], &list::PARAMETERS[..]].concat())?;
        self.page(&parameters, owner(&parameters)?, now).await
    }

    pub(crate) async fn admin_revoke(&self, request: &Request, admin: Administrator<'_>, now: Timestamp) -> Answer {
        let id = path_id(request).map_err(|_| KeyProblem::NoSuchKey)?;
        let may_revoke = |key: &KeyRecord| admin.may_revoke(key);
        self.revoke(request, id, &actor(request, admin.0), now, KeyProblem::NoSuchKey, may_revoke).await
    }

    /// Revokes all live keys of an owner, including those that are created meanwhile.
    pub(crate) async fn revoke_all(&self, request: &Request, admin: Administrator<'_>, now: Timestamp) -> Answer {
        let parameters = Parameters::read(request, &["owner", "reason", "block_older_tokens"])?;
        let (owner, reason) = (owner(&parameters)?, parameters.reason()?);
        let actor = actor(request, admin.0);
        let decide = |key: &KeyRecord| {
            if !key.state(now).is_live() {
                return Ok(None);
            }
            admin.may_revoke(key)?;
            Ok(key.revoke(reason.as_deref(), now))
        };
        let revocations = async || {
            let keys = self.store.list(owner).await?;
            let revocations = keys.iter().filter_map(|key| decide(key).transpose());
            Ok::<_, Problem>(revocations.collect::<Result<Vec<Transition>, KeyProblem>>()?)
        };
        let mut pending = revocations().await?;
        if parameters.flag("block_older_tokens")? {
            // Only after the permission was checked: without it, nothing is blocked either. Then once more, since older tokens
            // may have created keys before the bar.
            self.store.bar(owner, now).await?;
            pending = revocations().await?;
        }
        let mut revoked = 0;
        while !pending.is_empty() {
            for batch in pending.chunks(Store::MAX_REVOCATIONS) {
                match self.store.commit(batch, None, None, &actor, now).await {
                    Ok(()) => revoked += batch.len(),
                    // One of the keys changed since it was read, so none was revoked: revoke them one by one.
                    Err(CommitError::Conflict) => {
                        for revocation in batch {
                            let updated = self.store.update(revocation.after.id, &actor, now, decide).await;
                            revoked += usize::from(updated.map_err(|error| self.problem(error))?.is_changed);
                        }
                    }
                    Err(error) => return Err(self.problem::<Problem>(error.into())),
                }
            }
            pending = revocations().await?;
        }
        json(200, &Revoked { revoked })
    }
}

fn owner(parameters: &Parameters) -> Result<&str, InvalidQuery> {
    parameters.one("owner").filter(|owner| owner.len() <= MAX_OWNER).ok_or(InvalidQuery::Owner)
}
