//! Generated traffic for `callscope demo`: the rows of a gateway with 50 keys and 6 models. Deterministic:
//! the same seed and end give the same rows. No clock, no database; every key is recognisable as fake.

pub mod dice;
mod error_text;
mod fault;
mod incident;
mod model;
mod pool;
mod rhythm;
mod traffic;

#[cfg(test)]
mod tests;

pub use traffic::{Live, Traffic};

use crate::domain::record::{CallRecord, ErrorRecord};

/// Days of traffic before the `until` of [`Traffic::new`].
pub const HISTORY_DAYS: i64 = 31;

/// One call and, for most failed ones, its error log.
pub type Exchange = (CallRecord, Option<ErrorRecord>);
