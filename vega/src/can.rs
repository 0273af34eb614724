use serde_json::{Value, json};
use vega_auth::{
    Access, AccessRules, Authentication, CurrentUser, DeniedAs, Group, Groups, KeyId, Network, ScopeName, Target,
};

use crate::World;
use crate::api::Api;
use crate::arguments::{Can, Connection};
use crate::outcome::{Answer, Failure, about};
use crate::rules::read;
use crate::token::Token;
use crate::whoami::{cause, own_record};

/// Decides with the authorizer's own rules. The API identifies a caller with a credential.
pub async fn run(can: Can, connection: &Connection, world: &World) -> Result<Answer, Failure> {
    let rules = read(&can.rules.file)?.map_err(|problems| about("the rules are invalid", problems.text.trim_end()))?;
    let method = can.method.to_ascii_uppercase();
    let (user, networks) = match &can.groups {
        Some(groups) => (assumed(&rules, groups, can.key, &can.scopes)?, Vec::new()),
        None => match identified(connection, world).await? {
            Ok(found) => found,
            Err(refused) => return Ok(refused),
        },
    };
    if !networks.is_empty() {
        let from = can.from.ok_or_else(|| Failure("the key is limited to networks: pass --from ADDRESS".into()))?;
        if !networks.iter().any(|network| network.contains(from)) {
            let text = format!("no: 401, the key can't be used from {from}");
            return Ok(Answer::problem(
                text,
                json!({ "allowed": false, "status": 401, "code": "address_not_allowed" }),
            ));
        }
    }
    Ok(decide(&rules, &user, &method, &can.path))
}

/// The decision in words, with the rule.
fn decide(rules: &AccessRules, user: &CurrentUser, method: &str, path: &str) -> Answer {
    let rule = rule(rules, method, path);
    let json = |allowed: bool, code: &str| {
        json!({ "allowed": allowed, "status": if allowed { 200 } else { 403 }, "code": code, "rule": rule,
            "groups": user.groups, "authenticated_by": user.authentication.name() })
    };
    let who = format!("{} in {}", user.authentication.name(), named(&user.groups));
    match (access(rules, user, method, path), &rule) {
        (Access::Allowed, rule) => {
            let rule = rule.as_deref().unwrap_or_default();
            Answer::ok(format!("yes: the rule \"{rule}\" admits the caller ({who})"), json(true, "ok"))
        }
        (Access::Denied(reason), None) => {
            let text = format!("no: 403, no rule applies to {method} {path}, or the path can be read in two ways");
            Answer::problem(text, json(false, reason.code()))
        }
        (Access::Denied(reason @ DeniedAs::InsufficientScope), Some(rule)) => {
            let text = format!(
                "no: 403, the rule \"{rule}\" admits the groups, but none of the key's scopes includes the route"
            );
            Answer::problem(text, json(false, reason.code()))
        }
        (Access::Denied(reason), Some(rule)) => {
            let text = format!("no: 403, the rule \"{rule}\" doesn't admit the caller ({who})");
            Answer::problem(text, json(false, reason.code()))
        }
    }
}

/// The decision about a path, or about a template of paths.
pub fn access(rules: &AccessRules, user: &CurrentUser, method: &str, path: &str) -> Access {
    let (path, resource) = concrete(path);
    rules.access(user, Target { method, path: &path, resource: resource.as_deref() })
}

/// The route of the rule that decides.
pub fn rule(rules: &AccessRules, method: &str, path: &str) -> Option<String> {
    let (path, resource) = concrete(path);
    rules.rule(Target { method, path: &path, resource: resource.as_deref() }).map(ToString::to_string)
}

/// A path for a template: `/v1/projects/x` for `/v1/projects/{id}`. A literal path has no template.
fn concrete(path: &str) -> (String, Option<String>) {
    let resource = path.contains('{').then(|| path.to_owned());
    let segments = path.split('/').map(|segment| if segment.starts_with('{') { "x" } else { segment });
    (segments.collect::<Vec<_>>().join("/"), resource)
}

fn named(groups: &Groups) -> String {
    if groups.is_empty() { "no group".to_owned() } else { format!("the groups {groups}") }
}

/// A caller who doesn't exist, in groups that the rules list.
pub fn assumed(rules: &AccessRules, groups: &str, is_key: bool, scopes: &[String]) -> Result<CurrentUser, Failure> {
    let names = groups.split(',').filter(|name| !name.is_empty() && *name != "-");
    let group = |name: &str| {
        let group = name.parse::<Group>().map_err(|error| about(name, error))?;
        if rules.groups().contains(&group) { Ok(group) } else { Err(about(name, "the rules list no such group")) }
    };
    let groups = names.map(group);
    let scopes = scopes.iter().map(|name| name.parse::<ScopeName>().map_err(|error| about(name, error)));
    let authentication = if is_key {
        let key_id = KeyId::from_entropy([0; 16]);
        Authentication::ApiKey { key_id, scopes: scopes.collect::<Result<_, _>>()?, networks: Vec::new() }
    } else {
        Authentication::Jwt
    };
    Ok(user(groups.collect::<Result<_, _>>()?, authentication))
}

fn user(groups: Groups, authentication: Authentication) -> CurrentUser {
    CurrentUser {
        id: String::new(),
        username: String::new(),
        groups,
        authentication,
        oauth_scopes: Vec::new(),
        issued_at: None,
        expires_at: None,
    }
}

type Identified = Result<(CurrentUser, Vec<Network>), Answer>;

/// The caller, as the API identifies them, and the networks of their key.
async fn identified(connection: &Connection, world: &World) -> Result<Identified, Failure> {
    let token = Token::read(connection, world)?;
    if let Some(cause) = cause(&token, world.now) {
        return Ok(Err(cause));
    }
    let api = Api::new(connection, world)?;
    let record = match api.get(own_record(&token), &token).await? {
        Ok(record) => record,
        Err(refused) => return Ok(Err(refused)),
    };
    // A group or scope that these rules don't know grants nothing.
    let groups: Groups = strings(&record["groups"]).filter_map(|name| name.parse::<Group>().ok()).collect();
    let networks = strings(&record["cidrs"]).filter_map(|text| text.parse().ok()).collect();
    let authentication = match record["authenticated_by"].as_str() {
        None => Authentication::ApiKey {
            key_id: record["id"].as_str().and_then(|id| id.parse().ok()).ok_or_else(unreadable)?,
            scopes: strings(&record["scopes"]).map(str::parse).collect::<Result<_, _>>().map_err(|_| unreadable())?,
            networks: Vec::new(),
        },
        Some("jwt") => Authentication::Jwt,
        Some("other_pool") => Authentication::OtherPool,
        Some("machine") => Authentication::Machine,
        Some(_) => return Err(unreadable()),
    };
    Ok(Ok((user(groups, authentication), networks)))
}

fn unreadable() -> Failure {
    Failure("the API's description of the caller is of another version".into())
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}
