use std::fmt;
use std::io::{IsTerminal as _, Read as _};

use vega_auth::ApiKey;

use crate::World;
use crate::arguments::Connection;
use crate::outcome::Failure;

/// An access token or an API key. A secret: it can't be printed.
pub struct Token(String);

/// Longest accepted token, as for the authorizer.
const MAX_BYTES: u64 = 8192;

impl Token {
    /// Reads the token from standard input, the environment or the terminal.
    pub fn read(connection: &Connection, world: &World) -> Result<Self, Failure> {
        let text = if connection.token_stdin {
            let mut text = String::new();
            std::io::stdin()
                .take(MAX_BYTES + 2)
                .read_to_string(&mut text)
                .map_err(|error| Failure(format!("standard input can't be read: {error}")))?;
            text
        } else if let Some(token) = (world.lookup)("VEGA_TOKEN") {
            token
        } else if std::io::stdin().is_terminal() {
            rpassword::prompt_password("Access token or API key: ")
                .map_err(|error| Failure(format!("the terminal can't be read: {error}")))?
        } else {
            return Err(Failure("no credential: set VEGA_TOKEN, or pass --token-stdin".into()));
        };
        Self::new(&text)
    }

    fn new(text: &str) -> Result<Self, Failure> {
        let text = text.trim();
        let text = text.strip_prefix("Bearer ").unwrap_or(text);
        match vega_auth::BearerToken::new(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => {
                Err(Failure("that isn't a token: it is empty, too long, or has characters that no token has".into()))
            }
        }
    }

    /// The value of the `Authorization` header.
    pub fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// The key, if it has the form of one. Fails with the reason in words if the key is mistyped.
    pub fn key(&self) -> Option<Result<ApiKey, &'static str>> {
        self.0.starts_with(ApiKey::PREFIX).then(|| match self.0.parse() {
            Ok(key) => Ok(key),
            Err(vega_auth::Rejection::Checksum) => Err("the key is mistyped: its checksum is wrong"),
            Err(_) => Err("the key is incomplete or mistyped: a key has 65 characters"),
        })
    }

    /// The claims of a JWT, which nobody has verified.
    pub fn unverified_claims(&self) -> Option<serde_json::Value> {
        use base64::Engine as _;
        let mut parts = self.0.split('.');
        let (_, claims, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else { return None };
        let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).ok()?;
        serde_json::from_slice(&json).ok().filter(serde_json::Value::is_object)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}
