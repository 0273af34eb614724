//! The user pool: looks at one person, and listings of everybody.

use std::collections::HashSet;

use vega_auth::{Group, Groups};
use vega_aws::UserPool;

pub use vega_aws::Page;

/// Why the pool didn't answer.
pub type PoolFault = Box<dyn std::error::Error + Send + Sync>;

/// An owner's status in the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnerStatus {
    /// They can sign in, and are in these groups.
    Member(Groups),
    /// They can't sign in for now.
    Disabled,
    /// The pool doesn't know them: they were deleted.
    Gone,
}

/// The user pool.
pub trait Pool {
    /// The status of the person with this `sub`, who had this username when they created a key.
    ///
    /// `Err` if the pool didn't answer: `Gone` means that it answered, and knows no such person.
    fn find(&self, owner: &str, username: &str) -> impl Future<Output = Result<OwnerStatus, PoolFault>> + Send;

    /// A page of everybody in the pool, or of a group's members.
    ///
    /// `Err` if the pool didn't answer, or has no such group.
    fn page(&self, group: Option<&Group>, token: Option<&str>) -> impl Future<Output = Result<Page, PoolFault>> + Send;
}

impl Pool for UserPool {
    async fn find(&self, owner: &str, username: &str) -> Result<OwnerStatus, PoolFault> {
        Ok(match Self::find(self, owner, username).await? {
            None => OwnerStatus::Gone,
            Some(user) if !user.is_enabled => OwnerStatus::Disabled,
            Some(user) => OwnerStatus::Member(self.groups(&user).await?),
        })
    }

    async fn page(&self, group: Option<&Group>, token: Option<&str>) -> Result<Page, PoolFault> {
        Ok(self.list(group.map(Group::name), token).await?)
    }
}

/// A listing that is being read: of everybody, or of a group's members.
pub struct Listing {
    /// The group; `None` for everybody.
    pub group: Option<Group>,
    /// The token of the next page.
    pub token: Option<String>,
    /// Whether every page was read.
    pub is_read: bool,
    /// The tokens so far: a repeated one would make the listing endless.
    seen: HashSet<String>,
}

impl Listing {
    /// The listings that show everybody's status: of everybody, and of the members of each of these groups.
    pub fn all(groups: &Groups) -> Vec<Self> {
        let groups = groups.iter().cloned().map(Some);
        let listing = |group| Self { group, token: None, is_read: false, seen: HashSet::new() };
        [None].into_iter().chain(groups).map(listing).collect()
    }

    /// Turns to the page with this token; `None` follows the last page.
    /// Fails when the token was used before.
    pub fn turn(&mut self, token: Option<String>) -> Result<(), PoolFault> {
        self.is_read = token.is_none();
        if let Some(token) = &token
            && !self.seen.insert(token.clone())
        {
            return Err("the pool repeated a pagination token".into());
        }
        self.token = token;
        Ok(())
    }
}
