//! All SQL. A function here is one statement (or a bounded number, as it says); what differs
//! between the databases sits in [`dialect`].

pub mod connect;
pub mod dialect;
pub mod import;
pub mod write;
pub mod zone;

pub use connect::Database;
