//! What the authorizer does with the table, which is little, and on every request: so it does without the SDK, whose
//! general machinery costs more than the read itself. See docs/decisions.md, "Two ways to the table".

use std::borrow::Cow;
use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use serde_json::json;
use vega_auth::{Fault, KeyId, KeyRecord, KeyRecords, LastUse, Object, Timestamp};
use vega_https_client::HttpsClient;

use crate::client::{ATTEMPTS, RECORD_USE_TIMEOUT, Settings};
use crate::item::{self, Item};

/// `DynamoDB` answers with 1 MB at most; the items of a key have under 4 KB.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// Finds keys, and notes that they were used: the two things the authorizer may do.
pub struct KeyReader {
    client: HttpsClient,
    settings: Settings,
    endpoint: Uri,
    table: String,
}

/// The answer was no.
#[derive(Debug)]
struct Refused {
    status: StatusCode,
    /// The name of the error: `ThrottlingException`. Its message isn't kept: it may repeat what was sent.
    name: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DynamoDB answered {} {}", self.status.as_u16(), self.name)
    }
}

impl StdError for Refused {}

impl Refused {
    fn is_transient(&self) -> bool {
        // "Error handling with DynamoDB" in its developer guide, and RetryConfig::standard of the SDK.
        const NAMES: [&str; 7] = [
            "ProvisionedThroughputExceededException",
            "RequestLimitExceeded",
            "ThrottlingException",
            "ThrottledException",
            "RequestThrottledException",
            "TransactionInProgressException",
            "LimitExceededException",
        ];
        self.status.is_server_error() || NAMES.contains(&self.name.as_str())
    }
}

type Failure = Box<dyn StdError + Send + Sync>;

impl KeyReader {
    /// The keys in `table`.
    ///
    /// # Errors
    /// When the endpoint is no URL.
    pub fn new(client: HttpsClient, settings: Settings, table: String) -> Result<Self, http::uri::InvalidUri> {
        let endpoint = settings.endpoint().parse()?;
        Ok(Self { client, settings, endpoint, table })
    }

    /// Opens the connection ahead of the first request: a read of a key that can't exist. Its outcome doesn't matter.
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
        let query = serde_json::to_vec(&query).map_err(|error| Fault::Store(error.into()))?;
        let answer = self.ask_until_answered("DynamoDB_20120810.Query", query.into()).await.map_err(Fault::Store)?;
        items(&answer)
    }

    /// Tries again what may pass: three tries, within the deadline for all of them.
    async fn ask_until_answered(&self, operation: &'static str, body: Bytes) -> Result<Bytes, Failure> {
        let tries = async {
            let mut attempt = 1;
            loop {
                let once = tokio::time::timeout(self.settings.attempt_timeout, self.ask(operation, body.clone()));
                let failure = match once.await.map_err(Failure::from).flatten() {
                    Ok(answer) => return Ok(answer),
                    Err(failure) => failure,
                };
                let is_final = failure.downcast_ref::<Refused>().is_some_and(|refused| !refused.is_transient());
                if is_final || attempt == ATTEMPTS {
                    return Err(failure);
                }
                // Up to 50 ms, then up to 100, by chance: those who met once don't meet again.
                tokio::time::sleep(Duration::from_millis(fastrand::u64(..50 << (attempt - 1)))).await;
                attempt += 1;
            }
        };
        tokio::time::timeout(self.settings.operation_timeout, tries).await?
    }

    /// One request, signed anew.
    async fn ask(&self, operation: &'static str, body: Bytes) -> Result<Bytes, Failure> {
        #[derive(Default, Deserialize)]
        struct Problem {
            #[serde(rename = "__type")]
            name: String,
        }
        let answer = self.client.send(self.signed(operation, body)?, MAX_ANSWER_BYTES).await?;
        let status = answer.status();
        if status == StatusCode::OK {
            return Ok(answer.into_body());
        }
        let Object(problem): Object<Problem> = serde_json::from_slice(answer.body()).unwrap_or_default();
        // `com.amazonaws.dynamodb.v20120810#ThrottlingException`
        let name = problem.name.rsplit('#').next().unwrap_or_default();
        Err(Refused { status, name: name.chars().filter(char::is_ascii_alphanumeric).take(64).collect() }.into())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a signature carries the time it is made at; nothing is decided by it"
    )]
    fn signed(&self, operation: &'static str, body: Bytes) -> Result<Request<Bytes>, Failure> {
        const JSON: &str = "application/x-amz-json-1.0";
        let host = self.endpoint.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        let headers = [("content-type", JSON), ("host", host), ("x-amz-target", operation)];
        let signable =
            SignableRequest::new("POST", Cow::Borrowed("/"), headers.into_iter(), SignableBody::Bytes(&body))?;
        let parameters = SigningParams::builder()
            .identity(self.settings.identity())
            .region(self.settings.region())
            .name("dynamodb")
            .time(SystemTime::now())
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
/// When the answer or a record in it can't be read.
pub fn read_answer(answer: &[u8], id: KeyId) -> Result<Option<KeyRecord>, Fault> {
    item::read_key(&items(answer)?, id)
}

/// The items in the answer to a Query.
fn items(answer: &[u8]) -> Result<Vec<Item>, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Found {
        items: Vec<HashMap<String, Attribute>>,
    }
    // The text of the parser's error could repeat what the table holds.
    let unreadable = || Fault::Store("the answer is not one of DynamoDB's".into());
    let Object(found): Object<Found> = serde_json::from_slice(answer).map_err(|_| unreadable())?;
    found
        .items
        .into_iter()
        .map(|item| item.into_iter().map(|(name, value)| Some((name, value.into_value()?))).collect())
        .collect::<Option<_>>()
        .ok_or_else(unreadable)
}

