use serde_json::{Value, json};
use vega_auth::Groups;

use crate::{CallError, Service};

/// The most pages of groups that are read of one person: 60 groups each.
const MAX_PAGES: usize = 10;

/// A user pool of Cognito.
pub struct UserPool {
    /// How it is called.
    pub service: Service,
    /// Which pool.
    pub pool_id: String,
}

/// A user, as far as it matters here.
pub struct User {
    /// What the pool calls them.
    pub username: String,
    /// Whether they may sign in.
    pub is_enabled: bool,
    /// Their mail address, if it was shown to be theirs.
    pub email: Option<String>,
}

impl UserPool {
    /// The person with this `sub`, who had this username once. `None` where the pool answered that there is no such person.
    ///
    /// # Errors
    /// When the pool did not say.
    pub async fn find(&self, subject: &str, username: &str) -> Result<Option<User>, CallError> {
        match self.user(subject, username).await? {
            // Before anybody is taken for gone, they are asked for by their other name as well: a local user is known by
            // their `sub`, one of another identity provider isn't.
            None if username != subject => self.user(subject, subject).await,
            found => Ok(found),
        }
    }

    /// The user of this name, if there is one with this `sub`: a name may have gone to somebody else.
    async fn user(&self, subject: &str, username: &str) -> Result<Option<User>, CallError> {
        let answer = match self.call("AdminGetUser", &json!({ "UserPoolId": self.pool_id, "Username": username })).await
        {
            // The one refusal that says so. A pool that isn't there, for one, is ResourceNotFoundException.
            Err(CallError::Refused(code)) if code == "UserNotFoundException" => return Ok(None),
            outcome => outcome?,
        };
        let attributes = answer["UserAttributes"].as_array().map(Vec::as_slice).unwrap_or_default();
        let attribute = |name| attributes.iter().find(|it| it["Name"] == name).and_then(|it| it["Value"].as_str());
        if attribute("sub").ok_or_else(|| lacks("AdminGetUser", "sub"))? != subject {
            return Ok(None);
        }
        let is_verified = attribute("email_verified") == Some("true");
        Ok(Some(User {
            username: answer["Username"].as_str().ok_or_else(|| lacks("AdminGetUser", "Username"))?.to_owned(),
            is_enabled: answer["Enabled"].as_bool().ok_or_else(|| lacks("AdminGetUser", "Enabled"))?,
            email: attribute("email").filter(|_| is_verified).map(str::to_owned),
        }))
    }

    /// The groups of a user that access rules can name.
    ///
    /// # Errors
    /// When the pool did not say, or not all.
    pub async fn groups(&self, user: &User) -> Result<Groups, CallError> {
        const OPERATION: &str = "AdminListGroupsForUser";
        let mut names = Vec::new();
        let mut body = json!({ "UserPoolId": self.pool_id, "Username": user.username, "Limit": 60 });
        for _ in 0..MAX_PAGES {
            let answer = self.call(OPERATION, &body).await?;
            for group in answer["Groups"].as_array().ok_or_else(|| lacks(OPERATION, "Groups"))? {
                names.push(group["GroupName"].as_str().ok_or_else(|| lacks(OPERATION, "GroupName"))?.to_owned());
            }
            match &answer["NextToken"] {
                Value::String(token) if !token.is_empty() => body["NextToken"] = token.as_str().into(),
                _ => return Ok(Groups::known(names.iter().map(String::as_str))),
            }
        }
        // Part of the groups would look like fewer groups
        Err(CallError::Unavailable(format!("{OPERATION}: more than {MAX_PAGES} pages").into()))
    }

    async fn call(&self, operation: &str, body: &Value) -> Result<Value, CallError> {
        self.service.post("/", Some(&format!("AWSCognitoIdentityProviderService.{operation}")), body).await
    }
}

fn lacks(operation: &str, member: &str) -> CallError {
    CallError::Unavailable(format!("{operation}: the answer lacks {member}").into())
}
