use super::{Expected, TokenUse};
use crate::config::aws_endpoint;

/// A Cognito user pool, and the one app client whose access tokens are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserPool {
    region: String,
    pool_id: String,
    client_id: String,
    /// The exact `iss` of its tokens.
    issuer: String,
}

impl UserPool {
    /// The pool `pool_id` in `region`, for instance `us-west-1_AbCdEfGhI` in `us-west-1`.
    ///
    /// # Errors
    /// When a value has the wrong form. The message names its environment variable.
    pub fn new(region: &str, pool_id: &str, client_id: &str) -> Result<Self, String> {
        let is_word = |text: &str, also: u8| {
            !text.is_empty()
                && text.len() <= 128
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == also)
        };
        if !is_word(region, b'-') {
            return Err("VEGA_COGNITO_REGION: expected a region such as us-west-1".into());
        }
        if !pool_id.strip_prefix(region).and_then(|rest| rest.strip_prefix('_')).is_some_and(|rest| is_word(rest, b'-'))
        {
            return Err(format!(
                "VEGA_COGNITO_USER_POOL_ID: expected a pool of region {region}, such as {region}_AbCdEfGhI"
            ));
        }
        if !is_word(client_id, b'_') {
            return Err("VEGA_COGNITO_APP_CLIENT_ID: expected letters and digits".into());
        }
        let issuer = format!("{}/{pool_id}", aws_endpoint("cognito-idp", region));
        Ok(Self { region: region.into(), pool_id: pool_id.into(), client_id: client_id.into(), issuer })
    }

    /// The URL of the pool's key set. `endpoint` replaces Cognito's own endpoint, but never the issuer.
    pub fn key_set_url(&self, endpoint: Option<&str>) -> String {
        let endpoint = endpoint.map_or_else(|| self.endpoint(), |url| url.trim_end_matches('/').to_owned());
        format!("{endpoint}/{}/.well-known/jwks.json", self.pool_id)
    }

    /// The URL of Cognito's API in the pool's region.
    pub fn endpoint(&self) -> String {
        aws_endpoint("cognito-idp", &self.region)
    }

    /// Region, pool id and app client id.
    pub fn into_parts(self) -> [String; 3] {
        [self.region, self.pool_id, self.client_id]
    }

    /// The claims of the pool's access tokens for its app client.
    pub(crate) fn expected(&self) -> Expected<'_> {
        Expected { issuer: &self.issuer, client_id: &self.client_id, token_use: TokenUse::Access }
    }
}
