//! Reads the new rows of a table by id, each once. It checks for ids that become visible late, and
//! detects a reused id of a deleted row (docs/adr/0010).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::time::{Duration, Instant};

use crate::domain::id_range::{IdRange, MAX_STEP};
use crate::error::Result;
use crate::store::Database;
use crate::store::dialect::Dialect;
use crate::store::tail::{self, Tailed};

/// The most rows of one statement.
const PAGE: usize = 500;
/// Rows that are remembered at the start, and ids below the first row that may still appear.
const REMEMBERED: i64 = 256;
/// The most ranges of one statement.
const RANGES: usize = 200;
/// How often the first row of a table and the step of ids are read again.
const FIRST_EVERY: Duration = Duration::from_secs(60);
/// The most ranges that are checked; beyond it the oldest is dropped.
const MAX_GAPS: usize = 1024;
/// A gap is dropped after this time.
const MAX_GAP_AGE: Duration = Duration::from_secs(5 * 60);
/// Gaps of the ids of one node are one gap if they were found within this time, or within a quarter of their
/// age.
const JOINED_WITHIN: Duration = Duration::from_millis(200);
/// The most rows that are remembered. If more of the last rows were deleted, it looks like an emptied table.
const MAX_SEEN: usize = 4096;

pub(super) struct TableReader {
    db: Arc<Database>,
    seen: SeenRows,
    gaps: Gaps,
    /// The step between two ids of one node.
    step: i64,
    /// Ranges that were dropped since the last call of `gaps`.
    dropped_gaps: u64,
    /// The row with the lowest id: while it is the same, the table was not emptied.
    first: Option<(i64, u64)>,
    first_read_at: Instant,
}

/// Rows behind the read position.
pub(super) struct NewRows<T> {
    pub rows: Vec<T>,
    /// There may be more.
    pub more: bool,
}

impl TableReader {
    /// Starts at the end of a table.
    pub(super) async fn start<T: Tailed>(db: Arc<Database>, now: Instant) -> Result<Self> {
        let rows = tail::last_rows::<T>(&db, REMEMBERED.unsigned_abs()).await?;
        let first = tail::first_row::<T>(&db).await?;
        let step = tail::id_step(&db).await?;
        let mut reader = Self { step, ..Self::empty(db, now) };
        reader.first = first.as_ref().map(mark);
        if rows.len() as i64 == REMEMBERED
            && let Some(lowest) = rows.first()
        {
            reader.seen = SeenRows::from(lowest.id());
            reader.seen.add(lowest.id(), lowest.digest());
        }
        reader.pass(&rows, now);
        Ok(reader)
    }

    fn empty(db: Arc<Database>, now: Instant) -> Self {
        Self {
            db,
            seen: SeenRows::default(),
            gaps: Gaps::default(),
            step: 1,
            dropped_gaps: 0,
            first: None,
            first_read_at: now,
        }
    }

    /// Rows that became visible after the reader passed their ids.
    pub(super) async fn read_gaps<T: Tailed>(&mut self, now: Instant) -> Result<Vec<T>> {
        let due = self.gaps.due(now);
        let mut rows: Vec<T> = vec![];
        for ranges in due.chunks(RANGES) {
            rows.extend(tail::rows_within(&self.db, ranges, PAGE as u64).await?);
        }
        rows.sort_unstable_by_key(T::id);
        for row in &rows {
            self.gaps.fill(row.id());
            self.seen.add(row.id(), row.digest());
        }
        self.gaps.checked(now);
        self.dropped_gaps += self.gaps.compact(now);
        Ok(rows)
    }

    /// The next rows above the highest id.
    pub(super) async fn read_new<T: Tailed>(&mut self, now: Instant) -> Result<NewRows<T>> {
        if self.seen.floor() > 0 && now - self.first_read_at >= FIRST_EVERY {
            self.first = tail::first_row::<T>(&self.db).await?.as_ref().map(mark);
            self.first_read_at = now;
            self.step = tail::id_step(&self.db).await?;
        }
        let highest = self.seen.highest();
        // Includes the last row read: if it is missing or has changed, ids may have been reused.
        let mut rows = tail::rows_from::<T>(&self.db, highest, PAGE as u64 + 1).await?;
        let more = rows.len() > PAGE;
        if highest > 0 {
            let last = rows.first().map(mark);
            if !last.is_some_and(|(id, digest)| id == highest && self.seen.contains(id, digest)) {
                return self.resync(now).await;
            }
            rows.remove(0);
        }
        self.pass(&rows, now);
        Ok(NewRows { rows, more })
    }

