use super::Issuer;
use super::issuer::is_word;
use crate::config::aws_endpoint;

/// The deployment's own user pool: its people sign in at the dashboard, through this app client, and own API keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserPool {
    region: String,
    client_id: String,
    issuer: Issuer,
}

impl UserPool {
    /// The pool `pool_id` in `region`, for instance `us-west-1_AbCdEfGhI` in `us-west-1`, or in the region of its replica.
    /// Fails when a value has the wrong form. The message names its environment variable.
    pub fn new(region: &str, pool_id: &str, client_id: &str) -> Result<Self, String> {
        let issuer = format!("{}/{pool_id}", aws_endpoint("cognito-idp", region)).parse().map_err(|_| {
            "VEGA_COGNITO_REGION, VEGA_COGNITO_USER_POOL_ID: expected a region and a pool of its partition, such as \
             us-west-1 and us-west-1_AbCdEfGhI"
        })?;
        if !is_client_id(client_id) {
            return Err("VEGA_COGNITO_APP_CLIENT_ID: expected letters and digits".into());
        }
        Ok(Self { region: region.into(), client_id: client_id.into(), issuer })
    }

    /// The issuer of its tokens, unless its issuer type is UPDATED.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The URL of Cognito's API in the pool's region.
    pub fn endpoint(&self) -> String {
        aws_endpoint("cognito-idp", &self.region)
    }

    /// The dashboard's app client.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Region, pool id and app client id.
    pub fn into_parts(self) -> [String; 3] {
        [self.region, self.issuer.pool_id().to_owned(), self.client_id]
    }
}

/// Cognito's pattern of a client id is `[\w+]+`.
pub(super) fn is_client_id(text: &str) -> bool {
    is_word(&text.replace(['_', '+'], "x"))
}
