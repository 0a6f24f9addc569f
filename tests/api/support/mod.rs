//! The base of the tests: a database per test, rows with defaults, and the runner.

mod app;
mod config;
mod database;
pub mod gateway;
mod harness;
pub mod logs;
mod rows;
mod servers;
mod wait;

pub use app::{NOW, TestApp, error_code, request_id};
pub use config::settings;
pub use database::{Kind, TestDatabase};
pub use harness::{INJECTED, Test, run};
pub use rows::{CallRow, ErrorRow, NULL};
pub use wait::{eventually, found, within};
