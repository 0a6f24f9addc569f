//! SeaORM entities of the two tables that a gateway writes: one file per table, with the exact names and
//! types of gemini-balance. Only the store uses them.

pub mod error_log;
pub mod request_log;

pub use error_log::Entity as ErrorLog;
pub use request_log::Entity as RequestLog;
