//! The authorizer's access to the table: one read per request, and the record of a use. It does without the SDK, whose
//! general machinery costs more than the read itself. See docs/decisions.md, "Two ways to the table".

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::time::{Duration, SystemTime};

use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use serde_json::json;
use vega_auth::{Fault, KeyId, KeyRecord, KeyRecords, LastUse, Object, Timestamp};
use vega_https_client::HttpsClient;

use crate::key::record_use;
use crate::settings::{ATTEMPTS, Settings};
use crate::{Item, key_pk, read_key};

/// `DynamoDB` answers with at most 1 MB; the items of a key take less than 4 KB.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// Time allowed for recording a use. No request waits longer for it.
const RECORD_USE_TIMEOUT: Duration = Duration::from_millis(300);

/// Finds keys and records their use: all that the authorizer may do with the table.
pub struct KeyReader {
    client: HttpsClient,
    settings: Settings,
    endpoint: Uri,
    table: String,
    clock: fn() -> SystemTime,
}

/// Why a request was not done.
enum CallError {
    /// `DynamoDB` answered with an error.
    Service(ServiceError),
    /// No usable answer arrived in time.
    Unreachable(Box<dyn StdError + Send + Sync>),
}

/// An error that `DynamoDB` answered with.
#[derive(Debug)]
struct ServiceError {
    status: StatusCode,
    /// The error's name: `ThrottlingException`. Its message isn't kept, because it may repeat what was sent.
    name: String,
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DynamoDB answered {} {}", self.status.as_u16(), self.name)
    }
}

impl StdError for ServiceError {}

impl<E: StdError + Send + Sync + 'static> From<E> for CallError {
    fn from(error: E) -> Self {
        Self::Unreachable(error.into())
    }
}

impl From<CallError> for Fault {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Service(error) => Self::Store(error.into()),
            CallError::Unreachable(error) => Self::Store(error),
        }
    }
}

impl CallError {
    /// Whether another attempt may succeed.
    fn is_transient(&self) -> bool {
        // "Error handling with DynamoDB" in its developer guide, and RetryConfig::standard of the SDK.
        const TRANSIENT: [&str; 7] = [
            "ProvisionedThroughputExceededException",
            "RequestLimitExceeded",
            "ThrottlingException",
            "ThrottledException",
            "RequestThrottledException",
            "TransactionInProgressException",
            "LimitExceededException",
        ];
        match self {
            Self::Service(error) => error.status.is_server_error() || TRANSIENT.contains(&error.name.as_str()),
            Self::Unreachable(_) => true,
        }
    }
}

impl KeyReader {
    /// A reader of the keys in `table`. Requests are signed with the time that `clock` shows.
    ///
    /// # Errors
    /// When the endpoint is not a URL.
    pub fn new(
        client: HttpsClient,
        settings: Settings,
        table: String,
        clock: fn() -> SystemTime,
    ) -> Result<Self, http::uri::InvalidUri> {
        let endpoint = settings.endpoint().parse()?;
        Ok(Self { client, settings, endpoint, table, clock })
    }

    /// Opens the connection before the first request, with the read of a key that can't exist. Its outcome doesn't matter.
    pub async fn warm_up(&self) {
        let _ = self.items_of_key("K#").await;
    }