    /// When the next gap is due for a check.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.gaps.next_due()
    }

    /// The number of open gaps, and how many were dropped since the last call.
    pub(super) fn gaps(&mut self) -> (usize, u64) {
        (self.gaps.count(), std::mem::take(&mut self.dropped_gaps))
    }

    /// Advances behind `rows` and records the ids that they skip.
    fn pass<T: Tailed>(&mut self, rows: &[T], now: Instant) {
        // SQLite has one writer at a time, so that ids are committed in order.
        let has_gaps = self.db.dialect() != Dialect::Sqlite;
        for row in rows {
            let (id, highest) = (row.id(), self.seen.highest());
            let next = if highest > 0 { highest + 1 } else { (id - REMEMBERED).max(1) };
            if has_gaps {
                IdRange::between(next, id - 1, self.step).for_each(|ids| self.gaps.add(ids, now));
            }
            self.seen.add(id, row.digest());
        }
        self.dropped_gaps += self.gaps.compact(now);
    }

    /// Finds the read position again after the last row was deleted or replaced. Rows up to that
    /// position are new unless they are remembered.
    async fn resync<T: Tailed>(&mut self, now: Instant) -> Result<NewRows<T>> {
        let rows = self.remembered_range().await?;
        let (old, new): (Vec<T>, Vec<T>) =
            rows.into_iter().partition(|row: &T| self.seen.contains(row.id(), row.digest()));
        if old.is_empty() && self.seen.floor() > 0 {
            let first = tail::first_row::<T>(&self.db).await?;
            if first.as_ref().map(mark) != self.first {
                // The table was emptied: all its rows are new.
                *self = Self { step: self.step, ..Self::empty(self.db.clone(), now) };
                return Ok(NewRows { rows: vec![], more: true });
            }
            tracing::warn!(
                table = T::TABLE,
                "more of the last rows of a table were deleted than the tail remembers; subscribers may \
                 miss rows that reuse their ids"
            );
            if new.is_empty() {
                *self = Self::start::<T>(self.db.clone(), now).await?;
                return Ok(NewRows { rows: vec![], more: true });
            }
        }
        let mut seen = SeenRows::from(self.seen.floor());
        old.iter().chain(&new).for_each(|row| seen.add(row.id(), row.digest()));
        self.seen = seen;
        new.iter().for_each(|row| self.gaps.fill(row.id()));
        Ok(NewRows { rows: new, more: true })
    }

    /// The rows of the table from the lowest remembered id to the highest.
    async fn remembered_range<T: Tailed>(&self) -> Result<Vec<T>> {
        let (mut from, highest) = (self.seen.floor(), self.seen.highest());
        let mut rows: Vec<T> = vec![];
        loop {
            let range = IdRange { first: from, last: highest, step: 1 };
            let page = tail::rows_within::<T>(&self.db, &[range], PAGE as u64).await?;
            let last = page.last().map(T::id).filter(|_| page.len() == PAGE);
            rows.extend(page);
            match last {
                Some(last) => from = last + 1,
                None => return Ok(rows),
            }
        }
    }
}

fn mark<T: Tailed>(row: &T) -> (i64, u64) {
    (row.id(), row.digest())
}

/// Unused ids below the highest id read. With concurrent transactions a higher id may be committed before a
/// lower one; an id of a transaction that was rolled back never appears. With ids in steps, most gaps are ids
/// of other nodes, which never appear either.
#[derive(Default)]
struct Gaps {
    /// Oldest first.
    open: VecDeque<Gap>,
}

#[derive(Clone)]
struct Gap {
    ids: IdRange,
    found_at: Instant,
    /// When the first of its ids was found missing.
    first_found_at: Instant,
    checked_at: Instant,
}

impl Gap {
    /// Most transactions are short: young gaps are checked more often. With ids in steps every row leaves gaps,
    /// which are checked again after half of their age.
    fn due_at(&self) -> Instant {
        self.checked_at + self.interval()
    }

