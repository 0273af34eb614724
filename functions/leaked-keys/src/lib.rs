//! `/v1/leaked-keys`: anyone who finds a key in the open can report it, which revokes it.
//!
//! Nobody signs in here: the key itself is the proof. The response never reveals whether it was a key, except to GitHub, whose
//! protocol requires that and whose signature we check. Our response time reveals nothing of use: a wrong form or checksum can
//! be seen offline, a wrong id and a wrong secret cost the same single read, and only the holder of a whole key causes a write,
//! which leaves them with a revoked one. A report of many keys is the same work for each of them.

mod github;
mod problem;

use std::convert::Infallible;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use http::StatusCode;
use lambda_http::Request;
use schemars::JsonSchema;
use serde::Deserialize;
use vega_auth::config::{Environment, is_emulator, text};
use vega_auth::{Actor, ApiKey, FetchKeySet, HIDDEN, KeyRecord, KeySetCache, Timestamp, is_hidden, not_null};
use vega_http::{
    Answer, Handler, Problem, RequestProblem, body_bytes, empty, json, read_json, request_id, route, source_address,
    within,
};
use vega_openapi::{Route, schema_of};
use vega_store::{CommitError, Store, UpdateError};

pub use crate::github::GithubKeys;
use crate::github::{Feedback, Match};
use crate::problem::ReportProblem;

/// The function's name in the log.
pub const FUNCTION: &str = "leaked-keys";
/// The actor in the audit events of the revocations made here.
const ACTOR: &str = "system:leaked-keys";
/// Maximum length of `found_at`, in characters.
const MAX_FOUND_AT: usize = 500;
/// Maximum number of keys in a report. With the longest `found_at`, they fit into a body.
const MAX_KEYS: usize = 100;
/// The largest report from GitHub that we read: some thousands of matches.
const MAX_GITHUB_BODY_BYTES: usize = 1024 * 1024;
/// Keys of a report that are looked up at once: a report with thousands of them takes seconds, not minutes.
const CONCURRENCY: usize = 16;
/// Time limit of a request. GitHub waits for 30 s, API Gateway for 29.
const DEADLINE: Duration = Duration::from_secs(25);

/// Revokes leaked keys.
pub struct LeakedKeys<F> {
    /// The keys.
    pub store: Store,
    /// GitHub's signing keys; `None` turns its route off.
    pub github: Option<KeySetCache<F, GithubKeys>>,
}

/// Configuration, read from environment variables.
#[derive(Debug)]
pub struct Config {
    /// Access to the table.
    pub aws: vega_aws::Settings,
    /// `VEGA_KEYS_TABLE`.
    pub table: String,
    /// `VEGA_GITHUB_KEYS_URL`: where GitHub publishes the keys that sign its reports. Without it, GitHub's route is off.
    pub github_keys_url: Option<String>,
}

impl Config {
    /// Reads every variable. The problems are collected in `environment`.
    pub fn read(environment: &mut Environment<'_>) -> Option<Self> {
        let table = environment.required("VEGA_KEYS_TABLE", text);
        let github = environment.optional("VEGA_GITHUB_KEYS_URL", None, |url| {
            // Over plain HTTP, anyone on the network path could sign reports.
            let is_safe = url.starts_with("https://") || is_emulator(url);
            is_safe.then(|| Some(url.to_owned())).ok_or("expected an https:// URL")
        });
        let aws = vega_aws::Settings::read(environment);
        Some(Self { aws: aws?, table: table?, github_keys_url: github? })
    }
}

/// `POST /v1/leaked-keys`: either one key or several.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "LeakedKeys", extend("oneOf" = [{ "required": ["key"] }, { "required": ["keys"] }]))]
struct Report {
    /// The text that was found. Anything but a complete key is accepted, and has no effect.
    #[serde(default, deserialize_with = "not_null")]
    #[schemars(with = "String")]
    key: Option<String>,
    /// The texts that were found in one place.
    #[serde(default, deserialize_with = "not_null")]
    #[schemars(with = "Vec<String>", length(min = 1, max = MAX_KEYS))]
    keys: Option<Vec<String>>,
    /// The place, in one line, for the keys' owners.
    #[serde(default)]
    #[schemars(length(max = MAX_FOUND_AT), regex(pattern = format!(r"^[^\x00-\x1f{HIDDEN}]*$")))]
    found_at: String,
}

