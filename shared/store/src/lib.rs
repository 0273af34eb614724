//! Where API-key records live: one `DynamoDB` table, and no index on any path that decides.
//!
//! ```text
//! pk          sk                    holds
//! K#<id>      A                     the record of a key
//! K#<id>      U                     its last use; apart, so that it never conflicts with a change
//! U#<owner>   M                     the owner's key ids: `live` (what the limit counts) and `ended` (revoked or expired)
//! U#<owner>   B                     up to when access tokens were issued that give the owner's keys nothing any more
//! U#<owner>   E#<id>#<version>#<n>  audit events: the n-th of those that made this version of a key
//! I#<owner>#<digest of a request>  R  the sealed answer to a request that can be repeated
//! N#<id>      <notice>              that this notification about a key was sent
//! P#key-owners   P#key-owners             where the last look through the owners of keys stopped
//! ```
//! A decision is one strongly consistent Query on `K#<id>`. A change is one transaction with its audit events.
//! The sparse index `key-owners` has the keys that aren't revoked, and the groups their owners were seen in: for looking through them all, which decides nothing. An
//! expired one leaves it when it is swept. What is left of a key is purged 90 days after its end; audit events stay.

mod audit;
mod bar;
mod client;
mod idempotency_record;
mod item;
mod key_owners;
mod keys;
mod notifications;
mod owner;
mod transact;

pub use audit::{Actor, AuditEvent, EventCursor, EventKind};
pub use client::client;
pub use idempotency_record::IdempotencyRecord;
pub use key_owners::{KeyOwner, OwnerCursor};
pub use keys::{Change, ChangeError, CreateError, Store};
pub use notifications::{Expiring, ExpiryCursor};
pub use vega_key_table::Settings;
