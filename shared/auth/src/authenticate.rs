use std::future::Future;
use std::net::IpAddr;

use futures_util::future::join_all;

use crate::credential::BearerToken;
use crate::jwt::TokenDigest;
use crate::{
    AuthError, Credential, CurrentUser, Fault, FetchKeySet, HmacSecret, Issuer, KeyId, KeyRecord, LastUse, Rejection,
    SigningKeys, Timestamp, TokenSource, TokenUse, UnverifiedJwt,
};

/// The access to key records that a request needs.
pub trait KeyRecords {
    /// The record of `id`. The read is strongly consistent, unless [`crate::CachedKeys`] answers from memory; only that
    /// needs `now`.
    /// Fails when the store could not answer within the adapter's own deadline. A missing record is `Ok(None)`.
    fn find(&self, id: KeyId, now: Timestamp) -> impl Future<Output = Result<Option<KeyRecord>, Fault>> + Send;

    /// Writes the last use of the key, unless a later or equally recent one is recorded: see
    /// [`KeyRecord::use_to_record`].
    /// Fails when the store did not answer at once. The next use is recorded instead.
    fn record_use(&self, id: KeyId, last: &LastUse) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// The verification of the provider's tokens. Each provider has one algorithm: the token doesn't choose it.
pub enum TokenVerifier<F> {
    /// Provider `custom`: HS256.
    Custom(HmacSecret),
    /// Provider `cognito`: RS256 with the key set of the token's issuer. No two sources have the same issuer.
    Cognito(Vec<(SigningKeys<F>, TokenSource)>),
}

impl<F: FetchKeySet> TokenVerifier<F> {
    /// Fetches each source's key set with the fetcher that `fetch` returns for its issuer.
    pub fn cognito(sources: Vec<TokenSource>, fetch: impl Fn(&Issuer) -> F) -> Self {
        let with_keys = |source: TokenSource| (SigningKeys::new(fetch(source.issuer())), source);
        Self::Cognito(sources.into_iter().map(with_keys).collect())
    }

    /// Fetches every key set at once, ahead of the first request. See [`SigningKeys::warm_up`] for the failures it returns.
    pub async fn warm_up(&self, now: Timestamp) -> Vec<Fault> {
        match self {
            Self::Custom(_) => Vec::new(),
            Self::Cognito(sources) => join_all(sources.iter().map(|(keys, _)| keys.warm_up(now)))
                .await
                .into_iter()
                .filter_map(Result::err)
                .collect(),
        }
    }

    /// The greatest age of a key set at `now` in seconds, if there is one, and the fetches since the last call, for metrics.
    pub fn take_measures(&self, now: Timestamp) -> (Option<i64>, u32) {
        let Self::Cognito(sources) = self else { return (None, 0) };
        let measures = sources.iter().map(|(keys, _)| keys.take_measures(now));
        measures.fold((None, 0), |(age, all), (other, fetches)| (age.max(other), all.saturating_add(fetches)))
    }

    async fn verify(&self, token: BearerToken<'_>, now: Timestamp) -> Result<CurrentUser, AuthError> {
        match self {
            Self::Custom(secret) => UnverifiedJwt::parse(token)?
                .verify_hs256(secret)?
                .into_custom_user(TokenUse::Access, now)
                .map_err(AuthError::from),
            Self::Cognito(sources) => {
                let digest = TokenDigest::of(token);
                if let Some(user) = sources.iter().find_map(|(keys, _)| keys.cached(&digest, now)) {
                    return Ok(user);
                }
                let token = UnverifiedJwt::parse(token)?;
                let kid = token.rs256_kid()?;
                let is_issuer = |(_, source): &&(_, TokenSource)| source.issuer().as_str() == token.issuer();
                let (keys, source) = sources.iter().find(is_issuer).ok_or(Rejection::Issuer)?;
                let key = keys.key(kid, now).await?.ok_or(Rejection::UnknownSigningKey)?;
                let claims = token.verify_rs256(&key)?;
                let valid = claims.validity();
                let user = source.current_user(claims, now)?;
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
                match record.authenticate(&key, address, now) {
                    Ok(user) => Ok(Authenticated { user, key: Some(record) }),
                    Err(reason) => Err(AuthError::Rejected(reason, reason.has_right_secret().then_some(record.id))),
                }
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
