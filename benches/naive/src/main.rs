//! A plain authorizer: the usual libraries with default settings, as a typical first implementation. It reads the same
//! variables, accepts the same tokens and keys and makes the necessary checks, but is not meant for use.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

#[derive(Deserialize)]
struct Claims {
    sub: String,
    client_id: String,
    token_use: String,
    #[serde(rename = "cognito:groups", default)]
    groups: Vec<String>,
}

struct Authorizer {
    keys: HashMap<String, DecodingKey>,
    validation: Validation,
    client_id: String,
    dynamodb: Client,
    table: String,
}

impl Authorizer {
    async fn new() -> Result<Self, Error> {
        let region = std::env::var("VEGA_COGNITO_REGION")?;
        let pool = std::env::var("VEGA_COGNITO_USER_POOL_ID")?;
        let issuer = format!("https://cognito-idp.{region}.amazonaws.com");
        let endpoint = std::env::var("AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER").unwrap_or_else(|_| issuer.clone());
        let set: JwkSet = reqwest::get(format!("{endpoint}/{pool}/.well-known/jwks.json")).await?.json().await?;
        let mut keys = HashMap::new();
        for jwk in &set.keys {
            if let Some(kid) = &jwk.common.key_id {
                keys.insert(kid.clone(), DecodingKey::from_jwk(jwk)?);
            }
        }
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_issuer(&[format!("{issuer}/{pool}")]);
        validation.validate_aud = false;
        Ok(Self {
            keys,
            validation,
            client_id: std::env::var("VEGA_COGNITO_APP_CLIENT_ID")?,
            dynamodb: Client::new(&aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await),
            table: std::env::var("VEGA_KEYS_TABLE")?,
        })
    }

    async fn caller(&self, token: &str) -> Result<(String, Vec<String>), Error> {
        if token.starts_with("vk_") {
            return self.key(token).await;
        }
        let kid = jsonwebtoken::decode_header(token)?.kid.ok_or("no kid")?;
        let key = self.keys.get(&kid).ok_or("unknown kid")?;
        let claims = jsonwebtoken::decode::<Claims>(token, key, &self.validation)?.claims;
        if claims.client_id != self.client_id || claims.token_use != "access" {
            return Err("not for us".into());
        }
        Ok((claims.sub, claims.groups))
    }

    async fn key(&self, key: &str) -> Result<(String, Vec<String>), Error> {
        let id = key.split('_').nth(1).ok_or("malformed")?;
        let found = self
            .dynamodb
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", AttributeValue::S(format!("K#{id}")))
            .consistent_read(true)
            .send()
            .await?;
        let is_record =
            |item: &&HashMap<String, AttributeValue>| item.get("sk") == Some(&AttributeValue::S("A".into()));
        let record = found.items().iter().find(is_record).ok_or("unknown key")?;
        let text = |name: &str| record.get(name).and_then(|value| value.as_s().ok()).map(String::as_str);
        let digest = record.get("digest").and_then(|value| value.as_b().ok()).ok_or("no digest")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let end = record.get("expires_at").and_then(|value| value.as_n().ok()).map(|end| end.parse::<u64>());
        if digest.as_ref() != Sha256::digest(key).as_slice()
            || text("status") != Some("active")
            || end.transpose()?.is_some_and(|end| now >= end)
        {
            return Err("not good".into());
        }
        let groups = record.get("groups").and_then(|value| value.as_l().ok()).ok_or("no groups")?;
        let groups = groups.iter().filter_map(|group| group.as_s().ok().cloned()).collect();
        Ok((text("owner").ok_or("no owner")?.to_owned(), groups))
    }

    async fn decide(&self, event: LambdaEvent<Value>) -> Result<Value, Error> {
        let header = event.payload["headers"]["Authorization"].as_str().unwrap_or_default();
        let token = header.strip_prefix("Bearer ").ok_or("Unauthorized")?;
        let (id, groups) = self.caller(token).await.map_err(|error| {
            println!("{}", json!({ "outcome": "reject", "code": error.to_string() }));
            Error::from("Unauthorized")
        })?;
        println!("{}", json!({ "outcome": "allow", "user_id": id }));
        let arn = event.payload["methodArn"].as_str().ok_or("no ARN")?;
        Ok(json!({
            "principalId": id,
            "policyDocument": {
                "Version": "2012-10-17",
                "Statement": [{ "Effect": "Allow", "Action": "execute-api:Invoke", "Resource": [arn] }],
            },
            "context": { "id": id, "groups": groups.join(",") },
        }))
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let authorizer = Authorizer::new().await?;
    lambda_runtime::run(service_fn(async |event| authorizer.decide(event).await)).await
}
