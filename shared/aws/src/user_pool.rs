use serde_json::{Value, json};
use vega_auth::Groups;

use crate::{CallError, Service};

/// Maximum number of pages of groups read per user, with 60 groups each.
const MAX_PAGES: usize = 10;

/// A Cognito user pool.
pub struct UserPool {
    /// The client of Cognito's API.
    pub service: Service,
    /// The pool's id.
    pub pool_id: String,
}

/// The attributes of a user that we need.
pub struct User {
    /// Their username in the pool.
    pub username: String,
    /// Whether they can sign in.
    pub is_enabled: bool,
    /// Their e-mail address, if the pool verified it.
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
    /// The user with this `sub`, who once had this username. `None` if the pool answered that there is no such user.
    pub async fn find(&self, subject: &str, username: &str) -> Result<Option<User>, CallError> {
        match self.user(subject, username).await? {
            // Before a user counts as gone, look them up by their `sub` as well: the username may have changed. Only local users
            // can be found by their `sub`; users of another identity provider can't.
            None if username != subject => self.user(subject, subject).await,
            found => Ok(found),
        }
    }

    /// The user with this name, if the `sub` is the same: somebody else may have the name now.
    async fn user(&self, subject: &str, username: &str) -> Result<Option<User>, CallError> {
        let answer = match self.call("AdminGetUser", &json!({ "UserPoolId": self.pool_id, "Username": username })).await
        {
            // Only this code means that the user doesn't exist. A missing pool is ResourceNotFoundException.
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

    /// The user's groups.
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
                _ => return Ok(Groups::named(names.iter().map(String::as_str))),
            }
        }
        // Some of the groups would look like fewer groups.
        Err(CallError::Unavailable(format!("{OPERATION}: more than {MAX_PAGES} pages").into()))
    }

    /// A page of the pool's users, or of a group's: up to 60.
    /// Fails when the pool doesn't answer, or has no such group.
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
