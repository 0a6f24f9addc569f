//! SeaORM entities of the two tables that a gateway writes: one file per table, with
//! gemini-balance's exact names and types. Nothing but the store uses them.

pub mod error_log;
pub mod request_log;
