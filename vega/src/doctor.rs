use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use vega_auth::config::is_emulator;
use vega_auth::{Issuer, Timestamp};

use crate::World;
use crate::api::{Api, Response};
use crate::arguments::{Can, Connection, Doctor};
use crate::can;
use crate::outcome::{Answer, Failure};
use crate::token::Token;
use crate::whoami::{cause, own_record};

/// The authorizer's leeway for `nbf` and `iat`.
const LEEWAY_SECONDS: i64 = 30;

/// The result of a check.
enum Found {
    Ok(String),
    /// Can't be checked from here, for this reason.
    Unknown(String),
    /// The cause: its code, the evidence and the remedy.
    Cause(&'static str, String, &'static str),
}

use Found::{Cause, Unknown};

/// Finds why requests get 401, 403 or 503, in the order in which a request meets the causes.
pub async fn run(doctor: Doctor, connection: &Connection, world: &World) -> Result<Answer, Failure> {
    let api = Api::new(connection, world)?;
    let mut checks = Vec::new();
    let config = match api.call("GET", "/v1/auth/config", None, None, &[]).await {
        Ok(response) if response.status < 400 && response.body["provider"].is_string() => {
            checks.push(("API", Found::Ok(format!("{} answers as Vega Auth", api.url()))));
            response
        }
        Ok(response) if response.status >= 500 || response.status == 429 => {
            let evidence = format!("{} answers {}", api.url(), response.status);
            let remedy = "look at the alarms: docs/operations.md";
            return Ok(report(vec![("API", Cause("api_unavailable", evidence, remedy))]));
        }
        Ok(response) => {
            let evidence = format!("{} answers {} to GET /v1/auth/config", api.url(), response.status);
            let remedy = "use the output ApiUrl of the stack, with the stage unless it has a domain";
            return Ok(report(vec![("API", Cause("not_vega", evidence, remedy))]));
        }
        Err(Failure(evidence)) => {
            let remedy = "compare the URL with the output ApiUrl of the stack, and check the network";
            return Ok(report(vec![("API", Cause("api_unreachable", evidence, remedy))]));
        }
    };
    checks.push(("provider", provider(&config.body, api.url())));
    checks.push(("clock", clock(&config, world.now)));
    checks.push(("caching", caching(&config.body)));
    let token = match Token::read(connection, world) {
        Ok(token) => token,
        Err(Failure(reason)) => {
            checks.push(("credential", Unknown(reason)));
            return Ok(report(checks));
        }
    };
    if let Some(cause) = cause(&token, world.now) {
        checks.push(("credential", Cause("credential", cause.text, "get another token or key")));
        return Ok(report(checks));
    }
    let response = api.call("GET", own_record(&token), Some(&token), None, &[]).await?;
    let accepted = answer(&response, &token, &config.body);
    let is_accepted = matches!(accepted, Found::Ok(_));
    checks.push(("credential", accepted));
    if let (true, Some(path)) = (is_accepted, doctor.path) {
        let request = Can {
            method: doctor.method,
            path,
            rules: doctor.rules,
            from: doctor.from,
            groups: None,
            key: false,
            scopes: Vec::new(),
        };
        checks.push((
            "route",
            match can::run(request, connection, world).await {
                Err(Failure(reason)) => Unknown(reason),
                Ok(answer) if answer.is_problem => {
                    Cause("route", answer.text, "change the caller's groups, the key's scopes or the rule")
                }
                Ok(answer) => Found::Ok(answer.text),
            },
        ));
    }
    for what in ["alarms", "deployed rules", "sender address"] {
        checks.push((what, Unknown("it needs AWS credentials, which vega doesn't use".into())));
    }
    Ok(report(checks))
}

fn provider(config: &Value, url: &str) -> Found {
    match config["provider"].as_str() {
        Some("custom") if !is_emulator(url) => Cause(
            "provider_custom",
            format!("{url} has provider custom, the debug login"),
            "set VEGA_AUTH_PROVIDER to cognito: custom is for a developer's machine only",
        ),
        provider => Found::Ok(provider.unwrap_or_default().to_owned()),
    }
}

/// API Gateway dates its responses.
fn clock(config: &Response, now: Timestamp) -> Found {
    let theirs = config.date.as_deref().and_then(|date| OffsetDateTime::parse(date, &Rfc2822).ok());
    match theirs.map(|theirs| now.0 - theirs.unix_timestamp()) {
        None => Unknown("the response has no date".into()),
        Some(ahead) if ahead.abs() > LEEWAY_SECONDS => Cause(
            "clock",
            format!("this machine's clock is {ahead} seconds ahead of the API's"),
            "set the clock: tokens issued by this machine, or checked on it, are early or late",
        ),
        Some(ahead) => Found::Ok(format!("{ahead} seconds ahead")),
    }
}