    fn interval(&self) -> Duration {
        let age = self.checked_at - self.found_at;
        match age.as_secs() {
            _ if self.ids.step > 1 => {
                (age / 2).clamp(Duration::from_millis(100), Duration::from_secs(5))
            }
            0..2 => Duration::from_millis(50),
            2..30 => Duration::from_millis(500),
            _ => Duration::from_secs(5),
        }
    }

    /// Whether to check it together with another gap that is due: those of ids in steps are many.
    fn is_almost_due(&self, now: Instant) -> bool {
        let early = if self.ids.step > 1 { self.interval() / 2 } else { Duration::ZERO };
        self.due_at() <= now + early
    }
}

impl Gaps {
    fn add(&mut self, ids: IdRange, now: Instant) {
        self.open.push_back(Gap { ids, found_at: now, first_found_at: now, checked_at: now });
    }

    /// Joins the gaps of one node that were found at similar times. Drops the oldest ones if there are too
    /// many, and returns how many.
    fn compact(&mut self, now: Instant) -> u64 {
        let mut compacted: VecDeque<Gap> = VecDeque::with_capacity(self.open.len());
        for gap in self.open.drain(..) {
            let within = JOINED_WITHIN.max((now - gap.found_at) / 4);
            let mut last = compacted.iter_mut().rev().take(MAX_STEP.unsigned_abs() as usize);
            let joined = last.find_map(|older| {
                let ids = older.ids.joined(gap.ids)?;
                (gap.found_at - older.first_found_at <= within).then_some((older, ids))
            });
            match joined {
                Some((older, ids)) => {
                    // The time of the last one: no id is dropped early.
                    older.found_at = gap.found_at;
                    older.checked_at = older.checked_at.min(gap.checked_at);
                    older.ids = ids;
                }
                None => compacted.push_back(gap),
            }
        }
        self.open = compacted;
        let excess = self.open.len().saturating_sub(MAX_GAPS);
        self.open.drain(..excess);
        excess as u64
    }

    /// Removes an id for which a row was found.
    fn fill(&mut self, id: i64) {
        let Some(at) = self.open.iter().position(|gap| gap.ids.contains(id)) else { return };
        let Some(gap) = self.open.remove(at) else { return };
        for ids in gap.ids.without(id).rev() {
            self.open.insert(at, Gap { ids, ..gap.clone() });
        }
    }

    /// The ranges to check now: none unless one is due.
    fn due(&self, now: Instant) -> Vec<IdRange> {
        if self.next_due().is_none_or(|due| due > now) {
            return vec![];
        }
        self.open.iter().filter(|gap| gap.is_almost_due(now)).map(|gap| gap.ids).collect()
    }

    /// Marks the ranges of [`Self::due`] as checked and drops expired ones.
    fn checked(&mut self, now: Instant) {
        if self.next_due().is_some_and(|due| due <= now) {
            let checked = self.open.iter_mut().filter(|gap| gap.is_almost_due(now));
            checked.for_each(|gap| gap.checked_at = now);
        }
        self.open.retain(|gap| now - gap.found_at < MAX_GAP_AGE);
    }

    fn next_due(&self) -> Option<Instant> {
        self.open.iter().map(Gap::due_at).min()
    }

    fn count(&self) -> usize {
        self.open.len()
    }
}

/// The ids and digests of the last rows read. They distinguish a deleted row from a new row that reuses its
/// id.
#[derive(Default)]
struct SeenRows {
    digests: BTreeMap<i64, u64>,
    /// All rows read with this id or a higher one are remembered.
    floor: i64,
}

impl SeenRows {
    /// Remembers every row from `floor` on.
    fn from(floor: i64) -> Self {
        Self { digests: BTreeMap::new(), floor }
    }

    fn add(&mut self, id: i64, digest: u64) {
        if id < self.floor {
            return;
        }
        self.digests.insert(id, digest);
        if self.digests.len() > MAX_SEEN
            && let Some((lowest, _)) = self.digests.pop_first()
        {
            self.floor = lowest + 1;
        }
    }

    fn floor(&self) -> i64 {
        self.floor
    }

    /// The highest id; 0 where there is no row.
    fn highest(&self) -> i64 {
        self.digests.last_key_value().map_or(0, |(id, _)| *id)
    }

