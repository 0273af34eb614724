//! `/v1/admin/api-keys`: the groups that the access rules name administer everybody's keys. They see no secrets either.

use lambda_http::Request;
use schemars::JsonSchema;
use serde::Serialize;
use vega_auth::{AccessRules, Actor, CurrentUser, KeyRecord, Timestamp, Transition};
use vega_http::{Answer, Problem, RequestProblem, json};
use vega_store::{CommitError, Store};

use crate::problem::{InvalidQuery, KeyProblem};
use crate::query::Parameters;
use crate::{ApiKeys, actor, list, path_id, person};

/// Upper bound for `?owner=`; a Cognito `sub` has 36 characters.
pub const MAX_OWNER: usize = 256;

/// A person who administers other people's keys. Checked here too, regardless of the access rules.
pub struct Administrator<'a> {
    person: &'a CurrentUser,
    rules: &'a AccessRules,
}

/// The result of revoking an owner's keys.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RevokedKeys")]
pub struct Revoked {
    /// Number of revoked keys.
    revoked: usize,
}

/// The result of enabling an owner's keys.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EnabledKeys")]
pub struct Enabled {
    /// How many were enabled.
    enabled: usize,
}

impl Administrator<'_> {
    fn may_change(&self, record: &KeyRecord) -> Result<(), KeyProblem> {
        let may_change = self.rules.can_revoke(&self.person.groups, &record.groups);
        if may_change { Ok(()) } else { Err(KeyProblem::Protected(record.id)) }
    }
}

impl ApiKeys {
    /// 403 for everybody else.
    pub(crate) fn administrator<'a>(&'a self, user: &'a CurrentUser) -> Result<Administrator<'a>, Problem> {
        let person = person(user)?;
        if self.rules.administer_keys(&person.groups) {
            Ok(Administrator { person, rules: &self.rules })
        } else {
            Err(RequestProblem::AdministratorOnly.into())
        }
    }

    pub(crate) async fn admin_list(&self, request: &Request, _: Administrator<'_>, now: Timestamp) -> Answer {
        let parameters = Parameters::read(request, &[&["owner"], &list::PARAMETERS[..]].concat())?;
        self.page(&parameters, owner(&parameters)?, now).await
    }

    pub(crate) async fn admin_revoke(&self, request: &Request, admin: Administrator<'_>, now: Timestamp) -> Answer {
        let id = path_id(request).map_err(|_| KeyProblem::NoSuchKey)?;
        let may_change = |key: &KeyRecord| admin.may_change(key);
        self.revoke(request, id, &actor(request, admin.person), now, KeyProblem::NoSuchKey, may_change).await
    }

    /// Revokes all live keys of an owner, including those that are created meanwhile.
    pub(crate) async fn revoke_all(&self, request: &Request, admin: Administrator<'_>, now: Timestamp) -> Answer {
        let parameters = Parameters::read(request, &["owner", "reason", "block_older_tokens"])?;
        let (owner, reason) = (owner(&parameters)?, parameters.reason()?);
        let decide = |key: &KeyRecord| {
            if !key.state(now).is_live() {
                return Ok(None);
            }
            admin.may_change(key)?;
            Ok(key.revoke(reason.as_deref(), now))
        };
        if parameters.flag("block_older_tokens")? {
            // Only if the caller may revoke the keys: without the permission, nothing is blocked either. The keys are read again
            // afterwards, since older tokens may have created some before the bar.
            self.transitions(owner, &decide).await?;
            self.store.bar(owner, now).await?;
        }
        let revoked = self.commit_all(owner, &actor(request, admin.person), now, decide).await?;
        json(200, &Revoked { revoked })
    }

    /// Enables all keys of an owner that were disabled because the owner was.
    pub(crate) async fn enable_all(&self, request: &Request, admin: Administrator<'_>, now: Timestamp) -> Answer {
        let parameters = Parameters::read(request, &["owner", "reason"])?;
        let (owner, reason) = (owner(&parameters)?, parameters.reason()?);
        let decide = |key: &KeyRecord| {
            let enabling = key.enable_with_owner(reason.as_deref(), now);
            if enabling.is_some() {
                admin.may_change(key)?;
            }
            Ok(enabling)
        };
        let enabled = self.commit_all(owner, &actor(request, admin.person), now, decide).await?;
        json(200, &Enabled { enabled })
    }

    /// The transitions that are due of an owner's keys.
    async fn transitions(
        &self,
        owner: &str,
        decide: impl Fn(&KeyRecord) -> Result<Option<Transition>, KeyProblem>,
    ) -> Result<Vec<Transition>, Problem> {
        let keys = self.store.list(owner).await?;
        Ok(keys.iter().filter_map(|key| decide(key).transpose()).collect::<Result<_, _>>()?)
    }

    /// Commits the transitions of an owner's keys until none is due. Their number.
    async fn commit_all(
        &self,
        owner: &str,
        actor: &Actor,
        now: Timestamp,
        decide: impl Fn(&KeyRecord) -> Result<Option<Transition>, KeyProblem>,
    ) -> Result<usize, Problem> {
        let mut changed = 0;
        loop {
            let pending = self.transitions(owner, &decide).await?;
            if pending.is_empty() {
                return Ok(changed);
            }
            for batch in pending.chunks(Store::MAX_REVOCATIONS) {
                match self.store.commit(batch, None, None, actor, now).await {
                    Ok(()) => changed += batch.len(),
                    // One of the keys changed since it was read, so none was changed: change them one by one.
                    Err(CommitError::Conflict) => {
                        for transition in batch {
                            let updated = self.store.update(transition.after.id, actor, now, &decide).await;
                            changed += usize::from(updated.map_err(|error| self.problem(error))?.is_changed);
                        }
                    }
                    Err(error) => return Err(self.problem::<Problem>(error.into())),
                }
            }
        }
    }
}

fn owner(parameters: &Parameters) -> Result<&str, InvalidQuery> {
    parameters.one("owner").filter(|owner| owner.len() <= MAX_OWNER).ok_or(InvalidQuery::Owner)
}
