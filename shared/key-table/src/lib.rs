//! The table of API keys as it is stored: one `DynamoDB` table, and no index on any path that decides.
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
//! P#key-owners  P#key-owners          the owner sync's pass: its lease, its place, and the beginning of the last complete one
//! P#expiry      P#expiry              the scan for expiry, likewise
//! P#repair      P#repair              the repair of existing keys, likewise; and `P#repair-dry-run`
//! ```
//! A decision is one strongly consistent Query on `K#<id>`. A change of a key is one transaction with its audit events. The
//! sparse index [`INDEX`] has the keys that aren't revoked, and the groups their owners were seen in. It serves full scans and
//! no decision; expired keys leave it when they are swept. What is left of a key is purged 90 days after it was revoked or
//! expired, and then its id from its owner's item; audit events stay. An owner's item without keys is purged as well.
//!
//! This crate has the only decoder of items ([`Item`]). [`KeyReader`] is the authorizer's access to the table; `vega-store`
//! is everyone else's, through the AWS SDK.

mod attribute;
mod key;
mod reader;
mod stream;

pub use attribute::{Attribute, Item, Malformed};
pub use key::{
    key_pk, owner_pk, parse_key_pk, purge_at, purge_time, read_key, read_last_use, read_record, write_record,
};
pub use reader::{KeyReader, read_answer};
pub use stream::Change;

/// The sparse index of the keys that aren't revoked, nor expired and swept, by their owner.
pub const INDEX: &str = "key-owners";
