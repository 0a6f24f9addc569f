//! All SQL. A function here is one statement (or a bounded number, as it says); what differs
//! between the databases sits in [`dialect`].

pub mod api_key;
pub mod audit;
pub mod call;
pub mod call_group;
pub mod call_stats;
mod cancel;
pub mod connect;
mod connections;
pub mod database;
pub mod delete;
pub mod demo;
pub mod density;
pub mod dialect;
pub mod error_group;
pub mod error_log;
pub mod error_match;
pub mod export;
pub mod idempotency;
pub mod import;
mod insert;
pub mod inspect;
pub mod key_directory;
pub mod lease;
pub mod log_table;
mod needle;
pub mod notify;
pub mod old;
pub mod origin;
pub mod page;
pub mod pool;
mod rows;
pub mod setting;
pub mod sieve;
pub mod space;
mod sqlite_file;
pub mod storage;
pub mod stored_error;
mod stored_time;
pub mod tail;
pub mod token;
pub mod usage;
pub mod write;
pub mod zone;

pub use database::Database;
pub use stored_time::StoredTime;
