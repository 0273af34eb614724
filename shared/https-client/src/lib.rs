//! The one HTTPS client: for the issuer's key set, and for `DynamoDB`. Both share its certificates and its connections,
//! which makes a cold start cheaper than two clients would.

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

/// Less than the minute after which AWS's endpoints close a connection that nobody uses.
const IDLE: Duration = Duration::from_secs(50);
/// One host each for the key set and the database, and one request at a time: more connections would only stand idle.
const IDLE_CONNECTIONS_PER_HOST: usize = 2;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Sends requests and reads whole answers. It follows no redirect and knows no proxy: an answer comes from where the
/// configuration says, or not at all. It has no deadline: each caller sets its own.
#[derive(Clone, Debug)]
pub struct HttpsClient(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

/// The answer is larger than its reader takes.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge;

impl std::fmt::Display for TooLarge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("answer too large")
    }
}

impl std::error::Error for TooLarge {}

impl HttpsClient {
    /// Trusts the certificate authorities that are built in, which are Mozilla's: reading the system's from files would
    /// take some milliseconds of each cold start. `authorities` (`SSL_CERT_FILE`) names others to trust instead.
    ///
    /// # Errors
    /// When that file can't be read, or holds no certificate.
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

    /// The answer to `request`, of at most `max_bytes`. A connection that turns out to be closed is replaced.
    ///
    /// # Errors
    /// When there is none, it ends early, or it is [`TooLarge`].
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
    // One that can't be used vouches for nobody; the others still do.
    match roots.add_parsable_certificates(certificates) {
        (0, _) => Err("no certificate in it".into()),
        _ => Ok(roots),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_that_cannot_be_read_are_named_and_not_replaced_by_others() {
        let problem = |path: &str| HttpsClient::new(Some(Path::new(path))).unwrap_err().to_string();
        assert!(problem("/nowhere/at/all.pem").starts_with("SSL_CERT_FILE: "));
        assert_eq!(problem(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")), "SSL_CERT_FILE: no certificate in it");
    }
}