/// The routes, as docs/openapi.json describes them.
pub fn routes() -> Vec<Route> {
    vec![
        Route::public("POST /v1/leaked-keys", "reportLeakedKey", "Report keys that were found in the open")
            .description(
                "For anyone, without signing in. Reports one `key`, or up to 100 `keys` found in one place. Each is revoked, and \
                 its owner sees the place. The response never reveals whether a text was a key.",
            )
            .body::<Report>(serde_json::json!({
                "key": "vk_7Gh2kQ9XbT4m_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1EG2IT",
                "found_at": "https://example.com/a/public/repository",
            }))
            .no_content(202, "Accepted. Every key among the reported texts is revoked.")
            .error(&ReportProblem::FoundAt)
            .error(&ReportProblem::Keys),
        Route::public("POST /v1/leaked-keys/github", "reportGithubSecrets", "GitHub's secret scanning")
            .description(
                "GitHub's secret scanning partner protocol: a list of matches, signed by GitHub (ECDSA P-256 over the raw body).",
            )
            .header("Github-Public-Key-Identifier", "The identifier of GitHub's key that signed the report.", &schema_of::<String>())
            .header("Github-Public-Key-Signature", "The signature, in base64.", &schema_of::<String>())
            .unchecked_body::<Vec<Match>>(serde_json::json!([{
                "token": "vk_7Gh2kQ9XbT4m_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1EG2IT", "type": "vega_api_key",
                "url": "https://example.com/a/public/repository", "source": "content",
            }]))
            .json::<Vec<Feedback>>(
                200,
                "For each match, whether it is, or was, a key of ours.",
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
            ("POST /v1/leaked-keys/github", Some(github)) => self.report_github(request, github, now).await,
            _ => Err(RequestProblem::NoSuchRoute.into()),
        }
    }

    async fn report(&self, request: &Request, now: Timestamp) -> Answer {
        let Report { key, keys, found_at } = read_json(request)?;
        if found_at.chars().count() > MAX_FOUND_AT || found_at.contains(is_hidden) {
            return Err(ReportProblem::FoundAt.into());
        }
        let texts = match (key, keys) {
            (Some(text), None) => vec![text],
            (None, Some(texts)) if (1..=MAX_KEYS).contains(&texts.len()) => texts,
            _ => return Err(ReportProblem::Keys.into()),
        };
        let texts = texts.into_iter().map(|text| (text, found_at.clone()));
        self.revoke_all(texts.collect(), request, now).await?;
        Ok(empty(StatusCode::ACCEPTED))
    }

    async fn report_github(&self, request: &Request, github: &KeySetCache<F, GithubKeys>, now: Timestamp) -> Answer {
        let body = body_bytes(request);
        if body.len() > MAX_GITHUB_BODY_BYTES {
            return Err(ReportProblem::TooLarge.into());
        }
        // Nothing of the body is parsed before its signature is verified.
        let identifier = one_header(request, "github-public-key-identifier").ok_or(ReportProblem::NotSigned)?;
        let signature = one_header(request, "github-public-key-signature").ok_or(ReportProblem::NotSigned)?;
        let key = github.key(identifier, now).await?.ok_or(ReportProblem::NotSigned)?;
        if !key.signed(body, signature) {
            return Err(ReportProblem::NotSigned.into());
        }
        let matches: Vec<Match> = serde_json::from_slice(body).map_err(|_| ReportProblem::NotMatches)?;
        let texts = matches.iter().map(|found| {
            let place = found.found_at().chars().filter(|letter| !is_hidden(*letter)).take(MAX_FOUND_AT).collect();
            (found.token.clone(), place)
        });
        let are_ours = self.revoke_all(texts.collect(), request, now).await?;
        let feedback = matches.into_iter().zip(are_ours).map(|(found, is_ours)| Feedback::new(found, is_ours));
        json(200, &feedback.collect::<Vec<_>>())
    }

    /// Revokes the keys among the texts, which are paired with the place of each. Returns for each text whether it is, or was, a
    /// key of ours. If one fails, the others are revoked all the same.
    async fn revoke_all(
        &self,
        texts: Vec<(String, String)>,
        request: &Request,
        now: Timestamp,
    ) -> Result<Vec<bool>, Problem> {
        let lookups: Vec<_> = texts.iter().map(|(text, _)| self.find(text)).collect();
        let found: Vec<_> = stream::iter(lookups).buffered(CONCURRENCY).collect().await;
        // One at a time: revocations of one owner's keys would conflict with each other.
        let mut are_ours = Vec::with_capacity(texts.len());
        for (key, (_, place)) in found.into_iter().zip(&texts) {
            are_ours.push(match key {
                Ok(Some(key)) => self.revoke(&key, place, request, now).await.map(|()| true),
                Ok(None) => Ok(false),
                Err(problem) => Err(problem),
            });
        }
        are_ours.into_iter().collect()
    }

    /// The key `text`, if it is, or was, a key of ours.
    async fn find(&self, text: &str) -> Result<Option<ApiKey>, Problem> {
        let Ok(key) = text.parse::<ApiKey>() else { return Ok(None) };
        let record = self.store.find(key.id()).await?;
        Ok(record.is_some_and(|record| record.is_of(&key)).then_some(key))
    }

    /// Revokes a key that [`Self::find`] found. Anyone who knows the whole key may do that.
    async fn revoke(&self, key: &ApiKey, found_at: &str, request: &Request, now: Timestamp) -> Result<(), Problem> {
        let actor = Actor {
            id: ACTOR.to_owned(),
            username: FUNCTION.to_owned(),
            address: source_address(request),
            request_id: request_id(request),
            ..Actor::default()
        };
        let decide = |record: &KeyRecord| Ok::<_, Infallible>(record.revoke_leaked(found_at, now));
        match self.store.update(key.id(), &actor, now, decide).await {
            Ok(_) | Err(UpdateError::NotFound) => Ok(()),
            Err(UpdateError::Refused(never)) => match never {},
            Err(UpdateError::Commit(CommitError::Fault(fault))) => Err(fault.into()),
            Err(UpdateError::Commit(_)) => Err(Problem::fault("key_contended", &"the key changed at every attempt")),
        }
    }
}

/// A header that occurs exactly once. Given two, we don't guess.
fn one_header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let mut values = request.headers().get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}
