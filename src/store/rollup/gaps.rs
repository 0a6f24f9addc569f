//! Ids of calls below the watermark that are not folded (`callscope_rollup_gaps`). With concurrent
//! transactions a higher id may be committed before a lower one; an id of a transaction that was rolled back
//! never appears. A call that cannot be folded is a gap that never ends.

use std::collections::BTreeSet;

use sea_orm::ConnectionTrait;
use sea_orm::sea_query::{Expr, ExprTrait, Query};

use super::GAPS;
use crate::domain::id_range::{IdRange, MAX_STEP};
use crate::domain::rollup::Micros;
use crate::error::{Error, Result};
use crate::store::database::Database;
use crate::store::rows::{row, select_own};

/// How long a missing id is expected.
const LIFETIME: Micros = 24 * 3600 * 1_000_000;
/// Ranges of the ids of one node are one range if they expire within this time.
const JOINED_WITHIN: Micros = LIFETIME / 48;
/// The most ranges of missing ids; beyond it, the oldest is dropped.
const MAX_MISSING: usize = 1000;
/// The most calls that cannot be folded.
const MAX_UNFOLDABLE: usize = 1000;

row! {
    struct StoredGap { first_id: i64, last_id: i64, expires: Option<i64>, step: Option<i64> }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Gap {
    ids: IdRange,
    /// None for a call that cannot be folded.
    expires: Option<Micros>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gaps(BTreeSet<Gap>);

impl Gaps {
    pub(super) async fn read(db: &Database) -> Result<Self> {
        let rows = db.fetch::<StoredGap>("rollup.gaps", &select_own::<StoredGap>(GAPS)).await?;
        let gap = |row: StoredGap| {
            let step = Ord::max(row.step.unwrap_or(1), 1);
            let ids = IdRange { first: row.first_id, last: row.last_id, step };
            Gap { ids, expires: row.expires }
        };
        Ok(Self(rows.into_iter().map(gap).collect()))
    }

    /// The ranges of missing ids.
    pub(super) fn missing(&self) -> impl Iterator<Item = IdRange> {
        self.0.iter().filter(|gap| gap.expires.is_some()).map(|gap| gap.ids)
    }

    pub(super) fn has_missing(&self) -> bool {
        self.missing().next().is_some()
    }

    /// Adds missing ids.
    pub(super) fn add_missing(&mut self, ids: IdRange, now: Micros) {
        self.0.insert(Gap { ids, expires: Some(now + LIFETIME) });
    }

    /// Adds a call that cannot be folded.
    pub(super) fn add_unfoldable(&mut self, id: i64) {
        self.0.insert(Gap { ids: IdRange { first: id, last: id, step: 1 }, expires: None });
    }

    pub(super) fn has_too_many_unfoldable(&self) -> bool {
        self.unfoldable().len() > MAX_UNFOLDABLE
    }

    /// The calls that cannot be folded.
    pub(super) fn unfoldable(&self) -> Vec<i64> {
        self.0.iter().filter(|gap| gap.expires.is_none()).map(|gap| gap.ids.first).collect()
    }

    /// Removes all calls that cannot be folded except for these.
    pub(super) fn retain_unfoldable(&mut self, ids: &[i64]) {
        self.0.retain(|gap| gap.expires.is_some() || ids.contains(&gap.ids.first));
    }

    /// Removes the id of a call that is found.
    pub(super) fn remove(&mut self, id: i64) {
        let found = self.0.iter().find(|gap| gap.ids.contains(id) && gap.expires.is_some());
        let Some(gap) = found.copied() else { return };
        self.0.remove(&gap);
        self.0.extend(gap.ids.without(id).map(|ids| Gap { ids, ..gap }));
    }

    /// Joins the ranges of one node. With ids in steps, every call leaves gaps.
    fn join(&mut self) {
        let mut joined: Vec<Gap> = vec![];
        for gap in std::mem::take(&mut self.0) {
            let older = joined.iter_mut().rev().take(MAX_STEP.unsigned_abs() as usize);
            let mut older = older.filter_map(|older| {
                let ids = older.ids.joined(gap.ids)?;
                let apart = gap.expires?.abs_diff(older.expires?);
                (apart <= JOINED_WITHIN.unsigned_abs()).then_some((older, ids))
            });
            match older.next() {
                Some((older, ids)) => older.ids = ids,
                None => joined.push(gap),
            }
        }
        self.0.extend(joined);
    }

    /// Joins ranges, removes expired ones, and the oldest ones if there are too many.
    pub(super) fn expire(&mut self, now: Micros) {
        self.join();
        self.0.retain(|gap| gap.expires.is_none_or(|expires| expires > now));
        let mut missing: Vec<Gap> =
            self.0.iter().filter(|gap| gap.expires.is_some()).copied().collect();
        let excess = missing.len().saturating_sub(MAX_MISSING);
        missing.sort_unstable_by_key(|gap| (gap.expires, gap.ids.first));
        missing[..excess].iter().for_each(|gap| {
            self.0.remove(gap);
        });
    }

    /// Stores the changes since `before`.
    pub(super) async fn store(
        &self,
        transaction: &impl ConnectionTrait,
        before: &Self,
    ) -> Result<()> {
        let removed: Vec<i64> = before.0.difference(&self.0).map(|gap| gap.ids.first).collect();
        for removed in removed.chunks(1000) {
            let delete = Query::delete()
                .from_table(GAPS)
                .and_where(Expr::col("first_id").is_in(removed.iter().copied()))
                .take();
            transaction.execute(&delete).await?;
        }
        let added: Vec<&Gap> = self.0.difference(&before.0).collect();
        for added in added.chunks(1000) {
            let mut insert = Query::insert();
            insert.into_table(GAPS).columns(["first_id", "last_id", "expires", "step"]);
            for gap in added {
                let IdRange { first, last, step } = gap.ids;
                let step = (step > 1).then_some(step);
                insert
                    .values([first.into(), last.into(), gap.expires.into(), step.into()])
                    .map_err(Error::internal)?;
            }
            transaction.execute(&insert).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(gaps: &Gaps) -> Vec<(i64, i64)> {
        gaps.0.iter().map(|gap| (gap.ids.first, gap.ids.last)).collect()
    }

    fn range(first: i64, last: i64) -> IdRange {
        IdRange { first, last, step: 1 }
    }

    #[test]
    fn a_gap_shrinks_and_expires() {
        let mut gaps = Gaps::default();
        gaps.add_missing(range(4, 9), 0);
        gaps.add_unfoldable(20);
        for id in [6, 4, 20, 30] {
            gaps.remove(id);
        }
        assert_eq!(ranges(&gaps), [(5, 5), (7, 9), (20, 20)]);
        gaps.expire(LIFETIME - 1);
        assert_eq!(ranges(&gaps).len(), 3);
        gaps.expire(LIFETIME);
        assert_eq!(ranges(&gaps), [(20, 20)]);
        assert!(!gaps.has_missing() && !gaps.has_too_many_unfoldable());
    }

    #[test]
    fn the_oldest_are_dropped_first() {
        let mut gaps = Gaps::default();
        (0..MAX_MISSING as i64 + 2)
            .for_each(|number| gaps.add_missing(range(-number, -number), number));
        gaps.expire(0);
        let left = ranges(&gaps);
        assert_eq!((left.len(), left.last()), (MAX_MISSING, Some(&(-2, -2))));
    }

    /// Node 1 of 3 writes 10,000 calls in three hours.
    #[test]
    fn the_ids_of_other_nodes_are_few_ranges() {
        let mut gaps = Gaps::default();
        for row in 0..10_000 {
            let (id, now) = (1 + 3 * row, LIFETIME / 8 * row / 10_000);
            IdRange::between(id + 1, id + 2, 3).for_each(|ids| gaps.add_missing(ids, now));
            if row % 500 == 0 {
                gaps.expire(now);
            }
        }
        gaps.expire(0);
        let left = ranges(&gaps);
        assert!(left.len() <= 20, "{left:?}");
        let count: i64 = left.iter().map(|(first, last)| (last - first) / 3 + 1).sum();
        assert_eq!(count, 20_000);
        gaps.remove(3_002);
        gaps.remove(3_001);
        assert_eq!(ranges(&gaps).len(), left.len() + 1);
    }
}
