//! Fetches the issuer's key set: the adapter behind [`vega_auth::FetchKeySet`].

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::header::USER_AGENT;
use http::{Request, StatusCode};
use vega_auth::{FetchKeySet, MAX_KEY_SET_BYTES};
use vega_https_client::{HttpsClient, TooLarge};

/// The whole exchange, connection included. The authorizer answers or fails within 5 s.
const TIMEOUT: Duration = Duration::from_millis(1500);

/// Some issuers turn a request without one away (GitHub's documentation, "User agent required").
const NAME: &str = "vega-auth";

/// The key set at one URL.
pub struct HttpKeySet {
    client: HttpsClient,
    url: String,
}

impl HttpKeySet {
    /// The key set at `url`. Redirects aren't followed and no proxy is read from the environment: the keys come from
    /// where the configuration says, or not at all.
    pub fn new(client: HttpsClient, url: String) -> Self {
        Self { client, url }
    }
}

impl FetchKeySet for HttpKeySet {
    async fn fetch(&self) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        let request = Request::get(&self.url).header(USER_AGENT, NAME).body(Bytes::new())?;
        let sent = tokio::time::timeout(TIMEOUT, self.client.send(request, MAX_KEY_SET_BYTES)).await?;
        let response = sent.map_err(|error| if error.is::<TooLarge>() { "key set too large".into() } else { error })?;
        if response.status() != StatusCode::OK {
            return Err(format!("key set endpoint answered {}", response.status()).into());
        }
        Ok(response.into_body().into())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Fetches from a server that answers every connection with `answer` and then closes it, or never answers.
    async fn fetch(answer: Option<Vec<u8>>) -> Result<Vec<u8>, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = async {
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                let _ = connection.read(&mut [0; 4096]).await;
                match &answer {
                    Some(bytes) => {
                        let _ = connection.write_all(bytes).await;
                    }
                    None => std::future::pending().await,
                }
            }
        };
        let source = HttpKeySet::new(HttpsClient::new(None).unwrap(), format!("http://{address}/jwks.json"));
        tokio::select! {
            fetched = source.fetch() => fetched.map_err(|error| error.to_string()),
            () = server => unreachable!("the server goes on"),
        }
    }

    fn response(head: &str, body: &[u8]) -> Vec<u8> {
        [head.as_bytes(), format!("\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
    }

    #[tokio::test]
    async fn the_body_is_what_the_endpoint_sent() {
        assert_eq!(fetch(Some(response("HTTP/1.1 200 OK", b"{}"))).await, Ok(b"{}".to_vec()));
    }

    #[tokio::test]
    async fn anything_but_200_is_a_failure_and_a_redirect_is_not_followed() {
        for head in
            ["HTTP/1.1 404 Not Found", "HTTP/1.1 500 Oops", "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/"]
        {
            assert!(fetch(Some(response(head, b"{}"))).await.unwrap_err().contains("answered"));
        }
    }

    #[tokio::test]
    async fn a_huge_answer_is_cut_off_as_it_arrives() {
        let largest = vec![b' '; MAX_KEY_SET_BYTES];
        assert!(fetch(Some(response("HTTP/1.1 200 OK", &largest))).await.is_ok());
        let larger = vec![b' '; MAX_KEY_SET_BYTES + 1];
        assert_eq!(fetch(Some(response("HTTP/1.1 200 OK", &larger))).await.unwrap_err(), "key set too large");
    }

    #[tokio::test]
    async fn a_dead_connection_and_a_silent_endpoint_are_failures_in_bounded_time() {
        assert!(fetch(Some(Vec::new())).await.is_err());
        tokio::time::pause();
        assert!(tokio::time::timeout(TIMEOUT * 2, fetch(None)).await.unwrap().is_err());
    }
}
