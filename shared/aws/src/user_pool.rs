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

/// A page of a listing of users.
#[derive(Debug, Default)]
pub struct Page {
    /// The `sub` of each, and whether they may sign in. A page that isn't the last can be empty.
    pub users: Vec<(String, bool)>,
    /// The token of the next page.
    pub next: Option<String>,
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
        let attribute = |name| attribute(&answer["UserAttributes"], name);
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

    /// A page of the pool's users, or of a group's: up to 60.
    ///
    /// # Errors
    /// When the pool did not say, or has no such group.
    pub async fn list(&self, group: Option<&str>, token: Option<&str>) -> Result<Page, CallError> {
        let (operation, next) = match group {
            None => ("ListUsers", "PaginationToken"),
            Some(_) => ("ListUsersInGroup", "NextToken"),
        };
        let mut body = json!({ "UserPoolId": self.pool_id, "Limit": 60 });
        match group {
            None => body["AttributesToGet"] = json!(["sub"]),
            Some(group) => body["GroupName"] = group.into(),
        }
        if let Some(token) = token {
            body[next] = token.into();
        }
        let answer = self.call(operation, &body).await?;
        let mut page = Page::default();
        for user in answer["Users"].as_array().ok_or_else(|| lacks(operation, "Users"))? {
            let subject = attribute(&user["Attributes"], "sub").ok_or_else(|| lacks(operation, "sub"))?;
            let is_enabled = user["Enabled"].as_bool().ok_or_else(|| lacks(operation, "Enabled"))?;
            page.users.push((subject.to_owned(), is_enabled));
        }
        page.next = match &answer[next] {
            Value::Null => None,
            Value::String(token) if !token.is_empty() => Some(token.clone()),
            // Anything else might hide the rest.
            _ => return Err(CallError::Unavailable(format!("{operation}: the answer's {next} is malformed").into())),
        };
        Ok(page)
    }

    async fn call(&self, operation: &str, body: &Value) -> Result<Value, CallError> {
        self.service.post("/", Some(&format!("AWSCognitoIdentityProviderService.{operation}")), body).await
    }
}

/// An attribute of a user, from a list of names and values.
fn attribute<'a>(attributes: &'a Value, name: &str) -> Option<&'a str> {
    attributes.as_array()?.iter().find(|it| it["Name"] == name)?["Value"].as_str()
}

fn lacks(operation: &str, member: &str) -> CallError {
    CallError::Unavailable(format!("{operation}: the answer lacks {member}").into())
}
