//! Updates of keys that other writers may change at the same time: the only retry.

use std::slice;

use vega_auth::{Actor, Fault, KeyId, KeyRecord, Timestamp, Transition};

use crate::{CommitError, Store};

/// Attempts before giving up on a key that other writers keep changing.
const ATTEMPTS: usize = 5;

/// A key after an update.
#[derive(Debug)]
pub struct Updated {
    /// The record as it is now.
    pub record: KeyRecord,
    /// Whether the update changed it.
    pub is_changed: bool,
}

/// Why a key wasn't updated.
#[derive(Debug)]
pub enum UpdateError<E> {
    /// There is no such key.
    NotFound,
    /// The decision was no.
    Refused(E),
    /// The transition wasn't committed. After a `Conflict`, the key changed at every attempt.
    Commit(CommitError),
}

impl<E> From<CommitError> for UpdateError<E> {
    fn from(error: CommitError) -> Self {
        Self::Commit(error)
    }
}

impl<E> From<Fault> for UpdateError<E> {
    fn from(fault: Fault) -> Self {
        Self::Commit(fault.into())
    }
}

impl Store {
    /// Reads a key, and commits the transition that `decide` returns for it. If the key changed meanwhile, both are repeated:
    /// whatever `decide` checks, permissions above all, holds for the version that is replaced.
    pub async fn update<E>(
        &self,
        id: KeyId,
        actor: &Actor,
        now: Timestamp,
        decide: impl Fn(&KeyRecord) -> Result<Option<Transition>, E>,
    ) -> Result<Updated, UpdateError<E>> {
        retry(|| async {
            let record = self.find(id).await?.ok_or(UpdateError::NotFound)?;
            let Some(transition) = decide(&record).map_err(UpdateError::Refused)? else {
                return Ok(Updated { record, is_changed: false });
            };
            self.commit(slice::from_ref(&transition), None, None, actor, now).await?;
            Ok(Updated { record: transition.after, is_changed: true })
        })
        .await
    }
}

/// Repeats `attempt`, which reads, decides and commits, when another writer was faster.
pub async fn retry<T, E, F: Future<Output = Result<T, UpdateError<E>>>>(
    attempt: impl Fn() -> F,
) -> Result<T, UpdateError<E>> {
    for _ in 1..ATTEMPTS {
        match attempt().await {
            Err(UpdateError::Commit(CommitError::Conflict | CommitError::IdTaken)) => {}
            outcome => return outcome,
        }
    }
    attempt().await
}
