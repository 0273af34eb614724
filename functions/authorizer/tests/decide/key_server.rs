//! An issuer's key set endpoint, over HTTP, of which a test says how it behaves.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the endpoint does with a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// 200 and this.
    Serves(String),
    /// Another status, with a good key set as its body.
    Status(&'static str),
    /// To the place where the good key set is.
    Redirects,
    /// More than anybody reads, without an end.
    Floods,
    /// The first half of a good answer, and then the end.
    BreaksOff,
    /// The first half of a good answer, and then nothing.
    Stalls,
    /// Nothing, ever.
    Hangs,
    /// The end of the connection.
    HangsUp,
}

/// The endpoint; it ends with the test.
pub struct KeyServer {
    shared: Arc<Shared>,
    url: String,
    server: JoinHandle<()>,
}

struct Shared {
    answer: Mutex<Answer>,
    good: String,
    fetches: AtomicUsize,
}

impl KeyServer {
    pub async fn start(key_set: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/us-west-1_Test/.well-known/jwks.json", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            answer: Mutex::new(Answer::Serves(key_set.into())),
            good: key_set.into(),
            fetches: AtomicUsize::new(0),
        });
        let server = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let shared = Arc::clone(&shared);
                    // A client that goes away is no concern of a test's.
                    tokio::spawn(async move { exchange(client, &shared).await });
                }
            }
        });
        Self { shared, url, server }
    }

    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// From the next request on.
    pub fn answers(&self, answer: Answer) {
        *self.shared.answer.lock().unwrap() = answer;
    }

    pub fn serves(&self, key_set: &str) {
        self.answers(Answer::Serves(key_set.into()));
    }

    /// How often the key set was asked for.
    pub fn fetches(&self) -> usize {
        self.shared.fetches.load(Ordering::SeqCst)
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn exchange(mut client: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut request = vec![0; 4096];
    let length = client.read(&mut request).await?;
    let request = String::from_utf8_lossy(&request[..length]).into_owned();
    if request.starts_with("GET /moved ") {
        return client.write_all(response("200 OK", "", &shared.good).as_bytes()).await;
    }
    shared.fetches.fetch_add(1, Ordering::SeqCst);
    let answer = shared.answer.lock().unwrap().clone();
    let good = response("200 OK", "", &shared.good);
    match answer {
        Answer::Serves(key_set) => client.write_all(response("200 OK", "", &key_set).as_bytes()).await,
        Answer::Status(status) => client.write_all(response(status, "", &shared.good).as_bytes()).await,
        Answer::Redirects => {
            client.write_all(response("302 Found", "location: /moved\r\n", &shared.good).as_bytes()).await
        }
        Answer::Floods => {
            client.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"keys\":[],\"x\":\"").await?;
            loop {
                client.write_all(&[b'a'; 4096]).await?;
            }
        }
        Answer::BreaksOff => client.write_all(&good.as_bytes()[..good.len() / 2]).await,
        Answer::Stalls => {
            client.write_all(&good.as_bytes()[..good.len() / 2]).await?;
            std::future::pending().await
        }
        Answer::Hangs => std::future::pending().await,
        Answer::HangsUp => Ok(()),
    }
}

fn response(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}
