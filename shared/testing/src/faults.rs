//! A proxy between the real clients and the database that injects faults.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::server::{read_request, response};

/// A fault that a request to the database meets instead of its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectedFault {
    /// The connection is closed without a response.
    DropConnection,
    /// No response ever arrives.
    Hang,
    /// `ThrottlingException`.
    Throttle,
    /// `InternalServerError`.
    Fail,
    /// 200 with a body that isn't JSON.
    Garbage,
    /// The response lacks its last byte.
    Truncate,
    /// The response arrives after 300 ms: late, but in time.
    Lag,
    /// The response arrives after 3 s, when the client has given up.
    LagTooLong,
    /// The response has the second text in place of the first: valid JSON with wrong content.
    Alter(&'static str, &'static str),
}

impl InjectedFault {
    /// Every fault that leaves the client without a response.
    pub const ALL: [Self; 7] =
        [Self::DropConnection, Self::Hang, Self::Throttle, Self::Fail, Self::Garbage, Self::Truncate, Self::LagTooLong];
}

/// The body of the response to a request; `None` leaves it to the database.
pub type Answers = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Which requests meet a fault, and the number of requests so far.
#[derive(Default)]
pub struct FaultPlan {
    next: Mutex<Option<Injection>>,
    answers: Mutex<Option<Answers>>,
    requests: AtomicUsize,
}

#[derive(Clone, Copy)]
struct Injection {
    /// Requests to let through first.
    good: usize,
    fault: InjectedFault,
    times: usize,
    every_second: bool,
}

impl FaultPlan {
    pub fn inject_after(&self, good: usize, fault: InjectedFault, times: usize) {
        *self.next.lock().unwrap() = Some(Injection { good, fault, times, every_second: false });
    }

    pub fn inject_every_second(&self, fault: InjectedFault) {
        *self.next.lock().unwrap() = Some(Injection { good: 0, fault, times: usize::MAX, every_second: true });
    }

    pub fn answer_by(&self, answers: Answers) {
        *self.answers.lock().unwrap() = Some(answers);
    }

    fn answer(&self, request: &str) -> Option<String> {
        self.answers.lock().unwrap().as_ref()?(request)
    }

    pub fn clear(&self) {
        *self.next.lock().unwrap() = None;
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn next(&self) -> Option<InjectedFault> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        let mut next = self.next.lock().unwrap();
        let injection = (*next)?;
        if injection.every_second && number % 2 == 1 {
            return None;
        }
        if let Some(good) = injection.good.checked_sub(1) {
            *next = Some(Injection { good, ..injection });
            return None;
        }
        *next = injection.times.checked_sub(1).filter(|left| *left > 0).map(|times| Injection { times, ..injection });
        Some(injection.fault)
    }
}

/// Forwards requests, one per connection, except for those that meet a fault.
pub async fn proxy(listener: TcpListener, database: SocketAddr, faults: Arc<FaultPlan>) {
    while let Ok((client, _)) = listener.accept().await {
        let faults = Arc::clone(&faults);
        tokio::spawn(async move {
            // A client that disconnects is no fault of the proxy.
            let _ = exchange(client, database, &faults).await;
        });
    }
}

async fn exchange(mut client: TcpStream, database: SocketAddr, faults: &FaultPlan) -> std::io::Result<()> {
    let request = read_request(&mut client).await?;
    let reply = match faults.next() {
        None => match faults.answer(&request) {
            Some(body) => response("200 OK", body),
            None => forward(&request, database).await?,
        },
        Some(InjectedFault::DropConnection) => return Ok(()),
        Some(InjectedFault::Hang) => std::future::pending().await,
        Some(InjectedFault::Throttle) => response(
            "400 Bad Request",
            r#"{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"slow down"}"#,
        ),
        Some(InjectedFault::Fail) => response(
            "500 Internal Server Error",
            r#"{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError"}"#,
        ),
        Some(InjectedFault::Garbage) => response("200 OK", "<html>"),
        Some(InjectedFault::Truncate) => {
            let mut whole = forward(&request, database).await?;
            whole.pop();
            whole
        }
        Some(InjectedFault::Lag) => late(forward(&request, database).await?, 300).await,
        Some(InjectedFault::LagTooLong) => late(forward(&request, database).await?, 3000).await,
        Some(InjectedFault::Alter(from, to)) => {
            let whole = String::from_utf8_lossy(&forward(&request, database).await?).into_owned();
            let (_, body) = whole.split_once("\r\n\r\n").unwrap_or_default();
            response("200 OK", body.replace(from, to))
        }
    };
    client.write_all(&reply).await
}

async fn late(reply: Vec<u8>, milliseconds: u64) -> Vec<u8> {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    reply
}

/// The database's response to a request, on a connection of its own.
async fn forward(request: &str, database: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut upstream = TcpStream::connect(database).await?;
    let (head, body) = request.split_once("\r\n\r\n").unwrap_or_default();
    upstream.write_all(format!("{head}\r\nconnection: close\r\n\r\n{body}").as_bytes()).await?;
    let mut whole = Vec::new();
    upstream.read_to_end(&mut whole).await?;
    Ok(whole)
}
