use std::future::Future;
use std::net::IpAddr;

use crate::credential::BearerToken;
use crate::jwt::TokenDigest;
use crate::{
    AuthError, Credential, CurrentUser, Expected, Fault, FetchKeySet, HmacSecret, KeyId, KeyRecord, LastUse, Rejection,
    SigningKeys, Timestamp, TokenUse, UnverifiedJwt, UserPool,
};

/// The key records, as far as a request needs them.
pub trait KeyRecords {
    /// The record of `id`. The read is strongly consistent, unless [`crate::CachedKeys`] answers from memory; only that
    /// needs `now`.
    ///
    /// # Errors
    /// When the store could not answer within the adapter's own deadline. A missing record is `Ok(None)`.
    fn find(&self, id: KeyId, now: Timestamp) -> impl Future<Output = Result<Option<KeyRecord>, Fault>> + Send;

    /// Writes the last use of the key, unless a later or equally recent one is recorded: see
    /// [`KeyRecord::use_to_record`].
    ///
    /// # Errors
    /// When the store did not answer at once. The next use is recorded instead.
    fn record_use(&self, id: KeyId, last: &LastUse) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// The verification of the provider's tokens. Each provider has one algorithm: the token doesn't choose it.
pub enum TokenVerifier<F> {
    /// Provider `custom`: HS256.
    Custom(HmacSecret),
    /// Provider `cognito`: RS256 with the pool's key set.
    Cognito(UserPool, SigningKeys<F>),
}

impl<F: FetchKeySet> TokenVerifier<F> {
    async fn verify(&self, token: BearerToken<'_>, now: Timestamp) -> Result<CurrentUser, AuthError> {
        match self {
            Self::Custom(secret) => {
                let claims = UnverifiedJwt::parse(token)?.verify_hs256(secret)?;
                claims.validate(&Expected::custom(TokenUse::Access), now)?;
                Ok(claims.into_current_user())
            }
            Self::Cognito(pool, keys) => {
                let digest = TokenDigest::of(token);
                if let Some(user) = keys.cached(&digest, now) {
                    return Ok(user);
                }
                let token = UnverifiedJwt::parse(token)?;
                let key = keys.key(token.rs256_kid()?, now).await?.ok_or(Rejection::UnknownSigningKey)?;
                let claims = token.verify_rs256(&key)?;
                claims.validate(&pool.expected(), now)?;
                let valid = claims.validity();
                let user = claims.into_current_user();
                keys.cache(&key, digest, &user, valid);
                Ok(user)
            }
        }
    }
}

/// Identifies the caller by their credential.
pub struct Authenticator<F, K> {
    /// For JWTs.
    pub tokens: TokenVerifier<F>,
    /// For API keys.
    pub keys: K,
}

impl<F: FetchKeySet, K: KeyRecords> Authenticator<F, K> {
    /// The caller who presents `credential` at `now`, from `address` if the event names one.
    ///
    /// # Errors
    /// When the credential is not valid, or we could not find out.
    pub async fn authenticate(
        &self,
        credential: Credential<'_>,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Authenticated, AuthError> {
        match credential {
            Credential::Jwt(token) => Ok(Authenticated { user: self.tokens.verify(token, now).await?, key: None }),
            Credential::ApiKey(key) => {
                let record = self.keys.find(key.id(), now).await?.ok_or(Rejection::UnknownKey)?;
                Ok(Authenticated { user: record.authenticate(&key, address, now)?, key: Some(record) })
            }
        }
    }
}

/// A caller with a valid credential.
#[derive(Debug)]
pub struct Authenticated {
    /// The caller's identity.
    pub user: CurrentUser,
    /// The record of an API key, for recording its use.
    pub key: Option<KeyRecord>,
}
