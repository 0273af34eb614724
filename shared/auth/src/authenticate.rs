use std::future::Future;
use std::net::IpAddr;

use crate::jwt::TokenDigest;
use crate::{
    AuthError, Credential, CurrentUser, Fault, FetchKeySet, HmacSecret, KeyId, KeyRecord, Network, Rejection,
    SigningKeys, Timestamp, TokenUse, UnverifiedJwt, UserPool,
};

/// Where key records live.
pub trait FindKey {
    /// The record of `id`, read after every write that was answered before.
    /// `Ok(None)` when there is none; `Err` only when the store could not answer, within a deadline of the adapter's.
    fn find(&self, id: KeyId) -> impl Future<Output = Result<Option<KeyRecord>, Fault>> + Send;

    /// The same at `now`, for those who may answer from memory: see [`crate::CachedKeys`].
    fn find_at(&self, id: KeyId, now: Timestamp) -> impl Future<Output = Result<Option<KeyRecord>, Fault>> + Send {
        let _ = now;
        self.find(id)
    }
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

impl<F: FetchKeySet, K: FindKey> Authenticator<F, K> {
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
                let record = self.keys.find_at(key.id(), now).await?.ok_or(Rejection::UnknownKey)?;
                Ok(Authenticated { user: record.principal(&key, address, now)?, key: Some(record) })
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
