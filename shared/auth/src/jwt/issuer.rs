use std::fmt;
use std::str::FromStr;

use crate::config::partition_suffixes;

/// An issuer of Cognito: the exact `iss` of a user pool's tokens. A pool has one of two forms, by its issuer type
/// ([`IssuerConfigurationType`](https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_IssuerConfigurationType.html)):
/// - ORIGINAL: `https://cognito-idp.{region}.amazonaws.com/{pool}`. The region is the one that issued the token, so a
///   replicated pool has an issuer per region, all with the same pool id.
/// - UPDATED: `https://issuer-cognito-idp.{region}.amazonaws.com/{pool}`, with the pool's primary region.
///
/// The id's prefix can name another region than the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    url: String,
    /// The start of the pool id in `url`.
    pool: usize,
}

/// The text is not the issuer of a user pool.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a user pool's issuer, such as https://cognito-idp.us-west-1.amazonaws.com/us-west-1_AbCdEfGhI")]
pub struct NotAnIssuer;

impl Issuer {
    /// The pool's id, which its replicas share.
    pub fn pool_id(&self) -> &str {
        &self.url[self.pool..]
    }

    /// The exact `iss`.
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// The URL of its key set. `endpoint` replaces the host, but never the issuer.
    pub fn key_set_url(&self, endpoint: Option<&str>) -> String {
        match endpoint {
            Some(url) => format!("{}/{}/.well-known/jwks.json", url.trim_end_matches('/'), self.pool_id()),
            None => format!("{}/.well-known/jwks.json", self.url),
        }
    }
}

impl FromStr for Issuer {
    type Err = NotAnIssuer;

    fn from_str(url: &str) -> Result<Self, NotAnIssuer> {
        let (host, pool_id) = url.strip_prefix("https://").and_then(|rest| rest.split_once('/')).ok_or(NotAnIssuer)?;
        let (service, place) = host.split_once('.').ok_or(NotAnIssuer)?;
        let (region, suffix) = place.split_once('.').ok_or(NotAnIssuer)?;
        let (prefix, name) = pool_id.split_once('_').ok_or(NotAnIssuer)?;
        let suffixes = partition_suffixes(region);
        let is_issuer = ["cognito-idp", "issuer-cognito-idp"].contains(&service)
            && suffixes.contains(&suffix)
            && is_region(region)
            && is_region(prefix)
            && partition_suffixes(prefix) == suffixes
            && is_word(name);
        if !is_issuer {
            return Err(NotAnIssuer);
        }
        Ok(Self { url: url.into(), pool: url.len() - pool_id.len() })
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

fn is_region(text: &str) -> bool {
    text.contains('-') && text.len() <= 32 && text.split('-').all(|part| is_word(part) && part == part.to_lowercase())
}

/// Letters and digits of a plausible length.
pub(super) fn is_word(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_issuers_in_every_partition() {
        for (issuer, pool_id) in [
            ("https://cognito-idp.us-west-1.amazonaws.com/us-west-1_AbCdEfGhI", "us-west-1_AbCdEfGhI"),
            ("https://issuer-cognito-idp.us-west-1.amazonaws.com/us-west-1_AbCdEfGhI", "us-west-1_AbCdEfGhI"),
            ("https://cognito-idp.us-west-2.amazonaws.com/us-east-1_AbC", "us-east-1_AbC"),
            ("https://cognito-idp.us-gov-west-1.amazonaws.com/us-gov-west-1_AbC", "us-gov-west-1_AbC"),
            ("https://cognito-idp.cn-north-1.amazonaws.com.cn/cn-north-1_AbC", "cn-north-1_AbC"),
            ("https://cognito-idp.eusc-de-east-1.amazonaws.eu/eusc-de-east-1_AbC", "eusc-de-east-1_AbC"),
            ("https://issuer-cognito-idp.eusc-de-east-1.amazonaws.com/eusc-de-east-1_AbC", "eusc-de-east-1_AbC"),
        ] {
            let parsed: Issuer = issuer.parse().unwrap();
            assert_eq!((parsed.as_str(), parsed.pool_id()), (issuer, pool_id));
            assert_eq!(parsed.key_set_url(None), format!("{issuer}/.well-known/jwks.json"));
            let local = format!("http://127.0.0.1:8001/{pool_id}/.well-known/jwks.json");
            assert_eq!(parsed.key_set_url(Some("http://127.0.0.1:8001/")), local);
        }
    }

    #[test]
    fn no_other_url_is_an_issuer() {
        for url in [
            "",
            "vega:custom",
            "https://accounts.example.com/us-west-1_AbC",
            "http://cognito-idp.us-west-1.amazonaws.com/us-west-1_AbC",
            "https://cognito-idp.us-west-1.amazonaws.com.evil.example/us-west-1_AbC",
            "https://cognito-idp.us-west-1.amazonaws.com:443/us-west-1_AbC",
            "https://x@cognito-idp.us-west-1.amazonaws.com/us-west-1_AbC",
            "https://cognito-idp-fips.us-west-1.amazonaws.com/us-west-1_AbC",
            "https://cognito-identity.us-west-1.amazonaws.com/us-west-1_AbC",
            "https://cognito-idp.us-west-1.amazonaws.com.cn/us-west-1_AbC",
            "https://cognito-idp.cn-north-1.amazonaws.com/cn-north-1_AbC",
            "https://cognito-idp.us-west-1.amazonaws.com/cn-north-1_AbC",
            "https://cognito-idp.US-WEST-1.amazonaws.com/us-west-1_AbC",
            "https://cognito-idp.us-west-1.amazonaws.com/us-west-1_AbC/",
            "https://cognito-idp.us-west-1.amazonaws.com/us-west-1_Ab%43",
            "https://cognito-idp.us-west-1.amazonaws.com/us-west-1_",
            "https://cognito-idp.us-west-1.amazonaws.com/_AbC",
            "https://cognito-idp.us-west-1.amazonaws.com/",
            "https://cognito-idp.us-west-1.amazonaws.com",
            "https://cognito-idp..amazonaws.com/us-west-1_AbC",
            " https://cognito-idp.us-west-1.amazonaws.com/us-west-1_AbC",
        ] {
            assert_eq!(url.parse::<Issuer>(), Err(NotAnIssuer), "{url}");
        }
    }
}
