//! What both benchmarks measure: the same data and the same queries.

pub mod cases;
#[path = "../../tests/api/support/config.rs"]
mod config;
pub mod data;

pub use config::settings;

/// Pages that hold one key's 24 hours; everything else is the default.
pub const MAX_PAGE_SIZE: &str = "2000";

/// Calls of the table that most cases are measured on.
pub const CALLS: u64 = 1_000_000;
