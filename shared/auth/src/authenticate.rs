use std::future::Future;
use std::net::IpAddr;

use crate::jwt::TokenDigest;
use crate::{
    AuthError, Credential, CurrentUser, Fault, FetchKeySet, HmacSecret, KeyId, KeyRecord, LastUse, Network, Rejection,
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

/// How the provider's tokens are verified. One algorithm a provider: the token doesn't choose.
pub enum TokenVerifier<F> {
    /// Provider `custom`: HS256.
    Custom(HmacSecret),
    /// Provider `cognito`: RS256 with the pool's key set.
    Cognito(UserPool, SigningKeys<F>),
}

impl<F: FetchKeySet> TokenVerifier<F> {
    async fn verify(&self, token: &str, now: Timestamp) -> Result<CurrentUser, AuthError> {
        match self {
            Self::Custom(secret) => {
                let claims = UnverifiedJwt::parse(token)?.verify_hs256(secret)?;
                claims.accept_custom(TokenUse::Access, now)?;
                Ok(claims.into_current_user())
            }
            Self::Cognito(pool, keys) => {
                let digest = TokenDigest::of(token);
                if let Some(user) = keys.recall(&digest, now) {
                    return Ok(user);
                }
                let token = UnverifiedJwt::parse(token)?;
                let key = keys.key(token.rs256_kid()?, now).await?.ok_or(Rejection::UnknownSigningKey)?;
                let claims = token.verify_rs256(&key)?;
                pool.accept(&claims, now)?;
                let good = claims.good();
                let user = claims.into_current_user();
                keys.remember(&key, digest, &user, good);
                Ok(user)
            }
        }
    }
}

/// Finds out who presents a credential.
pub struct Authenticator<F, K> {
    /// For JWTs.
    pub tokens: TokenVerifier<F>,
    /// For API keys.
    pub keys: K,
}

impl<F: FetchKeySet, K: KeyRecords> Authenticator<F, K> {
    /// Who the caller is at `now`; `address` is where they call from, if we were told.
    ///
    /// # Errors
    /// When the credential is not good, or we could not find out.
    pub async fn authenticate(
        &self,
        credential: Credential<'_>,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Authenticated, AuthError> {
        match credential {
            Credential::Jwt(token) => {
                Ok(Authenticated { user: self.tokens.verify(token.expose(), now).await?, key: None })
            }
            Credential::ApiKey(key) => {
                let record = self.keys.find(key.id(), now).await?.ok_or(Rejection::UnknownKey)?;
                Ok(Authenticated { user: record.authenticate(&key, address, now)?, key: Some(record) })
            }
        }
    }
}

/// A caller whose credential was good.
#[derive(Debug)]
pub struct Authenticated {
    /// Who they are.
    pub user: CurrentUser,
    /// The record of the key they presented, if it was a key: to note its use.
    pub key: Option<KeyRecord>,
}

impl Authenticated {
    /// The networks that the caller's key is bound to: what is decided of it holds for addresses in these alone.
    pub fn networks(&self) -> &[Network] {
        self.key.as_ref().map_or(&[], |record| &record.cidrs)
    }
}
