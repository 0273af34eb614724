//! `/v1/api-keys`.

mod change;
mod create;
mod events;
mod get;
mod list;
mod own;
mod revoke;
mod rotate;
