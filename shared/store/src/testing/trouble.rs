//! A proxy that stands between the real client and the database, and makes trouble on request.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What can be wrong with a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectedFault {
    /// The connection ends without an answer.
    Drops,
    /// There is never an answer.
    Hangs,
    /// It asks us to slow down.
    Throttles,
    /// It says that it failed.
    Fails,
    /// It answers with something that is no answer.
    Babbles,
    /// The answer ends in the middle.
    Truncates,
    /// The answer comes late, but in time.
    Lags,
    /// The answer comes when nobody waits for it any more.
    ComesTooLate,
    /// The answer has one text in the place of another: it is good JSON, and wrong.
    Alters(&'static str, &'static str),
}

impl InjectedFault {
    /// All that leaves us without an answer.
    pub const ALL: [Self; 7] =
        [Self::Drops, Self::Hangs, Self::Throttles, Self::Fails, Self::Babbles, Self::Truncates, Self::ComesTooLate];
}

/// Which trouble the next requests meet, and how many requests there were.
#[derive(Default)]
pub struct Switch {
    next: Mutex<Option<Plan>>,
    requests: AtomicUsize,
}

#[derive(Clone, Copy)]
struct Plan {
    /// How many go well before.
    good: usize,
    trouble: InjectedFault,
    times: usize,
    /// Whether it is every second request.
    is_partial: bool,
}

impl Switch {
    pub fn set(&self, good: usize, trouble: Option<(InjectedFault, usize)>) {
        let plan = trouble.map(|(trouble, times)| Plan { good, trouble, times, is_partial: false });
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = plan;
    }

    pub fn set_partial(&self, trouble: InjectedFault) {
        let plan = Plan { good: 0, trouble, times: usize::MAX, is_partial: true };
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(plan);
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn next(&self) -> Option<InjectedFault> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = (*next)?;
        if plan.is_partial && number % 2 == 1 {
            return None;
        }
        if let Some(good) = plan.good.checked_sub(1) {
            *next = Some(Plan { good, ..plan });
            return None;
        }
        *next = plan.times.checked_sub(1).filter(|left| *left > 0).map(|times| Plan { times, ..plan });
        Some(plan.trouble)
    }
}

/// Passes requests on, one a connection, but for those that `switch` wants in trouble.
pub async fn proxy(listener: TcpListener, database: std::net::SocketAddr, switch: Arc<Switch>) {
    while let Ok((client, _)) = listener.accept().await {
        let switch = Arc::clone(&switch);
        tokio::spawn(async move {
            // A client that goes away is no concern of a test's.
            let _ = exchange(client, database, &switch).await;
        });
    }
}

async fn exchange(mut client: TcpStream, database: std::net::SocketAddr, switch: &Switch) -> std::io::Result<()> {
    let request = read_request(&mut client).await?;
    match switch.next() {
        None => client.write_all(&answer(&request, database).await?).await,
        Some(InjectedFault::Drops) => Ok(()),
        Some(InjectedFault::Hangs) => std::future::pending().await,
        Some(InjectedFault::Throttles) => {
            let body = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"slow down"}"#;
            client.write_all(response("400 Bad Request", body).as_bytes()).await
        }
        Some(InjectedFault::Fails) => {
            let body = r#"{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError"}"#;
            client.write_all(response("500 Internal Server Error", body).as_bytes()).await
        }
        Some(InjectedFault::Babbles) => client.write_all(response("200 OK", "<html>").as_bytes()).await,
        Some(InjectedFault::Truncates) => {
            let whole = answer(&request, database).await?;
            client.write_all(whole.get(..whole.len() - 1).unwrap_or_default()).await
        }
        Some(InjectedFault::Lags) => late(client, &answer(&request, database).await?, 300).await,
        Some(InjectedFault::ComesTooLate) => late(client, &answer(&request, database).await?, 3000).await,
        Some(InjectedFault::Alters(from, to)) => {
            let whole = String::from_utf8_lossy(&answer(&request, database).await?).into_owned();
            let body = whole.split_once("\r\n\r\n").map(|(_, body)| body.replace(from, to)).unwrap_or_default();
            client.write_all(response("200 OK", &body).as_bytes()).await
        }
    }
}

async fn late(mut client: TcpStream, answer: &[u8], milliseconds: u64) -> std::io::Result<()> {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    client.write_all(answer).await
}

async fn answer(request: &[u8], database: std::net::SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut upstream = TcpStream::connect(database).await?;
    upstream.write_all(request).await?;
    let mut whole = Vec::new();
    upstream.read_to_end(&mut whole).await?;
    Ok(whole)
}

/// The request as it is to be passed on: with the wish to end the connection after the answer.
async fn read_request(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        if client.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, length)| length.trim().parse().ok())
            .unwrap_or(0);
        if body.len() >= length {
            return Ok(format!("{head}\r\nconnection: close\r\n\r\n{body}").into_bytes());
        }
    }
}

fn response(status: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}
