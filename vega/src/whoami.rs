use serde_json::{Value, json};
use vega_auth::Timestamp;

use crate::World;
use crate::api::Api;
use crate::arguments::Connection;
use crate::outcome::{Answer, Failure};
use crate::token::Token;

/// Shows who the API takes the caller for.
pub async fn run(connection: &Connection, world: &World) -> Result<Answer, Failure> {
    let token = Token::read(connection, world)?;
    if let Some(cause) = cause(&token, world.now) {
        return Ok(cause);
    }
    let api = Api::new(connection, world)?;
    Ok(match api.get(own_record(&token), &token).await? {
        Err(refused) => refused,
        Ok(caller) => Answer::ok(members(&caller), caller),
    })
}

/// The route that describes the caller. Every key can read its own record, whatever its scopes.
pub fn own_record(token: &Token) -> &'static str {
    if token.key().is_some() { "/v1/api-keys/self" } else { "/v1/auth/me" }
}

/// A cause that the credential itself shows, so that the API can't accept it.
pub fn cause(token: &Token, now: Timestamp) -> Option<Answer> {
    let (code, text) = match (token.key(), token.unverified_claims()) {
        (Some(Ok(_)), _) => return None,
        (Some(Err(problem)), _) => ("mistyped_key", problem.to_owned()),
        (None, None) => ("not_a_token", "this is neither an API key nor a JWT".to_owned()),
        (None, Some(claims)) => of_claims(&claims, now)?,
    };
    Some(Answer::problem(text.clone(), json!({ "error": code, "detail": text })))
}

fn of_claims(claims: &Value, now: Timestamp) -> Option<(&'static str, String)> {
    let token_use = claims["token_use"].as_str().or_else(|| claims["typ"].as_str()).unwrap_or("access");
    if token_use != "access" {
        return Some(("token_use", format!("this is the {token_use} token: send the access token")));
    }
    let starts_at = ["nbf", "iat"].into_iter().filter_map(|name| claims[name].as_i64()).max();
    match (claims["exp"].as_i64(), starts_at) {
        (Some(end), _) if end <= now.0 => {
            Some(("expired", format!("the token expired {} seconds ago: sign in again", now.0 - end)))
        }
        // The authorizer's own leeway.
        (_, Some(start)) if start > now.0 + 30 => Some((
            "not_yet_valid",
            format!("the token is valid in {} seconds: compare this machine's clock with the issuer's", start - now.0),
        )),
        _ => None,
    }
}

/// One line per member.
pub fn members(object: &Value) -> String {
    let shown = |value: &Value| match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(all) if all.is_empty() => "–".to_owned(),
        Value::Array(all) => all.iter().map(|one| one.as_str().unwrap_or("?")).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    let members = object.as_object().into_iter().flatten();
    members.map(|(name, value)| format!("{name:22} {}\n", shown(value))).collect::<Vec<_>>().concat()
}
