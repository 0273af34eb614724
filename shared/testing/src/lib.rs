//! Test support, in one place. No function links this crate.
//!
//! - [`vectors`]: the attack catalogue of `tests/vectors` as requests.
//! - [`TestServer`]: an HTTP server on loopback whose replies a test chooses.
//! - [`NoKeys`] and [`NoIssuer`]: ports with nothing behind them.
//! - `TestDatabase`: a `DynamoDB` API in the test's process, with injected faults (feature `database`).
//! - `key`, `record`, `actor`: an API key, its record and a person who changes it (feature `database`).
//!
//! A crate's unit tests can't pass that crate's own types to this one, because cargo builds the crate twice for them. Such
//! tests are in the crate's `tests/` folder.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a fixture that fails ends its test"
)]

#[cfg(feature = "database")]
mod database;
#[cfg(feature = "database")]
mod faults;
#[cfg(feature = "database")]
mod fixtures;
mod ports;
mod server;
pub mod vectors;

use vega_auth::Timestamp;

#[cfg(feature = "database")]
pub use self::database::{TestDatabase, emulator, reader};
#[cfg(feature = "database")]
pub use self::faults::InjectedFault;
#[cfg(feature = "database")]
pub use self::fixtures::{actor, key, key_with_secret, numbered_key, record};
pub use self::ports::{NoIssuer, NoKeys};
pub use self::server::{Reply, TestServer, read_request, response};

/// The instant that most tests happen at.
pub const NOW: Timestamp = Timestamp(vectors::NOW);
