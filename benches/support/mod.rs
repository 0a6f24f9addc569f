//! The data, the queries and the databases that the benchmarks share.

pub mod cases;
#[path = "../../tests/api/support/config.rs"]
mod config;
pub mod data;
pub mod engine;

pub use config::settings;

/// Pages with 24 hours of one key; everything else is the default.
pub const MAX_PAGE_SIZE: &str = "2000";

/// Calls of the table for most cases.
pub const CALLS: u64 = 1_000_000;
