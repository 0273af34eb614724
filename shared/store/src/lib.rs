//! The table of API keys: one `DynamoDB` table, and no index on any path that decides.
//!
//! ```text
//! pk            sk                    holds
//! K#<id>        A                     the record of a key
//! K#<id>        U                     its last use; apart, so that it never conflicts with a change
//! U#<owner>     M                     the owner's key ids: `live` (which the limit counts) and `ended` (revoked or expired)
//! U#<owner>     B                     the bar: access tokens issued up to then give the owner's keys nothing more
//! U#<owner>     E#<id>#<version>#<n>  audit events: the n-th event of this version of a key
//! I#<owner>#<digest of a request>  R  the sealed response to a request that can be repeated
//! N#<id>        <notification>        this notification about a key was sent
//! P#key-owners  P#key-owners          where the last scan of the key owners stopped
//! ```
//! A decision is one strongly consistent Query on `K#<id>`. A change of a key is decided in `vega_auth` and committed in one
//! transaction with its audit events. The sparse index `key-owners` has the keys that aren't revoked, and the groups their
//! owners were seen in. It serves full scans and no decision; expired keys leave it when they are swept. What is left of a key
//! is purged 90 days after it was revoked or expired; audit events stay.

mod audit;
mod bar;
mod client;
mod commit;
mod idempotency_record;
mod item;
mod key_owners;
mod notifications;
mod owner;
mod store;
mod transact;
mod update;

pub use audit::EventCursor;
pub use client::client;
pub use commit::CommitError;
pub use idempotency_record::IdempotencyRecord;
pub use key_owners::{KeyOwner, OwnerCursor};
pub use notifications::{Expiring, ExpiryCursor};
pub use store::Store;
pub use update::{UpdateError, Updated, retry};
pub use vega_key_table::Settings;
