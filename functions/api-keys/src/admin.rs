//! `/v1/admin/api-keys`: groups `root` and `operator` look after everybody's keys. No secret is shown to them either.

use lambda_http::Request;
use schemars::JsonSchema;
use serde::Serialize;
use vega_auth::{CurrentUser, Group, KeyRecord, KeyState, Timestamp};
use vega_http::{Answer, Problem, json};

use crate::change::{CHANGE_TRIES, contended};
use crate::problem::{InvalidQuery, KeyProblem};
use crate::query::Parameters;
use crate::{ApiKeys, actor, list, path_id};

/// Upper bound for `?owner=`; a Cognito `sub` has 36 characters.
pub const MAX_OWNER: usize = 256;

/// A person who may look after other people's keys: checked here, whatever the access rules say.
pub struct Administrator<'a>(&'a CurrentUser);

/// What became of an owner's keys.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RevokedKeys")]
pub struct Revoked {
    /// How many were revoked.
    revoked: usize,
}

impl<'a> Administrator<'a> {
    /// # Errors
    /// 403 for everybody else.
    pub fn check(person: &'a CurrentUser) -> Result<Self, KeyProblem> {
        if person.groups.contains(Group::Root) || person.groups.contains(Group::Operator) {
            return Ok(Self(person));
        }
        Err(KeyProblem::AdministratorOnly)
    }

    /// Nobody ends what a more powerful group runs on: a key of group `root` is for `root` to revoke.
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
        let find = || async {
            let record = self.store.find(id).await?.ok_or(KeyProblem::NoSuchKey)?;
            admin.may_revoke(&record)?;
            Ok(record)
        };
        self.revoke(request, &actor(request, admin.0), now, find).await
    }

    /// All keys of an owner that have not ended, those that are made meanwhile among them.
    pub(crate) async fn revoke_all(&self, request: &Request, admin: Administrator<'_>, now: Timestamp) -> Answer {
        let parameters = Parameters::read(request, &["owner", "reason", "block_older_tokens"])?;
        let (owner, reason) = (owner(&parameters)?, parameters.reason()?);
        if parameters.flag("block_older_tokens")? {
            // Who may not revoke blocks nothing either
            self.revocable(owner, &admin, now).await?;
            self.store.bar(owner, now).await?;
        }
        let mut revoked = 0;
        for _ in 0..CHANGE_TRIES {
            let records = self.revocable(owner, &admin, now).await?;
            if records.is_empty() {
                return json(200, &Revoked { revoked });
            }
            let done = self.store.revoke_all(owner, &records, reason.as_deref(), &actor(request, admin.0), now).await;
            revoked += done?;
        }
        Err(contended())
    }

    /// The keys of an owner that have not ended, if the administrator may revoke each of them.
    async fn revocable(
        &self,
        owner: &str,
        admin: &Administrator<'_>,
        now: Timestamp,
    ) -> Result<Vec<KeyRecord>, Problem> {
        let mut records = self.store.list(owner).await?;
        records.retain(|record| matches!(record.state(now), KeyState::Active | KeyState::Disabled));
        records.iter().try_for_each(|record| admin.may_revoke(record))?;
        Ok(records)
    }
}

fn owner(parameters: &Parameters) -> Result<&str, InvalidQuery> {
    parameters.one("owner").filter(|owner| owner.len() <= MAX_OWNER).ok_or(InvalidQuery::Owner)
}
