use std::fmt;

use ring::hmac;

use crate::Rejection;

/// The secret of provider `custom`: at least 32 bytes, as RFC 7518 section 3.2 requires for HS256. It can't be printed.
pub struct HmacSecret(hmac::Key);

/// The secret has fewer than 32 bytes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected at least 32 bytes")]
pub struct SecretTooShort;

impl HmacSecret {
    /// Uses the bytes of `VEGA_AUTH_SECRET` unchanged.
    /// Fails when there are fewer than 32 bytes.
    pub fn new_from_text(text: &str) -> Result<Self, SecretTooShort> {
        if text.len() < 32 {
            return Err(SecretTooShort);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes())))
    }

    /// Fails unless this secret signed `message`.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Rejection> {
        hmac::verify(&self.0, message, signature).map_err(|_| Rejection::Signature)
    }
}

impl fmt::Debug for HmacSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HmacSecret(redacted)")
    }
}