    async fn items_of_key(&self, pk: &str) -> Result<Vec<Item>, Fault> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Query<'a> {
            table_name: &'a str,
            key_condition_expression: &'static str,
            expression_attribute_values: Values<'a>,
            consistent_read: bool,
        }
        #[derive(Serialize)]
        struct Values<'a> {
            #[serde(rename = ":pk")]
            pk: Text<'a>,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Text<'a> {
            s: &'a str,
        }
        let query = Query {
            table_name: &self.table,
            key_condition_expression: "pk = :pk",
            expression_attribute_values: Values { pk: Text { s: pk } },
            consistent_read: true,
        };
        let query = serde_json::to_vec(&query).map_err(CallError::from)?;
        let answer = self.request_with_retries("DynamoDB_20120810.Query", query.into()).await?;
        read_items(&answer)
    }

    /// Retries transient failures: three attempts under one overall deadline.
    async fn request_with_retries(&self, operation: &'static str, body: Bytes) -> Result<Bytes, CallError> {
        let attempts = async {
            let mut attempt = 1;
            loop {
                let request = self.request(operation, body.clone());
                let outcome = tokio::time::timeout(self.settings.attempt_timeout, request).await;
                match outcome.map_err(CallError::from).flatten() {
                    Err(error) if error.is_transient() && attempt < ATTEMPTS => {}
                    outcome => return outcome,
                }
                // Full jitter, up to 50 ms, then 100: clients that collided once don't collide again.
                tokio::time::sleep(Duration::from_millis(fastrand::u64(..50 << (attempt - 1)))).await;
                attempt += 1;
            }
        };
        tokio::time::timeout(self.settings.operation_timeout, attempts).await?
    }

    /// Sends one request, with a signature of its own.
    async fn request(&self, operation: &'static str, body: Bytes) -> Result<Bytes, CallError> {
        #[derive(Default, Deserialize)]
        struct Problem {
            #[serde(rename = "__type")]
            name: String,
        }
        let request = self.signed(operation, body)?;
        let answer = self.client.send(request, MAX_ANSWER_BYTES).await.map_err(CallError::Unreachable)?;
        let status = answer.status();
        if status == StatusCode::OK {
            return Ok(answer.into_body());
        }
        let Object(problem): Object<Problem> = serde_json::from_slice(answer.body()).unwrap_or_default();
        // `com.amazonaws.dynamodb.v20120810#ThrottlingException`
        let name = problem.name.rsplit('#').next().unwrap_or_default();
        let name = name.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
        Err(CallError::Service(ServiceError { status, name }))
    }

    fn signed(&self, operation: &'static str, body: Bytes) -> Result<Request<Bytes>, CallError> {
        const JSON: &str = "application/x-amz-json-1.0";
        let host = self.endpoint.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        let headers = [("content-type", JSON), ("host", host), ("x-amz-target", operation)];
        let signable =
            SignableRequest::new("POST", Cow::Borrowed("/"), headers.into_iter(), SignableBody::Bytes(&body))?;
        let parameters = SigningParams::builder()
            .identity(self.settings.identity())
            .region(self.settings.region())
            .name("dynamodb")
            .time((self.clock)())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let (signature, _) = sign(signable, &parameters)?.into_parts();
        let mut request = Request::post(self.endpoint.clone()).body(body)?;
        let sent = request.headers_mut();
        sent.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(JSON));
        sent.insert("x-amz-target", HeaderValue::from_static(operation));
        signature.apply_to_request_http1x(&mut request);
        Ok(request)
    }
}

/// The key in `DynamoDB`'s answer to the authorizer's Query.
///
/// # Errors
/// When the answer or a record in it is unreadable.
pub fn read_answer(answer: &[u8], id: KeyId) -> Result<Option<KeyRecord>, Fault> {
    read_key(&read_items(answer)?, id)
}

/// The items in the answer to a Query.
fn read_items(answer: &[u8]) -> Result<Vec<Item>, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Found {
        items: Vec<Item>,
    }
    // The parser's message could repeat the table's content.
    let unreadable = |_| Fault::Store("the answer is not one of DynamoDB's".into());
    serde_json::from_slice(answer).map_err(unreadable).map(|Object(found): Object<Found>| found.items)
}

impl KeyRecords for KeyReader {
    async fn find(&self, id: KeyId, _: Timestamp) -> Result<Option<KeyRecord>, Fault> {
        read_key(&self.items_of_key(&key_pk(id)).await?, id)
    }

    async fn record_use(&self, id: KeyId, last: &LastUse) -> Result<(), Fault> {
        let [update, condition] = record_use(last);
        let mut values = json!({
            ":at": { "N": last.at.0.to_string() },
            ":address": { "S": last.address },
            ":agent": { "S": last.user_agent },
        });
        if last.is_move() {
            values[":due"] = json!({ "N": last.at.plus(-LastUse::NOTED_EVERY_SECONDS).0.to_string() });
        }
        let update = json!({
            "TableName": self.table,
            "Key": { "pk": { "S": key_pk(id) }, "sk": { "S": "U" } },
            "UpdateExpression": update,
            "ConditionExpression": condition,
            "ExpressionAttributeValues": values,
        });
        let request = self.request("DynamoDB_20120810.UpdateItem", Bytes::from(update.to_string()));
        match tokio::time::timeout(RECORD_USE_TIMEOUT, request).await.map_err(CallError::from).flatten() {
            Ok(_) => Ok(()),
            // A later use is recorded, or one from another network less than a minute ago.
            Err(CallError::Service(error)) if error.name == "ConditionalCheckFailedException" => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
