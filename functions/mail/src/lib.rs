//! Mails a notification (docs/notifications.md) to the key's owner, at the address that the user pool has verified.

use serde::Deserialize;
use serde_json::json;
use vega_auth::config::{Environment, text};
use vega_auth::{Object, is_hidden};
use vega_aws::{CallError, Service, UserPool};
use vega_notification::{Kind, Notification};

/// The part of an `EventBridge` event that is read.
#[derive(Deserialize)]
pub struct Event {
    /// The notification.
    pub detail: Object<Notification>,
}

/// Configuration, read from environment variables.
#[derive(Debug)]
pub struct Config {
    /// Access to Cognito and SES.
    pub aws: vega_aws::Settings,
    /// `VEGA_COGNITO_USER_POOL_ID`.
    pub pool_id: String,
    /// `VEGA_MAIL_FROM`: an address that SES has verified.
    pub from: String,
}

impl Config {
    /// Reads every variable. The problems are collected in `environment`.
    pub fn read(environment: &mut Environment<'_>) -> Option<Self> {
        let pool_id = environment.required("VEGA_COGNITO_USER_POOL_ID", text);
        let from = environment.required("VEGA_MAIL_FROM", text);
        let aws = vega_aws::Settings::read(environment);
        Some(Self { aws: aws?, pool_id: pool_id?, from: from? })
    }
}

/// Mails notifications.
pub struct Mail {
    /// The user pool with the owners' addresses.
    pub pool: UserPool,
    /// The SES client.
    pub ses: Service,
    /// The sender's address.
    pub from: String,
}

impl Mail {
    /// Mails a notification. Returns whether the owner has a verified address.
    pub async fn send(&self, notification: &Notification) -> Result<bool, CallError> {
        let user = self.pool.find(&notification.owner, &notification.owner_username).await?;
        let Some(email) = user.and_then(|user| user.email) else { return Ok(false) };
        let (subject, body) = text_of(notification);
        let part = |text: String| json!({ "Data": text, "Charset": "UTF-8" });
        let mail = json!({
            "FromEmailAddress": self.from,
            "Destination": { "ToAddresses": [email] },
            "Content": { "Simple": { "Subject": part(subject), "Body": { "Text": part(body) } } },
        });
        self.ses.post("/v2/email/outbound-emails", None, &mail).await?;
        Ok(true)
    }
}

/// Subject and body, in plain text: nothing that people wrote can become markup or a header.
fn text_of(notification: &Notification) -> (String, String) {
    let visible = |text: &str| -> String { text.chars().filter(|letter| !is_hidden(*letter)).collect() };
    let name = visible(&notification.key_name);
    let network = notification.network.as_deref().unwrap_or("an unknown network");
    let (what, advice) = match notification.kind {
        Kind::Created => ("was created".to_owned(), "If it wasn't you, revoke it and tell your administrator."),
        Kind::FirstUsed => (format!("was used for the first time, from {network}"), "If it wasn't you, revoke it."),
        Kind::NewNetwork => (format!("was used from a new network, {network}"), "If it wasn't you, revoke it."),
        Kind::ExpiresIn14Days => ("expires within 14 days".to_owned(), "Rotate it if it is still needed."),
        Kind::ExpiresIn3Days => ("expires within 3 days".to_owned(), "Rotate it if it is still needed."),
        Kind::Expired => ("has expired".to_owned(), "Programs that use it will be rejected. Create a new one."),
        Kind::Leaked => (
            "was reported as leaked, and revoked".to_owned(),
            "Create a new one, and check where the old one was used since.",
        ),
        Kind::Revoked => ("was revoked".to_owned(), "Programs that use it will be rejected."),
        Kind::Narrowed => ("was limited".to_owned(), "If it wasn't you, tell your administrator."),
    };
    let line = |name: &str, text: Option<String>| text.map_or(String::new(), |text| format!("{name}: {text}\n"));
    let reason = notification.reason.as_deref().map(visible);
    let body = format!(
        "Your API key \"{name}\" ({}) {what}.\n\nAt: {}\n{}{}\n{advice}\n",
        notification.key_id,
        notification.at,
        line("Reason", reason),
        line("Expires", notification.expires_at.map(|end| end.to_string())),
    );
    (format!("API key \"{name}\" {what}"), body)
}

#[cfg(test)]
mod tests {
    use vega_auth::config::load;

    use super::*;

    fn notification(kind: &str) -> Notification {
        let event = json!({
            "version": "0", "source": "vega-auth", "detail-type": "API Key Notice",
            "detail": {
                "id": "7Gh2kQ9XbT4m/x", "notice": kind, "at": "2026-11-24T05:00:00Z", "key_id": "7Gh2kQ9XbT4m",
                "key_name": "ci\r\nBcc: all", "owner": "user-1", "owner_username": "ada", "expires_at": null,
                "network": "192.0.2.0/24", "reason": "leaked: a\npaste",
            },
        });
        serde_json::from_value::<Object<Event>>(event).unwrap().0.detail.0
    }

    #[test]
    fn every_kind_has_a_mail_and_peoples_texts_stay_on_their_line() {
        let schema: serde_json::Value =
            serde_json::from_str(include_str!("../../../docs/notifications.schema.json")).unwrap();
        let kinds = schema["properties"]["notice"]["enum"].as_array().unwrap();
        assert_eq!(kinds.len(), 9);
        for kind in kinds {
            let (subject, body) = text_of(&notification(kind.as_str().unwrap()));
            assert!(subject.starts_with(r#"API key "ciBcc: all" "#), "{subject}");
            assert!(!subject.contains('\n'), "{subject}");
            assert!(body.contains("(7Gh2kQ9XbT4m)"), "{body}");
            assert!(body.contains("Reason: leaked: apaste\n"), "{body}");
        }
        assert!(text_of(&notification("new_network")).0.ends_with("was used from a new network, 192.0.2.0/24"));
    }

    #[test]
    fn every_missing_variable_is_named() {
        let problems = load("mail", |_| None, Config::read).unwrap_err().0;
        for name in ["VEGA_COGNITO_USER_POOL_ID", "VEGA_MAIL_FROM", "AWS_REGION"] {
            assert_eq!(problems.iter().filter(|problem| problem.contains(name)).count(), 1, "{name}");
        }
    }
}
