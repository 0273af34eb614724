use std::fmt;

use serde::Serialize;
use vega_auth::{Authentication, CurrentUser, KeyId};

/// What the log says of one decision: what was asked for, as API Gateway names it, and who the caller turned out to be.
/// Nothing of a credential, and nothing of a caller whose credential wasn't good.
#[derive(Debug, Default, Serialize)]
pub struct LogLine {
    /// `allow`, `deny`, `reject` or `fault`.
    pub outcome: &'static str,
    /// Why: `ok`, `forbidden`, `insufficient_scope`, or the code of the rejection or fault.
    pub code: &'static str,
    /// API Gateway's id of the request, where it tells one.
    pub request_id: Option<String>,
    /// The template of the path, where API Gateway tells one.
    pub route: Option<String>,
    /// The method called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// `jwt` or `api_key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<&'static str>,
    /// The caller's stable id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The public id of the caller's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// What led to a fault, from what happened to what caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Why the last use of the key could not be noted, which decided nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_use_not_noted: Option<String>,
    /// How long the decision took, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}

impl LogLine {
    pub(crate) fn says(&mut self, outcome: &'static str, code: &'static str) {
        self.outcome = outcome;
        self.code = code;
    }

    pub(crate) fn names(&mut self, caller: &CurrentUser) {
        self.user_id = Some(caller.id.clone());
        (self.via, self.key_id) = match caller.authentication {
            Authentication::Jwt => (Some("jwt"), None),
            Authentication::ApiKey { key_id, .. } => (Some("api_key"), Some(key_id)),
        };
    }
}

/// One line of JSON.
impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}