impl KeyRecords for KeyReader {
    async fn find(&self, id: KeyId, _: Timestamp) -> Result<Option<KeyRecord>, Fault> {
        item::read_key(&self.items_of_key(&format!("K#{id}")).await?, id)
    }

    async fn record_use(&self, id: KeyId, last: &LastUse) -> Result<(), Fault> {
        let [update, condition] = item::record_use(last);
        let update = json!({
            "TableName": self.table,
            "Key": { "pk": { "S": format!("K#{id}") }, "sk": { "S": "U" } },
            "UpdateExpression": update,
            "ConditionExpression": condition,
            "ExpressionAttributeValues": {
                ":at": { "N": last.at.0.to_string() },
                ":due": { "N": last.at.plus(-LastUse::NOTED_EVERY_SECONDS).0.to_string() },
                ":address": { "S": last.address },
                ":agent": { "S": last.user_agent },
            },
        });
        let once = self.ask("DynamoDB_20120810.UpdateItem", Bytes::from(update.to_string()));
        match tokio::time::timeout(RECORD_USE_TIMEOUT, once).await.map_err(Failure::from).flatten() {
            Ok(_) => Ok(()),
            Err(error)
                if error
                    .downcast_ref::<Refused>()
                    .is_some_and(|refused| refused.name == "ConditionalCheckFailedException") =>
            {
                Ok(())
            }
            Err(error) => Err(Fault::Store(error)),
        }
    }
}

/// A value as the wire has it
/// ([reference](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html)). A kind that
/// no record of ours has makes the answer unreadable.
#[derive(Deserialize)]
enum Attribute {
    S(String),
    N(String),
    B(String),
    #[serde(rename = "SS")]
    Strings(Vec<String>),
    L(Vec<Attribute>),
    #[serde(rename = "BOOL")]
    Bool(bool),
    #[serde(rename = "NULL")]
    Null(bool),
}

impl Attribute {
    fn into_value(self) -> Option<AttributeValue> {
        Some(match self {
            Self::S(text) => AttributeValue::S(text),
            Self::N(digits) => AttributeValue::N(digits),
            Self::B(base64) => AttributeValue::B(Blob::new(STANDARD.decode(base64).ok()?)),
            Self::Strings(list) => AttributeValue::Ss(list),
            Self::L(list) => AttributeValue::L(list.into_iter().map(Self::into_value).collect::<Option<_>>()?),
            Self::Bool(value) => AttributeValue::Bool(value),
            Self::Null(value) => AttributeValue::Null(value),
        })
    }
}
