//! API Gateway calls this before every protected route: it says who the caller is and what they may call.
//!
//! Three answers: a policy; an error that is exactly `Unauthorized` (the client sees 401); or, where we could not find
//! out, another error (503). Never an Allow without a proof.

mod event;
mod log_line;
pub mod policy;

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize as _, Deserializer};
use vega_auth::config::{Environment, Provider, text};
use vega_auth::{
    Access, AccessRules, AuthError, Authenticator, Credential, FetchKeySet, KeyRecords, Object, Timestamp,
};

use crate::event::{Event, Form};
pub use crate::log_line::LogLine;
use crate::policy::{Answer, MethodArn, Policies};

/// All that the environment says.
pub struct Config {
    /// Who issues the tokens.
    pub provider: Provider,
    /// The table of the keys.
    pub keys_table: String,
    /// Which routes want which groups.
    pub rules: AccessRules,
    /// How an HTTP API is answered: `VEGA_HTTP_API_RESPONSE`.
    pub http_api_response: HttpApiResponse,
    /// How long a key that was read needn't be read again: `VEGA_KEY_CACHE_SECONDS`.
    pub key_cache_seconds: u16,
    /// Whether API Gateway reuses an answer: `VEGA_AUTHORIZER_CACHE_SECONDS` is more than 0.
    pub gateway_caches: bool,
}

impl Config {
    /// Reads every variable; what is wrong is noted in `environment`.
    pub fn read<L: Fn(&str) -> Option<String>>(environment: &mut Environment<L>) -> Option<Self> {
        let provider = Provider::read(environment);
        let keys_table = environment.required("VEGA_KEYS_TABLE", text);
        let rules = environment.required("VEGA_ACCESS_RULES", |json| {
            let rules: AccessRules = json.parse().map_err(|error: vega_auth::RulesError| error.to_string())?;
            policy::check_size(&rules).map(|()| rules)
        });
        let http_api_response = environment.optional("VEGA_HTTP_API_RESPONSE", HttpApiResponse::Policy, str::parse);
        let key_cache_seconds = environment.optional("VEGA_KEY_CACHE_SECONDS", 0, |text| {
            text.parse().ok().filter(|seconds| *seconds <= 3600).ok_or("expected a number of seconds, at most 3600")
        });
        let gateway_caches = environment.optional("VEGA_AUTHORIZER_CACHE_SECONDS", false, |text| {
            text.parse().map(|seconds: u16| seconds > 0).map_err(|_| "expected a number of seconds")
        });
        Some(Self {
            provider: provider?,
            keys_table: keys_table?,
            rules: rules?,
            http_api_response: http_api_response?,
            key_cache_seconds: key_cache_seconds?,
            gateway_caches: gateway_caches?,
        })
    }
}

/// Why there is no policy. Its text is the whole of what API Gateway, and so the client, can learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 401. API Gateway wants this word, exactly.
    Unauthorized,
    /// 503, by any other word.
    Unavailable,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unauthorized => "Unauthorized",
            Self::Unavailable => "temporarily unavailable",
        })
    }
}

impl std::error::Error for Refusal {}

/// The authorizer: who calls, and the rules.
pub struct Authorizer<F, K> {
    /// Finds out who calls.
    pub authenticator: Authenticator<F, K>,
    /// What they may call.
    pub policies: Policies,
    /// How an HTTP API is answered.
    pub http_api_response: HttpApiResponse,
    /// Whether API Gateway may hold the answer against another route.
    pub gateway_caches: bool,
}

/// The two answers that an HTTP API can be set to expect; its events don't say which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpApiResponse {
    /// A policy for every route: right under any identity source, so it is what we give unless told otherwise.
    Policy,
    /// `isAuthorized`, for this route alone. An API that caches it must have `$context.routeKey` among its identity
    /// sources, or the answer for one route decides another.
    Simple,
}

impl std::str::FromStr for HttpApiResponse {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "policy" => Ok(Self::Policy),
            "simple" => Ok(Self::Simple),
            _ => Err("expected policy or simple"),
        }
    }
}

impl<F: FetchKeySet, K: KeyRecords> Authorizer<F, K> {
    /// Decides about one event, and gives the line for the log beside the decision.
    pub async fn decide<'de>(
        &self,
        event: impl Deserializer<'de, Error = serde_json::Error>,
        now: Timestamp,
    ) -> (Result<Answer, Refusal>, LogLine) {
        let mut line = LogLine::default();
        // The message of the error could repeat what the client sent.
        let event = match Object::<Event<'_>>::deserialize(event) {
            Ok(Object(event)) => event,
            // It was JSON a moment ago, so the trouble is in a text: half a surrogate, which is the client's doing.
            Err(error) if error.is_syntax() => {
                line.says("reject", "event_malformed");
                return (Err(Refusal::Unauthorized), line);
            }
            Err(_) => {
                line.says("fault", "event_unreadable");
                return (Err(Refusal::Unavailable), line);
            }
        };
        line.request_id = event.request_id().map(str::to_owned);
        line.route = event.route().map(str::to_owned);
        let Some((form, arn)) = event.form().and_then(|(form, arn)| Some((form, arn.parse::<MethodArn>().ok()?)))
        else {
            line.says("fault", "event_unknown");
            return (Err(Refusal::Unavailable), line);
        };
        line.method = Some(arn.method.clone());
        let decision = match self.authorize(&event, form, &arn, now, &mut line).await {
            Ok(answer) => Ok(answer),
            Err(AuthError::Rejected(reason)) => {
                line.says("reject", reason.code());
                Err(Refusal::Unauthorized)
            }
            Err(AuthError::Unavailable(fault)) => {
                line.says("fault", fault.code());
                line.cause = Some(fault.chain());
                Err(Refusal::Unavailable)
            }
        };
        (decision, line)
    }

    async fn authorize(
        &self,
        event: &Event<'_>,
        form: Form,
        arn: &MethodArn,
        now: Timestamp,
        line: &mut LogLine,
    ) -> Result<Answer, AuthError> {
        event.refuse_credential_in_query()?;
        let credential = Credential::from_headers([event.authorization()?])?;
        let is_simple = form == Form::Http && self.http_api_response == HttpApiResponse::Simple;
        // A simple answer can't say for which addresses it holds: of a key with networks, none could be reused rightly.
        let address = event.source_address().filter(|_| !is_simple).and_then(|text| text.parse::<IpAddr>().ok());
        let caller = self.authenticator.authenticate(credential, address, now).await?;
        let access = self.policies.rules().access(&caller.user, &arn.method, &arn.path);
        match access {
            Access::Allowed => line.says("allow", "ok"),
            Access::InsufficientScope => line.says("deny", "insufficient_scope"),
            Access::Forbidden => line.says("deny", "forbidden"),
        }
        line.names(&caller.user);
        let (address, agent) = (event.source_address().unwrap_or_default(), event.user_agent().unwrap_or_default());
        let due = caller.key.as_ref().and_then(|record| Some((record.id, record.use_to_record(address, agent, now)?)));
        if let Some((id, last)) = due {
            let noted = self.authenticator.keys.record_use(id, &last).await;
            line.last_use_not_noted = noted.err().map(|fault| fault.chain());
        }
        Ok(if is_simple {
            Answer::simple(&caller.user, access == Access::Allowed)
        } else {
            // Of a reused answer nobody knows which route it will deny: that names the reason that is always true.
            let reason = if self.gateway_caches { Access::Forbidden } else { access };
            self.policies.answer(&caller, arn, reason)
        })
    }
}