fn caching(config: &Value) -> Found {
    match config["revocation_seconds"].as_u64() {
        None => Unknown("the API doesn't tell how long decisions are cached".into()),
        Some(0) => Found::Ok("off: every request is decided anew".into()),
        Some(seconds) => Cause(
            "caching",
            format!("decisions are cached for up to {seconds} seconds: a changed key or group takes that long"),
            "wait, or set AuthorizerCacheSeconds and KeyCacheSeconds to 0",
        ),
    }
}

/// The API's answer about the credential.
fn answer(response: &Response, token: &Token, config: &Value) -> Found {
    match response.status {
        ..=399 => Found::Ok("the API accepts it".into()),
        401 => match token.unverified_claims() {
            Some(claims) => rejected_token(&claims, config),
            None => Cause(
                "key_rejected",
                "401: the key has the right form, but is unknown, expired, revoked, disabled, or used from another network".into(),
                "the log line in the group authorizer has the reason as code; a key works only in the stage that created it",
            ),
        },
        403 => Cause(
            "no_rule",
            format!("403 {}: no rule admits the caller even to their own record", response.body["error"]),
            "check access/vega.json of the deployment with vega rules who",
        ),
        429 => Unknown("429: too many requests".into()),
        status => Cause(
            "authorizer_unavailable",
            format!("{status}: the authorizer can't decide"),
            "look for outcome fault in the log authorizer: key_set_unavailable is Cognito, store_unavailable the table",
        ),
    }
}

/// Why a JWT of the right form, in time, gets a 401.
fn rejected_token(claims: &Value, config: &Value) -> Found {
    let [issuer, client] = ["iss", "client_id"].map(|name| claims[name].as_str().unwrap_or_default());
    let [pool, region, own_client] =
        ["user_pool_id", "region", "app_client_id"].map(|name| config[name].as_str().unwrap_or_default());
    let remedy = "sign in to the API's own pool and client, or list the other one in access/sources: docs/tokens.md";
    if config["provider"] == "custom" {
        return Cause(
            "wrong_stage",
            format!("the debug login of this stage didn't issue the token of {issuer}"),
            remedy,
        );
    }
    let Ok(parsed) = issuer.parse::<Issuer>() else {
        return Cause("wrong_issuer", format!("the token's issuer {issuer} isn't a user pool"), remedy);
    };
    if parsed.pool_id() != pool {
        let evidence = format!("the token is of pool {}, the API's is {pool}", parsed.pool_id());
        return Cause("wrong_pool", evidence, remedy);
    }
    if !issuer.contains(&format!("cognito-idp.{region}.")) {
        return Cause("wrong_region", format!("{issuer} isn't in {region}, the API's region"), remedy);
    }
    if issuer.starts_with("https://issuer-") {
        return Cause("issuer_type", format!("{issuer} has the updated issuer type"), remedy);
    }
    if client != own_client {
        return Cause("wrong_client", format!("the token is of client {client}, the API's is {own_client}"), remedy);
    }
    Cause(
        "token_rejected",
        "401: issuer, client and times are right, so its signature isn't, or it isn't a person's token".into(),
        "sign in again; the log line in the group authorizer has the reason as code",
    )
}

fn report(checks: Vec<(&'static str, Found)>) -> Answer {
    let is_problem = checks.iter().any(|(_, found)| matches!(found, Cause(..)));
    let mut lines = Vec::new();
    let mut objects = Vec::new();
    for (check, found) in checks {
        objects.push(match found {
            Found::Ok(evidence) => {
                lines.push(format!("ok      {check}: {evidence}\n"));
                json!({ "check": check, "result": "ok", "evidence": evidence })
            }
            Unknown(reason) => {
                lines.push(format!("–       {check}: can't be checked from here: {reason}\n"));
                json!({ "check": check, "result": "unknown", "reason": reason })
            }
            Cause(code, evidence, remedy) => {
                let evidence = evidence.trim_end().to_owned();
                lines.push(format!("cause   {check}: {evidence}\n        remedy: {remedy}\n"));
                json!({ "check": check, "result": "cause", "code": code, "evidence": evidence, "remedy": remedy })
            }
        });
    }
    Answer { text: lines.concat(), json: json!(objects), is_problem }
}
