//! How far a table was read. Rows come by their ids, each once. Ids that become visible late are waited
//! for, and an id that a deleted row had before is told from that row (docs/adr/0010).

use std::sync::Arc;

use tokio::time::{Duration, Instant};

use super::gaps::Gaps;
use super::seen::Seen;
use crate::error::Result;
use crate::store::Database;
use crate::store::dialect::Dialect;
use crate::store::tail::{self, Tailed};

/// Rows of one statement.
const PAGE: usize = 500;
/// Rows that are remembered at first, and ids below the first row that may still come.
const REMEMBERED: i64 = 256;
/// Ranges of one statement.
const RANGES: usize = 200;
/// How often the first row of a table is looked at.
const FIRST_EVERY: Duration = Duration::from_secs(60);

pub(super) struct Walk {
    db: Arc<Database>,
    seen: Seen,
    gaps: Gaps,
    /// Ranges that were given up since this was last told.
    dropped_gaps: u64,
    /// The row with the lowest id: while it is the same, the table was not emptied.
    first: Option<(i64, u64)>,
    first_read_at: Instant,
}

/// What lies ahead.
pub(super) struct Ahead<T> {
    pub rows: Vec<T>,
    /// There may be more.
    pub more: bool,
}

impl Walk {
    /// Begins at the end of a table.
    pub(super) async fn begin<T: Tailed>(db: Arc<Database>, now: Instant) -> Result<Self> {
        let rows = tail::last_rows::<T>(&db, REMEMBERED.unsigned_abs()).await?;
        let first = tail::first_row::<T>(&db).await?;
        let mut walk = Self::empty(db, now);
        walk.first = first.as_ref().map(mark);
        if rows.len() as i64 == REMEMBERED
            && let Some(lowest) = rows.first()
        {
            walk.seen = Seen::from(lowest.id());
            walk.seen.add(lowest.id(), lowest.digest());
        }
        walk.pass(&rows, now);
        Ok(walk)
    }

    fn empty(db: Arc<Database>, now: Instant) -> Self {
        Self {
            db,
            seen: Seen::default(),
            gaps: Gaps::default(),
            dropped_gaps: 0,
            first: None,
            first_read_at: now,
        }
    }

    /// Rows whose ids were passed before they could be seen.
    pub(super) async fn late<T: Tailed>(&mut self, now: Instant) -> Result<Vec<T>> {
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
        self.gaps.looked(now);
        Ok(rows)
    }

    /// The next rows behind the highest id.
    pub(super) async fn ahead<T: Tailed>(&mut self, now: Instant) -> Result<Ahead<T>> {
        if self.seen.floor() > 0 && now - self.first_read_at >= FIRST_EVERY {
            self.first = tail::first_row::<T>(&self.db).await?.as_ref().map(mark);
            self.first_read_at = now;
        }
        let highest = self.seen.highest();
        // With the last row itself: where it is gone, or is another one, ids may have been used again.
        let mut rows = tail::rows_from::<T>(&self.db, highest, PAGE as u64 + 1).await?;
        let more = rows.len() > PAGE;
        if highest > 0 {
            let last = rows.first().map(mark);
            if !last.is_some_and(|(id, digest)| id == highest && self.seen.holds(id, digest)) {
                return self.settle(now).await;
            }
            rows.remove(0);
        }
        self.pass(&rows, now);
        Ok(Ahead { rows, more })
    }

    /// When the next id is due that is waited for.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.gaps.next_due()
    }

    /// How many ranges of ids are waited for, and how many were given up since this was last asked.
    pub(super) fn gaps(&mut self) -> (usize, u64) {
        (self.gaps.count(), std::mem::take(&mut self.dropped_gaps))
    }

    /// Moves behind `rows`, and remembers what they leave out.
    fn pass<T: Tailed>(&mut self, rows: &[T], now: Instant) {
        // SQLite has one writer at a time, whose ids cannot be overtaken.
        let overtakes = self.db.dialect() != Dialect::Sqlite;
        for row in rows {
            let (id, highest) = (row.id(), self.seen.highest());
            let next = if highest > 0 { highest + 1 } else { (id - REMEMBERED).max(1) };
            if overtakes {
                self.dropped_gaps += self.gaps.note(next..=id - 1, now);
            }
            self.seen.add(id, row.digest());
        }
    }

    /// Finds out where it stands once the last row is not what it was. Of the rows that the table
    /// has up to there, those that are not remembered are new.
    async fn settle<T: Tailed>(&mut self, now: Instant) -> Result<Ahead<T>> {
        let rows = self.remembered_range().await?;
        let (old, new): (Vec<T>, Vec<T>) =
            rows.into_iter().partition(|row: &T| self.seen.holds(row.id(), row.digest()));
        if old.is_empty() && self.seen.floor() > 0 {
            let first = tail::first_row::<T>(&self.db).await?;
            if first.as_ref().map(mark) != self.first {
                // It was emptied: whatever it holds came after that.
                *self = Self::empty(self.db.clone(), now);
                return Ok(Ahead { rows: vec![], more: true });
            }
            tracing::warn!(
                table = T::TABLE,
                "the last rows of a table were deleted, more than are remembered; of rows that took \
                 their ids meanwhile some may not be told"
            );
            if new.is_empty() {
                *self = Self::begin::<T>(self.db.clone(), now).await?;
                return Ok(Ahead { rows: vec![], more: true });
            }
        }
        let mut seen = Seen::from(self.seen.floor());
        old.iter().chain(&new).for_each(|row| seen.add(row.id(), row.digest()));
        self.seen = seen;
        new.iter().for_each(|row| self.gaps.fill(row.id()));
        Ok(Ahead { rows: new, more: true })
    }

    /// The rows of the table from the lowest that is remembered to the highest.
    async fn remembered_range<T: Tailed>(&self) -> Result<Vec<T>> {
        let (mut from, highest) = (self.seen.floor(), self.seen.highest());
        let mut rows: Vec<T> = vec![];
        loop {
            let page = tail::rows_within::<T>(&self.db, &[from..=highest], PAGE as u64).await?;
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
