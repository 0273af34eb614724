//! `/v1/leaked-keys`: whoever finds a key in the open hands it in, and it ends.
//!
//! Nobody signs in here: the key itself is the proof. An answer never says whether it was one, but to GitHub, whose
//! protocol asks for it and whose signature we check. What is told by how long we take is worth nothing: a form or checksum
//! that is wrong can be seen offline, an id that is wrong and a secret that is wrong cost the same one read, and only the
//! holder of a whole key makes us write, which leaves them with a dead one.

mod github;
mod problem;

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use http::StatusCode;
use lambda_http::{Body, Request};
use schemars::JsonSchema;
use serde::Deserialize;
use vega_auth::config::{Environment, is_emulator, text};
use vega_auth::{ApiKey, DIGEST_VERSION, FetchKeySet, HIDDEN, KeySetCache, KeyStatus, Timestamp, is_hidden};
use vega_http::{
    Answer, Handler, Problem, RequestProblem, body_bytes, json, read_json, request_id, route, source_address, within,
};
use vega_openapi::{Route, schema_of};
use vega_store::{Actor, ChangeError, EventKind, Store};

pub use crate::github::GithubKeys;
use crate::github::{Feedback, Match};
use crate::problem::ReportProblem;

/// The function's name in the log.
pub const FUNCTION: &str = "leaked-keys";
/// Who ended the key, in its audit events.
const ACTOR: &str = "system:leaked-keys";
/// The longest place, in characters.
const MAX_FOUND_AT: usize = 500;
/// The largest report of GitHub's that we read: some thousands of matches.
const MAX_GITHUB_BODY_BYTES: usize = 1024 * 1024;
/// How often ending a key is tried again that met a change of it.
const TRIES: usize = 5;
/// How many matches of a report are looked up at once: the thousands that a report can have take seconds, not minutes.
const AT_ONCE: usize = 16;
/// All that a request may take. GitHub waits for 30 s, API Gateway for 29.
const DEADLINE: Duration = Duration::from_secs(25);

/// Ends leaked keys.
pub struct LeakedKeys<F> {
    /// Where they live.
    pub store: Store,
    /// Who may report for GitHub; `None` turns that route off.
    pub github: Option<KeySetCache<F, GithubKeys>>,
}

/// Configuration, read from environment variables.
#[derive(Debug)]
pub struct Config {
    /// Where the table is.
    pub store: vega_store::Settings,
    /// `VEGA_KEYS_TABLE`.
    pub table: String,
    /// `VEGA_GITHUB_KEYS_URL`: where GitHub publishes the keys that it signs its reports with. Left out: no such reports.
    pub github_keys_url: Option<String>,
}

impl Config {
    /// Reads every variable. The problems are collected in `environment`.
    pub fn read(environment: &mut Environment<'_>) -> Option<Self> {
        let table = environment.required("VEGA_KEYS_TABLE", text);
        let github = environment.optional("VEGA_GITHUB_KEYS_URL", None, |url| {
            // Over plain HTTP, whoever sits on the line would sign the reports.
            let is_safe = url.starts_with("https://") || is_emulator(url);
            is_safe.then(|| Some(url.to_owned())).ok_or("expected an https:// URL")
        });
        let store = vega_store::Settings::read(environment);
        Some(Self { store: store?, table: table?, github_keys_url: github? })
    }
}

/// `POST /v1/leaked-keys`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "LeakedKey")]
struct Report {
    /// What was found. Anything that isn't a key of ours is taken, and does nothing.
    key: String,
    /// Where, for its owner: a line.
    #[serde(default)]
    #[schemars(length(max = MAX_FOUND_AT), regex(pattern = format!(r"^[^\x00-\x1f{HIDDEN}]*$")))]
    found_at: String,
}

/// The routes, as docs/openapi.json shows them.
pub fn routes() -> Vec<Route> {
    vec![
        Route::public("POST /v1/leaked-keys", "reportLeakedKey", "Report a key that was found in the open")
            .description("For anyone. The key ends, and its owner sees where it was found. The answer never says whether it was one.")
            .body::<Report>(serde_json::json!({
                "key": "vk_7Gh2kQ9XbT4m_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1EG2IT",
                "found_at": "https://example.com/a/public/repository",
            }))
            .no_content(202, "Taken: if it was a key, it is over.")
            .error(&ReportProblem::FoundAt),
        Route::public("POST /v1/leaked-keys/github", "reportGithubSecrets", "GitHub's secret scanning")
            .description(
                "The secret scanning partner protocol of GitHub: a list of matches, under its signature (ECDSA P-256 over the \
                 raw body).",
            )
            .header("Github-Public-Key-Identifier", "Which of GitHub's keys signed.", &schema_of::<String>())
            .header("Github-Public-Key-Signature", "The signature, in base64.", &schema_of::<String>())
            .unchecked_body::<Vec<Match>>(serde_json::json!([{
                "token": "vk_7Gh2kQ9XbT4m_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1EG2IT", "type": "vega_api_key",
                "url": "https://example.com/a/public/repository", "source": "content",
            }]))
            .json::<Vec<Feedback>>(
                200,
                "Which of them are, or were, keys of ours.",
                serde_json::json!([{
                    "token_raw": "vk_7Gh2kQ9XbT4m_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1EG2IT",
                    "token_type": "vega_api_key", "label": "true_positive",
                }]),
            )
            .error(&ReportProblem::NotMatches)
            .error(&ReportProblem::NotSigned)
            .error(&RequestProblem::NoSuchRoute)
            .error(&ReportProblem::TooLarge),
    ]
}

