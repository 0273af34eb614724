//! API Gateway calls this before every protected route. It authenticates the caller and decides which routes they can call.
//!
//! There are three results: a policy; the error `Unauthorized`, exactly (the client sees 401); or another error if we could
//! not find out (503). Never an Allow without a proof.

mod config;
mod event;
mod log_line;
mod method_arn;
mod metrics;
mod outcome;
mod policy;
mod policy_size;
mod response;

use std::net::IpAddr;

use serde::Deserializer;
use vega_auth::{
    Access, AuthError, Authenticated, Authenticator, Caching, Credential, Fault, FetchKeySet, KeyRecords, Target,
    Timestamp,
};

pub use crate::config::{Config, HttpApiResponse, check_sources, read_rules};
use crate::event::{Event, Form};
pub use crate::log_line::LogLine;
use crate::method_arn::MethodArn;
pub use crate::metrics::Metrics;
use crate::outcome::{Caller, Outcome};
pub use crate::policy::Policies;
pub use crate::response::{AuthorizerResponse, Refusal};

/// Identifies the caller and applies the access rules.
pub struct Authorizer<F, K> {
    /// Identifies the caller.
    pub authenticator: Authenticator<F, K>,
    /// The access rules, as policies.
    pub policies: Policies,
    /// The response that an HTTP API expects.
    pub http_api_response: HttpApiResponse,
    /// Whether API Gateway may apply a response to other routes too.
    pub gateway_caches: bool,
}

impl<F: FetchKeySet, K: KeyRecords> Authorizer<F, K> {
    /// Decides one event; returns the response and the log line.
    pub async fn decide<'de>(
        &self,
        event: impl Deserializer<'de, Error = serde_json::Error>,
        now: Timestamp,
    ) -> (Result<AuthorizerResponse, Refusal>, LogLine<'static>) {
        let event = Event::read(event);
        let target = event.as_ref().map_err(|error| *error).and_then(|event| {
            let (form, arn) = event.target()?;
            let target = Target { method: arn.method, path: arn.path, resource: event.resource(form)? };
            Ok((form, arn, target))
        });
        let outcome = match (&event, &target) {
            (Ok(event), Ok((form, arn, target))) => {
                self.authorize(event, *form, *arn, *target, now).await.unwrap_or_else(Outcome::from)
            }
            (Err(error), _) | (_, Err(error)) => Outcome::BadEvent(*error),
        };
        let line = LogLine::new(event.as_ref().ok(), target.as_ref().ok().map(|(_, arn, _)| arn), &outcome);
        let is_shared = self.gateway_caches && self.policies.rules().caching() == Caching::Token;
        (outcome.into_response(is_shared), line)
    }

    async fn authorize(
        &self,
        event: &Event<'_>,
        form: Form,
        arn: MethodArn<'_>,
        target: Target<'_>,
        now: Timestamp,
    ) -> Result<Outcome, AuthError> {
        event.refuse_credential_in_query()?;
        let credential = Credential::from_header(event.authorization()?)?;
        let is_simple = form == Form::Http && self.http_api_response == HttpApiResponse::Simple;
        // A simple response can be cached, but not limited to addresses, so a key with networks is rejected.
        let address = event.source_address().filter(|_| !is_simple).and_then(|text| text.parse::<IpAddr>().ok());
        let mut caller = self.authenticator.authenticate(credential, address, now).await?;
        // A group that no rule can name grants nothing here, so nobody behind the authorizer sees it either.
        caller.user.groups = caller.user.groups.intersection(self.policies.rules().groups());
        let access = self.policies.rules().access(&caller.user, target);
        let last_use_not_recorded = self.record_use(&caller, event, now).await.err();
        let policy = (!is_simple).then(|| self.policies.policy(&caller.user, arn, access));
        let caller = Caller { user: caller.user, policy, last_use_not_recorded };
        Ok(match access {
            Access::Allowed => Outcome::Allow(caller),
            Access::Denied(reason) => Outcome::Deny(caller, reason),
        })
    }

    /// Records the use of the caller's key, if one is due.
    async fn record_use(&self, caller: &Authenticated, event: &Event<'_>, now: Timestamp) -> Result<(), Fault> {
        let (address, agent) = (event.source_address().unwrap_or_default(), event.user_agent().unwrap_or_default());
        match caller.key.as_ref().and_then(|record| Some((record.id, record.use_to_record(address, agent, now)?))) {
            Some((id, last)) => self.authenticator.keys.record_use(id, &last).await,
            None => Ok(()),
        }
    }
}
