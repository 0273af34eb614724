use crate::{ApiKey, MAX_TOKEN_BYTES, Rejection};

/// What the caller presents, told apart by its form alone. Nothing about it is verified yet.
#[derive(Debug)]
pub enum Credential<'a> {
    /// Three dot-separated parts.
    Jwt(BearerToken<'a>),
    /// `vk_…`, with the right form and checksum.
    ApiKey(ApiKey),
}

/// The text of a bearer token that looks like a JWT. A secret: it can't be printed.
#[derive(Clone, Copy)]
pub struct BearerToken<'a>(&'a str);

impl<'a> BearerToken<'a> {
    /// The token, to parse and verify it. Nowhere else.
    pub fn expose(self) -> &'a str {
        self.0
    }
}

impl std::fmt::Debug for BearerToken<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BearerToken(redacted)")
    }
}

impl<'a> Credential<'a> {
    /// Reads the values of all `Authorization` headers of a request: exactly one is wanted.
    ///
    /// The form is RFC 6750 section 2.1, `credentials = "Bearer" 1*SP b64token`, with the scheme in any case
    /// (RFC 9110 section 11.1) and exactly one space.
    ///
    /// # Errors
    /// When there is not exactly one header, or it is not a bearer token of a form we know.
    pub fn from_headers(values: impl IntoIterator<Item = &'a str>) -> Result<Self, Rejection> {
        let mut values = values.into_iter();
        match (values.next(), values.next()) {
            (None | Some(""), None) => Err(Rejection::NoCredential),
            (Some(value), None) => Self::from_header(value),
            (_, Some(_)) => Err(Rejection::ManyCredentials),
        }
    }

    fn from_header(value: &'a str) -> Result<Self, Rejection> {
        let (scheme, token) = value.split_once(' ').ok_or(Rejection::NotBearer)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Rejection::NotBearer);
        }
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Rejection::TooLong);
        }
        if !is_b64token(token) {
            return Err(Rejection::NotBearer);
        }
        if token.starts_with(ApiKey::PREFIX) {
            token.parse().map(Self::ApiKey)
        } else if token.bytes().filter(|byte| *byte == b'.').count() == 2 {
            Ok(Self::Jwt(BearerToken(token)))
        } else {
            Err(Rejection::UnknownForm)
        }
    }
}

/// `b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`
fn is_b64token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() | matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    // Without a way out in between: so it takes many bytes at once, and a token is not long.
    !body.is_empty() && body.bytes().fold(true, |all, byte| all & is_allowed(byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "vk_7Gh2kQ9XbT4m_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1EG2IT";

    #[track_caller]
    fn check(headers: &[&str], expected: Result<&str, Rejection>) {
        let form = Credential::from_headers(headers.iter().copied()).map(|credential| match credential {
            Credential::Jwt(token) => token.expose().to_owned(),
            Credential::ApiKey(key) => key.expose().to_owned(),
        });
        assert_eq!(form.as_deref().map_err(|reason| *reason), expected);
    }

    #[test]
    fn one_bearer_token_is_read_with_the_scheme_in_any_case() {
        for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
            check(&[&format!("{scheme} a.b.c")], Ok("a.b.c"));
            check(&[&format!("{scheme} {KEY}")], Ok(KEY));
        }
    }

    #[test]
    fn anything_but_exactly_one_header_is_refused() {
        check(&[], Err(Rejection::NoCredential));
        check(&[""], Err(Rejection::NoCredential));
        check(&["Bearer a.b.c", "Bearer a.b.c"], Err(Rejection::ManyCredentials));
        check(&["Bearer a.b.c", ""], Err(Rejection::ManyCredentials));
        check(&["", ""], Err(Rejection::ManyCredentials));
        // two headers that a proxy joined
        check(&["Bearer a.b.c, Bearer a.b.c"], Err(Rejection::NotBearer));
        check(&["Bearer a.b.c,Bearer d.e.f"], Err(Rejection::NotBearer));
    }

    #[test]
    fn anything_but_one_space_and_one_token_is_refused() {
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
        ] {
            check(&[header], Err(Rejection::NotBearer));
        }
    }

    #[test]
    fn a_token_of_no_known_form_is_refused_without_a_look_inside() {
        for token in ["abc", "a.b", "a.b.c.d", "a.b.c.d.e", "VK_abc", "vk-abc"] {
            check(&[&format!("Bearer {token}")], Err(Rejection::UnknownForm));
        }
        check(&["Bearer vk_"], Err(Rejection::MalformedKey));
        // a key can't be passed off as a JWT
        check(&["Bearer vk_a.b.c"], Err(Rejection::MalformedKey));
    }

    #[test]
    fn a_huge_token_is_refused_by_its_length() {
        let part = "a".repeat(MAX_TOKEN_BYTES - 4);
        check(&[&format!("Bearer {part}.b.c")], Ok(&format!("{part}.b.c")));
        check(&[&format!("Bearer {part}a.b.c")], Err(Rejection::TooLong));
        check(&[&format!("Bearer {}", "a".repeat(1_000_000))], Err(Rejection::TooLong));
    }

    #[test]
    fn a_credential_cannot_be_printed() {
        let printed = format!(
            "{:?} {:?}",
            Credential::from_headers(["Bearer a.b.c"]),
            Credential::from_headers([&*format!("Bearer {KEY}")])
        );
        assert_eq!(printed, "Ok(Jwt(BearerToken(redacted))) Ok(ApiKey(ApiKey(redacted)))");
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(headers in proptest::collection::vec(".*", 0..4)) {
            let _ = Credential::from_headers(headers.iter().map(String::as_str));
        }
    }
}