    fn contains(&self, id: i64, digest: u64) -> bool {
        self.digests.get(&id) == Some(&digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_shrinks_as_rows_are_found() {
        let now = Instant::now();
        let mut gaps = Gaps::default();
        gaps.add(range(4, 9), now);
        gaps.add(range(12, 12), now);
        [6, 4, 20, 12].into_iter().for_each(|id| gaps.fill(id));
        let later = now + Duration::from_millis(50);
        assert_eq!(gaps.due(later), [range(5, 5), range(7, 9)]);
        assert_eq!(gaps.due(now), []);
        [5, 7, 9, 8].into_iter().for_each(|id| gaps.fill(id));
        assert_eq!((gaps.count(), gaps.next_due()), (0, None));
    }

    #[test]
    fn a_gap_is_checked_less_often_with_age_and_then_dropped() {
        let started = Instant::now();
        let mut gaps = Gaps::default();
        gaps.add(range(1, 1), started);
        let mut checks = vec![];
        while let Some(due) = gaps.next_due() {
            assert_eq!(gaps.due(due), [range(1, 1)]);
            gaps.checked(due);
            checks.push(due - started);
        }
        let count = |from: u64, to: u64| {
            let (from, to) = (Duration::from_secs(from), Duration::from_secs(to));
            checks.iter().filter(|at| (from..to).contains(*at)).count()
        };
        assert_eq!((count(0, 2), count(2, 30), count(30, 300)), (39, 56, 54));
        assert_eq!(checks.last(), Some(&MAX_GAP_AGE));
    }

    #[test]
    fn the_number_of_gaps_is_bounded() {
        let now = Instant::now();
        let mut gaps = Gaps::default();
        (0..MAX_GAPS as i64 + 3).for_each(|id| gaps.add(range(2 * id, 2 * id), now));
        assert_eq!((gaps.compact(now), gaps.count()), (3, MAX_GAPS));
        assert_eq!(gaps.due(now + Duration::from_secs(1))[0], range(6, 6));
    }

    /// Node 1 of 3 writes all rows: 1, 4, 7, … For five minutes, the ids of the others may appear late.
    #[test]
    fn the_ids_of_other_nodes_are_few_gaps() {
        let started = Instant::now();
        let mut gaps = Gaps::default();
        let (mut checks, mut most, mut now) = (0, 0, started);
        for row in 0..6_000_i64 {
            now = started + Duration::from_millis(100 * row.unsigned_abs());
            let id = 1 + 3 * row;
            IdRange::between(id + 1, id + 2, 3).for_each(|ids| gaps.add(ids, now));
            assert_eq!(gaps.compact(now), 0);
            most = most.max(gaps.count());
            if gaps.next_due().is_some_and(|due| due <= now) {
                checks += 1;
                gaps.checked(now);
            }
        }
        assert!(most < 100, "{most} ranges");
        // Not more than one for each row.
        assert!(checks <= 6_000, "{checks} checks");
        let ids = |age: i64| 2 + 3 * (6_000 - 10 * age);
        let open = |id| gaps.open.iter().any(|gap| gap.ids.contains(id));
        assert!(open(ids(1)) && open(ids(298)) && !open(ids(500)));
        assert!(!open(ids(1) - 1), "the id of a row");
        gaps.fill(ids(200));
        assert!(!gaps.open.iter().any(|gap| gap.ids.contains(ids(200))));
        gaps.checked(now + MAX_GAP_AGE);
        assert_eq!(gaps.count(), 0);
    }

    fn range(first: i64, last: i64) -> IdRange {
        IdRange { first, last, step: 1 }
    }

    #[test]
    fn the_lowest_ids_are_evicted_first() {
        let mut seen = SeenRows::from(3);
        (3..3 + MAX_SEEN as i64).for_each(|id| seen.add(id, 1));
        assert_eq!((seen.floor(), seen.highest()), (3, MAX_SEEN as i64 + 2));
        seen.add(9000, 1);
        assert_eq!((seen.floor(), seen.highest()), (4, 9000));
        // A late row below the floor is ignored.
        seen.add(2, 1);
        assert!(
            seen.contains(4, 1)
                && !seen.contains(4, 2)
                && !seen.contains(3, 1)
                && !seen.contains(2, 1)
        );
    }
}
