//! Transactions, and the meaning of `DynamoDB`'s refusals.

use std::error::Error as StdError;
use std::time::Duration;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::TransactWriteItem;
use aws_sdk_dynamodb::types::builders::{ConditionCheckBuilder, PutBuilder, UpdateBuilder};
use vega_auth::Fault;

use crate::Store;
use crate::item::SdkItem;

/// Retries of a transaction that met another one on the same item. Each waits a little longer, with jitter.
pub const CONFLICT_TRIES: u32 = 8;

/// Why nothing was written.
#[derive(Debug)]
pub enum TransactionError {
    /// The condition of the write at this index failed; if several failed, the first.
    Condition(usize),
    /// `DynamoDB` didn't answer.
    Fault(Fault),
}

impl From<Fault> for TransactionError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Store {
    /// Writes all or nothing. A transaction that met another one is retried.
    pub(crate) async fn transact(&self, writes: Vec<TransactWriteItem>) -> Result<(), TransactionError> {
        let mut attempt = 0;
        loop {
            let sent = self.client.transact_write_items().set_transact_items(Some(writes.clone())).send().await;
            let Err(error) = sent else { return Ok(()) };
            let codes = cancellation_codes(&error);
            if let Some(index) = codes.iter().position(|code| *code == "ConditionalCheckFailed") {
                return Err(TransactionError::Condition(index));
            }
            if attempt == CONFLICT_TRIES || !codes.iter().any(|code| TRANSIENT.contains(code)) {
                return Err(TransactionError::Fault(fault(error)));
            }
            backoff(attempt).await;
            attempt += 1;
        }
    }

    /// The same for a write that isn't needed if a condition fails. Whether it was made.
    pub(crate) async fn transact_if_due(&self, writes: Vec<TransactWriteItem>) -> Result<bool, Fault> {
        match self.transact(writes).await {
            Ok(()) => Ok(true),
            Err(TransactionError::Condition(_)) => Ok(false),
            Err(TransactionError::Fault(fault)) => Err(fault),
        }
    }
}

/// Reasons for which a sound transaction is cancelled. The SDK doesn't retry these.
const TRANSIENT: [&str; 3] = ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"];

/// The code for each write of a cancelled transaction.
fn cancellation_codes(error: &SdkError<TransactWriteItemsError>) -> Vec<&str> {
    match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
            cancelled.cancellation_reasons().iter().map(|reason| reason.code().unwrap_or_default()).collect()
        }
        _ => Vec::new(),
    }
}

/// 20 ms, doubling to 640 ms, half of it random: writers that collided once don't collide again.
pub async fn backoff(attempt: u32) {
    let milliseconds = 20_u64 << attempt.min(5);
    tokio::time::sleep(Duration::from_millis(milliseconds / 2 + fastrand::u64(..milliseconds / 2))).await;
}

pub fn put_write(put: PutBuilder) -> Result<TransactWriteItem, Fault> {
    Ok(TransactWriteItem::builder().put(built(put.build())?).build())
}

pub fn update_write(update: UpdateBuilder) -> Result<TransactWriteItem, Fault> {
    Ok(TransactWriteItem::builder().update(built(update.build())?).build())
}

pub fn check(check: ConditionCheckBuilder) -> Result<TransactWriteItem, Fault> {
    Ok(TransactWriteItem::builder().condition_check(built(check.build())?).build())
}

pub fn built<T, E: StdError + Send + Sync + 'static>(result: Result<T, E>) -> Result<T, Fault> {
    result.map_err(|error| Fault::Store(Box::new(error)))
}

/// The attributes that an update returned; `None` if its condition failed.
pub fn if_met(outcome: Result<UpdateItemOutput, SdkError<UpdateItemError>>) -> Result<Option<SdkItem>, Fault> {
    match outcome {
        Ok(output) => Ok(Some(output.attributes.unwrap_or_default())),
        Err(error) if error.as_service_error().is_some_and(UpdateItemError::is_conditional_check_failed_exception) => {
            Ok(None)
        }
        Err(error) => Err(fault(error)),
    }
}

pub fn fault<E: StdError + Send + Sync + 'static, R: std::fmt::Debug + Send + Sync + 'static>(
    error: SdkError<E, R>,
) -> Fault {
    Fault::Store(Box::new(error))
}
