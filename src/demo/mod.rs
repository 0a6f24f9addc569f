//! Made-up traffic for `callscope demo`: what 50 keys and 6 models of a gateway would have written.
//! Pure and seeded: the same seed and the same end give the same rows. It knows no clock and no
//! database, and every key in it is visibly a fake.

mod dice;
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

/// Days of traffic before the end that [`Traffic::new`] is given.
pub const HISTORY_DAYS: i64 = 31;

/// One call and, for most that failed, what the provider said.
pub type Exchange = (CallRecord, Option<ErrorRecord>);
