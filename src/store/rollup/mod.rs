//! Rollups of the calls: cells with the counts and latencies of whole intervals of time.
//!
//! A call is folded once: it is added to its cells, and the watermark passes its id, in one transaction.
//! A query adds up the cells inside of its window, the calls at the ends of the window, and the calls that
//! are not folded yet: those above the watermark and those in gaps of ids below it (docs/adr/0022).

pub(in crate::store) mod cache;
mod cells;
mod deletion;
mod estimate;
mod fold;
mod gaps;
mod keys;
mod read;
mod series;
mod state;
mod summary;
mod verify;

pub use cache::{Phase, RollupState};
pub use deletion::{Deletable, prepare_deletion};
pub use estimate::{edges, estimate_cells};
pub use fold::{FOLD_MOST, Folded, Folder};
pub(super) use keys::{deleted_keys, key_activity};
pub(super) use read::{Numbering, Sum, SumRequest, sums};
pub use state::{Observed, observe, refresh, request_rebuild};
pub use summary::{Summary, summary};
pub use verify::{Verified, verify};

use std::ops::Range;

use chrono::{DateTime, NaiveDateTime};
use sea_orm::sea_query::Condition;

use super::dialect::Dialect;
use super::zone::StorageZone;
use crate::domain::rollup::Micros;
use crate::domain::window::Window;

const STATE: &str = "callscope_rollup_state";
const GAPS: &str = "callscope_rollup_gaps";
const SERIES: &str = "callscope_rollup_series";
const CELLS: &str = "callscope_rollup_cells";

/// A stored time as microseconds since 1970.
pub fn micros(at: NaiveDateTime) -> Micros {
    at.and_utc().timestamp_micros()
}

pub(super) fn stored(at: Micros) -> NaiveDateTime {
    DateTime::from_timestamp_micros(at).unwrap_or_default().naive_utc()
}

/// The start of a cell as the tables have it: seconds since 1970.
pub(super) fn seconds(start: Micros) -> i64 {
    start.div_euclid(1_000_000)
}

/// Rows in a span of stored times.
pub(super) fn in_span(dialect: Dialect, span: &Range<Micros>) -> Condition {
    dialect.time_range(Some(stored(span.start)), Some(stored(span.end)))
}

/// A window as stored times.
pub(super) fn span(zone: StorageZone, window: Window) -> Range<Micros> {
    micros(zone.to_stored(window.since))..micros(zone.to_stored(window.until))
}
