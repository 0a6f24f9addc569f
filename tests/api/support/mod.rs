//! What tests stand on: a database per test, rows with defaults, and the runner.

mod config;
mod database;
pub mod gateway;
mod harness;
mod rows;
mod servers;

pub use config::settings;
pub use database::{Kind, TestDatabase};
pub use harness::{Test, run};
pub use rows::{CallRow, ErrorRow, NULL};
