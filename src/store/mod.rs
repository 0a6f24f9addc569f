//! All SQL. A function here is one statement (or a bounded number, as it says); what differs
//! between the databases sits in [`dialect`].

pub mod api_key;
pub mod call;
pub mod call_group;
pub mod call_stats;
pub mod connect;
pub mod demo;
pub mod dialect;
pub mod error_group;
pub mod error_log;
pub mod error_match;
pub mod import;
pub mod inspect;
pub mod key_directory;
pub mod page;
pub mod pool;
mod rows;
pub mod setting;
pub mod usage;
pub mod write;
pub mod zone;

pub use connect::Database;
pub use rows::StoredTime;
