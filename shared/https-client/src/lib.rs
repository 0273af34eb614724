//! The one HTTPS client, for key sets and for AWS. In the authorizer both share its certificates and connection pool, so a cold
//! start is cheaper than with two clients.

mod key_set;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

pub use crate::key_set::HttpKeySet;

/// Below the minute after which AWS's endpoints close an idle connection.
const IDLE: Duration = Duration::from_secs(50);
/// The owner sync looks up ten owners at once. The other functions send one request at a time to each host.
const IDLE_CONNECTIONS_PER_HOST: usize = 10;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Sends requests and reads whole responses. It follows no redirects and uses no proxy: a response comes from the configured
/// host or not at all. It has no deadline: each caller sets its own.
#[derive(Clone, Debug)]
pub struct HttpsClient(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

/// The response is larger than the caller accepts.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("response too large")]
pub struct TooLarge;

impl HttpsClient {
    /// Trusts Mozilla's certificate authorities, which are built in: reading the system's from files would add some
    /// milliseconds to each cold start. `authorities` (`SSL_CERT_FILE`) replaces them.
    /// Fails when that file can't be read or contains no certificate.
    pub fn new(authorities: Option<&Path>) -> Result<Self, Failure> {
        let roots = match authorities {
            None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
            Some(path) => read(path).map_err(|problem| format!("SSL_CERT_FILE: {problem}"))?,
        };
        let tls = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_PER_HOST)
            .build(connector);
        Ok(Self(client))
    }

    /// The response to `request`, of at most `max_bytes`. A pooled connection that was closed is replaced.
    /// Fails when there is no complete response, or it is [`TooLarge`].
    pub async fn send(&self, request: Request<Bytes>, max_bytes: usize) -> Result<Response<Bytes>, Failure> {
        let (head, body) = self.0.request(request.map(Full::new)).await?.into_parts();
        match Limited::new(body, max_bytes).collect().await {
            Ok(body) => Ok(Response::from_parts(head, body.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => Err(TooLarge.into()),
            Err(error) => Err(error),
        }
    }
}

fn read(path: &Path) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)?.collect::<Result<_, _>>()?;
    // An unusable certificate is skipped; the others still count.
    match roots.add_parsable_certificates(certificates) {
        (0, _) => Err("no certificate in it".into()),
        _ => Ok(roots),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_authority_file_is_an_error_without_a_fallback() {
        let problem = |path: &str| HttpsClient::new(Some(Path::new(path))).unwrap_err().to_string();
        assert!(problem("/nowhere/at/all.pem").starts_with("SSL_CERT_FILE: "));
        assert_eq!(problem(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")), "SSL_CERT_FILE: no certificate in it");
    }
}
