//! The table of API keys, for the functions that change keys, through the AWS SDK. `vega_key_table` draws its layout and decodes
//! its items.
//!
//! A change of a key is decided in `vega_auth` and committed in one transaction with its audit events.

mod audit;
mod bar;
mod client;
mod commit;
mod idempotency_record;
mod item;
mod key_owners;
mod notifications;
mod owner;
mod pass;
mod repair;
mod store;
mod transact;
mod update;

pub use audit::EventCursor;
pub use client::client;
pub use commit::CommitError;
pub use idempotency_record::IdempotencyRecord;
pub use item::from_sdk;
pub use key_owners::KeyOwner;
pub use notifications::Expiring;
pub use pass::{Begun, Pass, Place};
pub use repair::{Repair, RepairPage};
pub use store::Store;
pub use update::{UpdateError, Updated, retry};
