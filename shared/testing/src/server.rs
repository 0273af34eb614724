//! An HTTP server whose replies a test chooses, well-formed or not, to make its client fail.

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The reply to a request. Each connection serves one request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Sends these bytes, and closes the connection.
    Bytes(Vec<u8>),
    /// Sends the first half of these bytes, and closes the connection.
    Truncate(Vec<u8>),
    /// Sends the first half of these bytes, and then nothing.
    Stall(Vec<u8>),
    /// Redirects to a place that answers 200 with this body.
    Redirect(String),
    /// Starts a JSON body that never ends.
    Flood,
    /// Sends nothing, and keeps the connection open.
    Hang,
    /// Closes the connection without a response.
    Close,
}

impl Reply {
    /// 200 with this body.
    pub fn ok(body: impl Display) -> Self {
        Self::status("200 OK", body)
    }

    /// A status with this body: `404 Not Found`. Header lines may follow it, each after `\r\n`.
    pub fn status(status: impl Display, body: impl Display) -> Self {
        Self::Bytes(response(status, body))
    }
}

/// A response as it is sent.
pub fn response(status: impl Display, body: impl Display) -> Vec<u8> {
    let body = body.to_string();
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).into_bytes()
}

/// A server on a free port of loopback. It stops when it is dropped.
pub struct TestServer {
    state: Arc<Mutex<State>>,
    url: String,
    task: JoinHandle<()>,
}

struct State {
    next: VecDeque<Reply>,
    rest: Reply,
    requests: Vec<String>,
}

const MOVED: &str = "/moved";

impl TestServer {
    /// Replies to every request like this.
    pub async fn start(reply: Reply) -> Self {
        Self::start_in_turn([], reply).await
    }

    /// Replies to the first requests in turn, and like `rest` to the others.
    pub async fn start_in_turn(next: impl IntoIterator<Item = Reply>, rest: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State { next: next.into_iter().collect(), rest, requests: Vec::new() }));
        let task = tokio::spawn({
            let state = Arc::clone(&state);
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let state = Arc::clone(&state);
                    // A client that disconnects is no fault of the server.
                    tokio::spawn(async move { exchange(client, &state).await });
                }
            }
        });
        Self { state, url, task }
    }

    /// Its URL, without a trailing slash.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Replies like this from the next request on.
    pub fn reply_with(&self, reply: Reply) {
        let mut state = self.state.lock().unwrap();
        state.next.clear();
        state.rest = reply;
    }

    /// Every request so far as text, head and body. One that follows a redirect isn't among them.
    pub fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn exchange(mut client: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let request = read_request(&mut client).await?;
    let reply = {
        let mut state = state.lock().unwrap();
        match &state.rest {
            Reply::Redirect(body) if request.split(' ').nth(1) == Some(MOVED) => Reply::ok(body),
            _ => {
                state.requests.push(request);
                state.next.pop_front().unwrap_or_else(|| state.rest.clone())
            }
        }
    };
    match reply {
        Reply::Bytes(bytes) => client.write_all(&bytes).await,
        Reply::Truncate(bytes) => client.write_all(&bytes[..bytes.len() / 2]).await,
        Reply::Stall(bytes) => {
            client.write_all(&bytes[..bytes.len() / 2]).await?;
            std::future::pending().await
        }
        Reply::Redirect(body) => client.write_all(&response(format!("302 Found\r\nlocation: {MOVED}"), body)).await,
        Reply::Flood => {
            client.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"keys\":[],\"x\":\"").await?;
            loop {
                client.write_all(&[b'a'; 4096]).await?;
            }
        }
        Reply::Hang => std::future::pending().await,
        Reply::Close => Ok(()),
    }
}

/// A whole request: its head, and as much of a body as the head announces.
/// Fails when the client disconnects before that.
pub async fn read_request(client: &mut TcpStream) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    loop {
        if client.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, length)| length.trim().parse().ok())
            .unwrap_or(0);
        if body.len() >= length {
            return Ok(text.into_owned());
        }
    }
}
