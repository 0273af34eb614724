//! Runs functions as Lambda does, on loopback: it simulates the Runtime API, the issuer's key set and `DynamoDB`, checks each
//! response, and measures the functions' cost. See docs/performance.md.

mod backend;
pub mod bench;
pub mod cases;
pub mod credentials;
mod instance;
pub mod instructions;
pub mod load;
mod table;

/// Any error that ends the run.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
