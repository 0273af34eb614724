use std::fmt;

use crate::{ApiKey, Rejection};

/// Longest accepted token, in bytes. API Gateway accepts 10,240 bytes of headers in total.
const MAX_TOKEN_BYTES: usize = 8192;

/// The credential that the caller presents, classified by its form alone. Nothing about it is verified yet.
#[derive(Debug)]
pub enum Credential<'a> {
    /// Three dot-separated parts.
    Jwt(BearerToken<'a>),
    /// `vk_…`, with the right form and checksum.
    ApiKey(ApiKey),
}

/// A bearer token in the form of RFC 6750 section 2.1, of at most 8192 bytes. A secret: it can't be printed.
#[derive(Clone, Copy)]
pub struct BearerToken<'a>(&'a str);

impl<'a> BearerToken<'a> {
    /// Checks the length first, then every character.
    /// Fails when the text is too long, or not a `b64token`.
    pub fn new(text: &'a str) -> Result<Self, Rejection> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err(Rejection::TooLong);
        }
        if !is_b64token(text) {
            return Err(Rejection::NotBearer);
        }
        Ok(Self(text))
    }

    /// The token's text, only for parsing and verifying it.
    pub fn expose(self) -> &'a str {
        self.0
    }
}

impl fmt::Debug for BearerToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(redacted)")
    }
}

impl<'a> Credential<'a> {
    /// Reads the value of a request's one `Authorization` header.
    ///
    /// The form is RFC 6750 section 2.1, `credentials = "Bearer" 1*SP b64token`, with the scheme in any case
    /// (RFC 9110 section 11.1) and exactly one space.
    /// Fails when the value is not a bearer token of a known form.
    pub fn from_header(value: &'a str) -> Result<Self, Rejection> {
        if value.is_empty() {
            return Err(Rejection::NoCredential);
        }
        let (scheme, token) = value.split_once(' ').ok_or(Rejection::NotBearer)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Rejection::NotBearer);
        }
        let token = BearerToken::new(token)?;
        if token.0.starts_with(ApiKey::PREFIX) {
            token.0.parse().map(Self::ApiKey)
        } else if token.0.bytes().filter(|byte| *byte == b'.').count() == 2 {
            Ok(Self::Jwt(token))
        } else {
            Err(Rejection::UnknownForm)
        }
    }
}

/// `b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`
fn is_b64token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() | matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    // No early return, so the loop vectorises; a token is short.
    !body.is_empty() && body.bytes().fold(true, |all, byte| all & is_allowed(byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "vk_7Gh2kQ9XbT4m_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1EG2IT";

    #[track_caller]
    fn check(header: &str, expected: Result<&str, Rejection>) {
        let text = Credential::from_header(header).map(|credential| match credential {
            Credential::Jwt(token) => token.expose().to_owned(),
            Credential::ApiKey(key) => key.expose().to_owned(),
        });
        assert_eq!(text.as_deref().map_err(|reason| *reason), expected, "{header}");
    }

    #[test]
    fn a_bearer_token_is_read_with_the_scheme_in_any_case() {
        for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
            check(&format!("{scheme} a.b.c"), Ok("a.b.c"));
            check(&format!("{scheme} {KEY}"), Ok(KEY));
        }
    }

    #[test]
    fn an_empty_header_is_no_credential() {
        check("", Err(Rejection::NoCredential));
    }

    #[test]
    fn anything_but_one_space_and_one_token_is_rejected() {
        for header in [
            "Bearer",
            "Bearer ",
            "Bearera.b.c",
            " Bearer a.b.c",
            "Bearer  a.b.c",
            "Bearer\ta.b.c",
            "Bearer a.b.c ",
            "Bearer a.b.c d",
            "Bearer a.b.c\n",
            "Bearer a.b.\u{0441}",
            "Basic a.b.c",
            "a.b.c",
            "Bearer =",
            "Bearer a.=b.c",
            "\u{feff}Bearer a.b.c",
            "Bearer \"a.b.c\"",
            // Two headers that a proxy joined.
            "Bearer a.b.c, Bearer a.b.c",
            "Bearer a.b.c,Bearer d.e.f",
        ] {
            check(header, Err(Rejection::NotBearer));
        }
    }

    #[test]
    fn a_token_of_no_known_form_is_rejected_unparsed() {
        for token in ["abc", "a.b", "a.b.c.d", "a.b.c.d.e", "VK_abc", "vk-abc"] {
            check(&format!("Bearer {token}"), Err(Rejection::UnknownForm));
        }
        check("Bearer vk_", Err(Rejection::MalformedKey));
        // A key can't be passed off as a JWT.
        check("Bearer vk_a.b.c", Err(Rejection::MalformedKey));
    }

    #[test]
    fn a_huge_token_is_rejected_by_its_length() {
        let part = "a".repeat(MAX_TOKEN_BYTES - 4);
        check(&format!("Bearer {part}.b.c"), Ok(&format!("{part}.b.c")));
        check(&format!("Bearer {part}a.b.c"), Err(Rejection::TooLong));
        check(&format!("Bearer {}", "a".repeat(1_000_000)), Err(Rejection::TooLong));
        assert!(BearerToken::new(&part).is_ok());
        assert_eq!(BearerToken::new(&"a".repeat(MAX_TOKEN_BYTES + 1)).unwrap_err(), Rejection::TooLong);
    }

    #[test]
    fn a_credential_cannot_be_printed() {
        let header = format!("Bearer {KEY}");
        let printed = format!("{:?} {:?}", Credential::from_header("Bearer a.b.c"), Credential::from_header(&header));
        assert_eq!(printed, "Ok(Jwt(BearerToken(redacted))) Ok(ApiKey(ApiKey(redacted)))");
    }

    proptest! {
        #[test]
        fn no_header_causes_a_panic(header in ".*") {
            let _ = Credential::from_header(&header);
        }
    }
}
