//! The issuer's key set and the table of keys, as a function sees them. Each request is checked: an unexpected read fails
//! the run.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use vega_auth::{Groups, KeyRecord, Timestamp};
use vega_key_table::write_record;

use crate::Failure;
use crate::credentials::{self, POOL};

/// The table in the functions' configuration.
pub const TABLE: &str = "keys";

/// The issuer and `DynamoDB` at one address.
pub struct Backend {
    key_set: Bytes,
    fetches: AtomicU64,
    problems: Mutex<Vec<String>>,
}

/// The backend's certificate, and its authority as the content of a file for `SSL_CERT_FILE`.
pub struct Tls {
    acceptor: TlsAcceptor,
    /// PEM of the authority, followed by the machine's own trusted ones, as many as on Lambda.
    pub bundle: String,
}

impl Tls {
    /// A new authority, and its certificate for 127.0.0.1.
    pub fn new() -> Result<Self, Failure> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(["127.0.0.1".to_owned()])?.signed_by(&key, &authority)?;
        let key = PrivateKeyDer::try_from(key.serialize_der())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        let usual = std::fs::read_to_string("/etc/ssl/certs/ca-certificates.crt").unwrap_or_default();
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), bundle: authority.pem() + &usual })
    }
}

impl Backend {
    /// A backend that serves this key set.
    pub fn new(key_set: String) -> Arc<Self> {
        Arc::new(Self { key_set: key_set.into(), fetches: AtomicU64::new(0), problems: Mutex::default() })
    }

    /// Serves until the harness ends; returns the URL.
    pub async fn serve(self: &Arc<Self>, tls: Option<&Tls>) -> Result<String, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let acceptor = tls.map(|tls| tls.acceptor.clone());
        let backend = Arc::clone(self);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let _ = connection.set_nodelay(true);
                let (backend, acceptor) = (Arc::clone(&backend), acceptor.clone());
                tokio::spawn(async move {
                    let service = service_fn(|request| async {
                        backend.answer(request).await.map_err(|error| error.to_string())
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    // A stopped function drops its connections.
                    if let Some(acceptor) = acceptor {
                        if let Ok(connection) = acceptor.accept(connection).await {
                            let _ = http.serve_connection(TokioIo::new(connection), service).await;
                        }
                    } else {
                        let _ = http.serve_connection(TokioIo::new(connection), service).await;
                    }
                });
            }
        });
        Ok(format!("{scheme}://{address}"))
    }

    /// The number of times that the key set was fetched.
    pub fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::SeqCst)
    }

    /// Fails when a function sent an unexpected request.
    pub fn problems(&self) -> Result<(), Failure> {
        let problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        if problems.is_empty() { Ok(()) } else { Err(format!("unexpected requests: {problems:?}").into()) }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Failure> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        if head.method == Method::GET && head.uri.path() == format!("/{POOL}/.well-known/jwks.json") {
            self.fetches.fetch_add(1, Ordering::SeqCst);
            return Ok(Response::new(Full::new(self.key_set.clone())));
        }
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let answered = match header("x-amz-target") {
            "DynamoDB_20120810.Query" if is_signed(header("authorization")) => query(&body),
            other => Err(format!("{} {} {other:?}", head.method, head.uri)),
        };
        match answered {
            Ok(answer) => Ok(Response::builder()
                .header("content-type", "application/x-amz-json-1.0")
                .body(Full::new(answer.to_string().into()))?),
            Err(problem) => {
                self.problems.lock().unwrap_or_else(PoisonError::into_inner).push(problem);
                Ok(Response::builder().status(400).body(Full::default())?)
            }
        }
    }
}

/// A strongly consistent Query for a key's two items, the only request allowed.
fn query(body: &[u8]) -> Result<Value, String> {
    let query: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let values = query["ExpressionAttributeValues"].as_object().ok_or("no values")?;
    let pk = values.values().next().and_then(|value| value["S"].as_str()).unwrap_or_default();
    if query["TableName"] != TABLE || query["ConsistentRead"] != true || values.len() != 1 {
        return Err(query.to_string());
    }
    let Some(index) = pk.strip_prefix("K#").and_then(credentials::index_of) else {
        // The warm-up queries a key that can't exist.
        return if pk == "K#" { Ok(json!({ "Items": [], "Count": 0 })) } else { Err(query.to_string()) };
    };
    Ok(json!({ "Items": record(pk, index), "Count": 2, "ScannedCount": 2 }))
}

fn is_signed(authorization: &str) -> bool {
    authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
        && authorization.contains("/us-west-1/dynamodb/aws4_request")
        && authorization.contains("host;")
        && authorization.contains("Signature=")
}

fn record(pk: &str, index: u64) -> [Value; 2] {
    let owner = credentials::owner_of(index);
    let record = KeyRecord {
        owner_username: owner.clone(),
        name: "ci".into(),
        description: "deploys from the pipeline".into(),
        groups: Groups::named(["user"]),
        expires_at: Some(Timestamp(4_102_444_800)),
        ..KeyRecord::new(&credentials::key(index), &owner, Timestamp(1_795_000_000))
    };
    [
        json!(write_record(&record)),
        // Recorded just now: a busy key costs one read per request and no write.
        json!({
            "pk": { "S": pk }, "sk": { "S": "U" }, "used_at": { "N": credentials::now().to_string() },
            "address": { "S": "192.0.2.1" }, "user_agent": { "S": "curl/8.5.0" },
        }),
    ]
}
