//! Estimates how many cells a statistic reads, for the cost of queries.

use chrono::{DateTime, Utc};

use super::cache::Phase;
use super::micros;
use crate::domain::rollup::{Level, Micros};
use crate::store::database::Database;

/// Calls that are not folded yet, in normal operation.
const UNFOLDED: f64 = 1000.0;

/// About the most cells that a statistic of `[since, until)` reads; None without rollups. The single calls
/// at the ends of the window are not included: [`edges`] has their spans.
pub fn estimate_cells(
    db: &Database,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    is_keyed: bool,
) -> Option<u64> {
    let known = db.rollups().get().filter(|known| known.state.phase == Phase::Ready)?;
    let state = &known.state;
    let stored = |at: DateTime<Utc>| micros(db.zone().to_stored(at));
    let (first, last) = (state.oldest?, state.newest?);
    let [coarse, fine] = match is_keyed {
        true => [Level::KeyDay, Level::KeyHour],
        false => [Level::Hour, Level::Minute],
    };
    let minutes_since = state.minutes_since.filter(|_| !is_keyed).unwrap_or(first);
    let inside = Ord::min(stored(until), last) - Ord::max(stored(since), first);
    let share = |level: Level, first: Micros, span: Micros| {
        let all = Ord::max(last - first, level.length()) as f64;
        state.cells[level.index()] as f64 * (Ord::max(span, 0) as f64 / all).min(1.0)
    };
    let whole = share(coarse, first, inside);
    // The part of a coarse cell at each end.
    let ends = share(fine, minutes_since, Ord::min(inside, 2 * coarse.length()));
    Some((whole + ends + UNFOLDED).ceil() as u64)
}

/// The longest spans at both ends of a window of which single calls are read.
pub fn edges(since: DateTime<Utc>, until: DateTime<Utc>) -> [(DateTime<Utc>, DateTime<Utc>); 2] {
    let edge = chrono::TimeDelta::microseconds(Level::Hour.length());
    [(since, (since + edge).min(until)), ((until - edge).max(since), until)]
}
