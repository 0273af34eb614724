//! Runs functions as Lambda does, on loopback: it plays the Runtime API, the issuer's key set and `DynamoDB`, checks each
//! answer, and measures what the functions cost. See docs/performance.md.

mod backend;
pub mod bench;
pub mod cases;
pub mod credentials;
mod instance;
pub mod instructions;
pub mod load;
mod table;

/// Anything that ends the run.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