impl<F: FetchKeySet + Send + Sync> Handler for LeakedKeys<F> {
    /// After a 503 some of the reported keys may be revoked: reporting again is safe.
    async fn handle(&self, request: &Request, now: Timestamp) -> Answer {
        within(DEADLINE, Box::pin(self.answer(request, now))).await
    }
}

impl<F: FetchKeySet> LeakedKeys<F> {
    async fn answer(&self, request: &Request, now: Timestamp) -> Answer {
        match (route(request).as_str(), &self.github) {
            ("POST /v1/leaked-keys", _) => self.report(request, now).await,
            ("POST /v1/leaked-keys/github", Some(github)) => self.report_of_github(request, github, now).await,
            _ => Err(RequestProblem::NoSuchRoute.into()),
        }
    }

    async fn report(&self, request: &Request, now: Timestamp) -> Answer {
        let report: Report = read_json(request)?;
        if report.found_at.chars().count() > MAX_FOUND_AT || report.found_at.contains(is_hidden) {
            return Err(ReportProblem::FoundAt.into());
        }
        self.end(&report.key, &report.found_at, request, now).await?;
        let mut response = http::Response::new(Body::Empty);
        *response.status_mut() = StatusCode::ACCEPTED;
        Ok(response)
    }

    async fn report_of_github(&self, request: &Request, github: &KeySetCache<F, GithubKeys>, now: Timestamp) -> Answer {
        let body = body_bytes(request);
        if body.len() > MAX_GITHUB_BODY_BYTES {
            return Err(ReportProblem::TooLarge.into());
        }
        // Nothing of the body is read before its signature is good.
        let identifier = one_header(request, "github-public-key-identifier").ok_or(ReportProblem::NotSigned)?;
        let signature = one_header(request, "github-public-key-signature").ok_or(ReportProblem::NotSigned)?;
        let key = github.key(identifier, now).await?.ok_or(ReportProblem::NotSigned)?;
        if !key.signed(body, signature) {
            return Err(ReportProblem::NotSigned.into());
        }
        let matches: Vec<Match> = serde_json::from_slice(body).map_err(|_| ReportProblem::NotMatches)?;
        let ended = stream::iter(matches).map(async |found| {
            let place: String =
                found.found_at().chars().filter(|letter| !is_hidden(*letter)).take(MAX_FOUND_AT).collect();
            let is_ours = self.end(&found.token, &place, request, now).await?;
            Ok::<_, Problem>(Feedback::new(found, is_ours))
        });
        json(200, &ended.buffered(AT_ONCE).try_collect::<Vec<_>>().await?)
    }

    /// Ends a key, if `text` is one that could still be used. Whether it is, or was, a key of ours.
    async fn end(&self, text: &str, found_at: &str, request: &Request, now: Timestamp) -> Result<bool, Problem> {
        let Ok(key) = text.parse::<ApiKey>() else { return Ok(false) };
        let actor = Actor {
            id: ACTOR.to_owned(),
            username: FUNCTION.to_owned(),
            address: source_address(request),
            request_id: request_id(request),
            ..Actor::default()
        };
        let reason = if found_at.is_empty() { "leaked".to_owned() } else { format!("leaked: {found_at}") };
        for _ in 0..TRIES {
            let found = self.store.find(key.id()).await?;
            let Some(record) =
                found.filter(|record| record.digest_version == DIGEST_VERSION && record.digest.matches(&key))
            else {
                return Ok(false);
            };
            if record.status == KeyStatus::Revoked || record.expires_at.is_some_and(|end| now >= end) {
                return Ok(true);
            }
            match self.store.revoke(&record, EventKind::Leaked, Some(&reason), &actor, now).await {
                Ok(_) => return Ok(true),
                // No change of the key may outrun its end
                Err(ChangeError::Conflict | ChangeError::TokenOutdated) => {}
                Err(ChangeError::Fault(fault)) => return Err(fault.into()),
            }
        }
        Err(Problem::fault("revoke_contended", &"the key changed at every try"))
    }
}

/// A header that stands exactly once: of two, which one counts is not ours to guess.
fn one_header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let mut values = request.headers().get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}
