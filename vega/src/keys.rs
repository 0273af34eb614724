use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use serde_json::{Map, Value, json};
use vega_auth::KeyId;

use crate::World;
use crate::api::{Api, encoded};
use crate::arguments::{Change, Connection, Keys, NewSecret};
use crate::outcome::{Answer, Failure, about, table};
use crate::token::Token;
use crate::whoami::{cause, members};

const ROUTE: &str = "/v1/api-keys";

/// Manages the caller's keys.
pub async fn run(command: Keys, connection: &Connection, world: &World) -> Result<Answer, Failure> {
    let token = Token::read(connection, world)?;
    if let Some(cause) = cause(&token, world.now) {
        return Ok(cause);
    }
    let keys = Client { api: Api::new(connection, world)?, token };
    match command {
        Keys::List { status } => {
            let query = status.map_or_else(String::new, |status| format!("status={}&", encoded(&status)));
            keys.pages(ROUTE, &query, ["id", "name", "status", "groups", "expires_at", "last_used_at"]).await
        }
        Keys::Show { id } => keys.change("GET", id, None, None).await,
        Keys::Create { name, description, groups, scopes, cidrs, expires_in_days, secret } => {
            let mut body = Map::from_iter([("name".to_owned(), json!(name))]);
            body.extend(description.map(|text| ("description".to_owned(), json!(text))));
            body.extend(expires_in_days.map(|days| ("expires_in_days".to_owned(), json!(days))));
            for (member, list) in [("groups", groups), ("scopes", scopes), ("cidrs", cidrs)] {
                if !list.is_empty() {
                    body.insert(member.to_owned(), json!(list));
                }
            }
            keys.create(ROUTE, Value::Object(body), &secret, world).await
        }
        Keys::Rotate { id, overlap_seconds, secret } => {
            let body = overlap_seconds.map_or_else(|| json!({}), |seconds| json!({ "overlap_seconds": seconds }));
            keys.create(&format!("{ROUTE}/{id}/rotate"), body, &secret, world).await
        }
        Keys::Disable { change: Change { id, reason } } => keys.change("PATCH", id, reason, Some("disabled")).await,
        Keys::Enable { change: Change { id, reason } } => keys.change("PATCH", id, reason, Some("active")).await,
        Keys::Revoke { change: Change { id, reason } } => keys.change("DELETE", id, reason, None).await,
        Keys::Events { id } => {
            keys.pages(&format!("{ROUTE}/{id}/events"), "", ["at", "event", "actor_username", "address", "reason"])
                .await
        }
    }
}

struct Client {
    api: Api,
    token: Token,
}

impl Client {
    /// Every page of a list, as a table with these members.
    async fn pages<const N: usize>(&self, path: &str, query: &str, columns: [&str; N]) -> Result<Answer, Failure> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let mut page = match self.api.get(&format!("{path}?{query}limit=100{cursor}"), &self.token).await? {
                Ok(page) => page,
                Err(refused) => return Ok(refused),
            };
            if let Value::Array(some) = page["items"].take() {
                items.extend(some);
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={}", encoded(next)),
                None => break,
            }
        }
        let cell = |value: &Value| match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            Value::Array(all) => all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
            other => other.to_string(),
        };
        let rows: Vec<_> = items.iter().map(|item| columns.map(|name| cell(&item[name]))).collect();
        Ok(Answer::ok(table(columns, rows), Value::Array(items)))
    }

    /// Reads, changes or revokes a key.
    async fn change(
        &self,
        method: &str,
        id: KeyId,
        reason: Option<String>,
        status: Option<&str>,
    ) -> Result<Answer, Failure> {
        let reason = reason.map_or_else(String::new, |reason| format!("?reason={}", encoded(&reason)));
        let body = status.map(|status| json!({ "status": status }));
        let path = format!("{ROUTE}/{id}{reason}");
        Ok(match self.api.call(method, &path, Some(&self.token), body.as_ref(), &[]).await?.accepted()? {
            Err(refused) => refused,
            Ok(Value::Null) => Answer::ok(format!("{id} is revoked"), json!({ "id": id, "status": "revoked" })),
            Ok(key) => Answer::ok(members(&key), key),
        })
    }

    /// Creates a key. The request can be repeated, and the place of the key is known to be writable before it exists.
    async fn create(&self, path: &str, body: Value, secret: &NewSecret, world: &World) -> Result<Answer, Failure> {
        let mut file =
            secret.key_file.as_deref().map(|path| private_file(path).map(|file| (path, file))).transpose()?;
        let mut entropy = [0; 16];
        (world.random)(&mut entropy)?;
        let id = entropy.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        let headers = [("idempotency-key", id)];
        let outcome = self.api.call("POST", path, Some(&self.token), Some(&body), &headers).await;
        let mut created = match outcome.and_then(crate::api::Response::accepted) {
            Ok(Ok(created)) => created,
            other => {
                if let Some((path, _)) = &file {
                    let _ = std::fs::remove_file(path);
                }
                return other.map(|refused| refused.err().unwrap_or_else(|| Answer::ok("", Value::Null)));
            }
        };
        if let Some((path, file)) = &mut file {
            let key = created["key"].take();
            let key = key.as_str().ok_or_else(|| Failure("the API's answer contains no key".into()))?;
            writeln!(file, "{key}").map_err(|error| {
                about(path.display(), format!("the key was created and can't be written ({error}): rotate it"))
            })?;
            created.as_object_mut().map(|members| members.remove("key"));
        }
        Ok(Answer::ok(members(&created), created))
    }
}

/// A new file that only its owner can read.
fn private_file(path: &Path) -> Result<std::fs::File, Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|error| about(path.display(), error))
}
