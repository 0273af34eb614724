use std::borrow::Cow;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_smithy_runtime_api::client::identity::Identity;
use vega_auth::config::{Environment, aws_endpoint, text};

/// A point read takes single-digit milliseconds; an attempt this slow is lost.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(900);
/// All attempts together: well within the authorizer's 5 s.
const OPERATION_TIMEOUT: Duration = Duration::from_millis(2500);
/// The first attempt and two more, with jitter between them.
pub const ATTEMPTS: u32 = 3;

/// The database's endpoint, and the credentials for it.
#[derive(Clone, Debug)]
pub struct Settings {
    region: String,
    endpoint: Option<String>,
    credentials: Credentials,
    identity: Identity,
    /// Deadline for one attempt.
    pub attempt_timeout: Duration,
    /// Deadline for all attempts together.
    pub operation_timeout: Duration,
}

impl Settings {
    /// Reads the standard variables: region and credentials, which Lambda sets and which last as long as the process, and
    /// `AWS_ENDPOINT_URL_DYNAMODB` or `AWS_ENDPOINT_URL` for an emulator. Nothing else is looked up: no file, no profile
    /// and no metadata service.
    pub fn read(environment: &mut Environment<'_>) -> Option<Self> {
        let region = environment.required("AWS_REGION", text);
        let access_key_id = environment.required("AWS_ACCESS_KEY_ID", text);
        let secret = environment.required("AWS_SECRET_ACCESS_KEY", text);
        let session_token = environment.get("AWS_SESSION_TOKEN");
        let endpoint = environment.get("AWS_ENDPOINT_URL_DYNAMODB").or_else(|| environment.get("AWS_ENDPOINT_URL"));
        let credentials = Credentials::new(access_key_id?, secret?, session_token, None, "environment");
        Some(Self {
            region: region?,
            endpoint,
            identity: credentials.clone().into(),
            credentials,
            attempt_timeout: ATTEMPT_TIMEOUT,
            operation_timeout: OPERATION_TIMEOUT,
        })
    }

    /// The endpoint: the configured one, otherwise the region's own.
    pub fn endpoint(&self) -> Cow<'_, str> {
        let usual = || Cow::Owned(aws_endpoint("dynamodb", &self.region));
        self.configured_endpoint().map_or_else(usual, Cow::Borrowed)
    }

    /// The endpoint of an emulator, if one is configured.
    pub fn configured_endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// The region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The credentials.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The credentials as the signer takes them: built once, as every request needs them.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }
}

#[cfg(test)]
mod tests {
    use vega_auth::config::load;

    use super::*;

    #[test]
    fn missing_variables_are_named_and_credentials_not_printed() {
        assert_eq!(
            load("test", |_| None, Settings::read).unwrap_err().0,
            ["AWS_REGION is not set", "AWS_ACCESS_KEY_ID is not set", "AWS_SECRET_ACCESS_KEY is not set"]
        );
        let settings = load("test", |name| Some(format!("the {name}")), Settings::read).unwrap();
        assert_eq!(settings.endpoint(), "the AWS_ENDPOINT_URL_DYNAMODB");
        let shown = format!("{settings:?}");
        assert!(!shown.contains("SECRET") && !shown.contains("TOKEN"), "{shown}");
    }
}
