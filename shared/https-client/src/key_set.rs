use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::header::USER_AGENT;
use http::{Request, StatusCode};
use vega_auth::{FetchKeySet, MAX_KEY_SET_BYTES};

use crate::{HttpsClient, TooLarge};

/// Deadline for the whole exchange, including the connection. The authorizer itself has 5 s.
const TIMEOUT: Duration = Duration::from_millis(1500);

/// Some issuers reject requests without a user agent (GitHub's documentation, "User agent required").
const USER_AGENT_NAME: &str = "vega-auth";

/// The key set at one URL.
pub struct HttpKeySet {
    client: HttpsClient,
    url: String,
}

impl HttpKeySet {
    /// The key set at `url`. Redirects aren't followed and no proxy is read from the environment: the keys come from the
    /// configured URL or not at all.
    pub fn new(client: HttpsClient, url: String) -> Self {
        Self { client, url }
    }
}

impl FetchKeySet for HttpKeySet {
    async fn fetch(&self) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        let request = Request::get(&self.url).header(USER_AGENT, USER_AGENT_NAME).body(Bytes::new())?;
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
    use vega_auth::{KeySet, KeySetCache};
    use vega_testing::{NOW, Reply, TestServer};

    use super::*;

    /// Fetches from a server that replies like this.
    async fn fetch(reply: Reply) -> Result<Vec<u8>, String> {
        let server = TestServer::start(reply).await;
        let source = HttpKeySet::new(HttpsClient::new(None).unwrap(), format!("{}/jwks.json", server.url()));
        source.fetch().await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn the_body_is_returned_unchanged() {
        assert_eq!(fetch(Reply::ok("{}")).await, Ok(b"{}".to_vec()));
    }

    #[tokio::test]
    async fn only_200_is_success_and_redirects_are_not_followed() {
        for reply in [
            Reply::status("404 Not Found", "{}"),
            Reply::status("500 Internal Server Error", "{}"),
            Reply::Redirect("{}".into()),
        ] {
            assert!(fetch(reply).await.unwrap_err().contains("answered"));
        }
    }

    #[tokio::test]
    async fn a_response_that_is_too_large_is_cut_off() {
        let largest = " ".repeat(MAX_KEY_SET_BYTES);
        assert!(fetch(Reply::ok(&largest)).await.is_ok());
        assert_eq!(fetch(Reply::ok(format!("{largest} "))).await.unwrap_err(), "key set too large");
        assert_eq!(fetch(Reply::Flood).await.unwrap_err(), "key set too large");
    }

    #[tokio::test]
    async fn no_failure_of_the_endpoint_harms_a_known_key() {
        const KEY_SET: &str = vega_testing::vectors::KEY_SET;
        let Reply::Bytes(whole) = Reply::ok(KEY_SET) else { panic!() };
        for reply in [
            Reply::ok("<html>"),
            Reply::ok(format!("{KEY_SET}{}", " ".repeat(MAX_KEY_SET_BYTES))),
            Reply::status("204 No Content", KEY_SET),
            Reply::status("429 Too Many Requests", KEY_SET),
            Reply::Redirect(KEY_SET.into()),
            Reply::Flood,
            Reply::Truncate(whole.clone()),
            Reply::Stall(whole.clone()),
            Reply::Hang,
            Reply::Close,
        ] {
            let server = TestServer::start(Reply::ok(KEY_SET)).await;
            let source = HttpKeySet::new(HttpsClient::new(None).unwrap(), format!("{}/jwks.json", server.url()));
            let cache: KeySetCache<_, KeySet> = KeySetCache::new(source);
            assert!(cache.key("test-1", NOW).await.unwrap().is_some());
            server.reply_with(reply.clone());
            tokio::time::pause();
            let started = tokio::time::Instant::now();
            let refresh_is_due = NOW.plus(15 * 60);
            assert!(cache.key("test-1", refresh_is_due).await.unwrap().is_some(), "{reply:?}");
            assert!(cache.key("other", refresh_is_due).await.is_err(), "{reply:?}");
            assert_eq!(server.requests().len(), 2, "{reply:?}");
            assert!(started.elapsed() < 2 * TIMEOUT, "{reply:?}: {:?}", started.elapsed());
            tokio::time::resume();
        }
    }

    #[tokio::test]
    async fn a_closed_connection_and_silence_are_failures_in_time() {
        assert!(fetch(Reply::Close).await.is_err());
        let server = TestServer::start(Reply::Hang).await;
        let source = HttpKeySet::new(HttpsClient::new(None).unwrap(), format!("{}/jwks.json", server.url()));
        tokio::time::pause();
        assert!(tokio::time::timeout(TIMEOUT * 2, source.fetch()).await.unwrap().is_err());
    }
}
