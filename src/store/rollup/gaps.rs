//! Ids of calls below the watermark that are not folded (`callscope_rollup_gaps`). With concurrent
//! transactions a higher id may be committed before a lower one; an id of a transaction that was rolled back
//! never appears. A call that cannot be folded is a gap that never ends.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use sea_orm::ConnectionTrait;
use sea_orm::sea_query::{Expr, ExprTrait, Query};

use super::GAPS;
use crate::domain::rollup::Micros;
use crate::error::{Error, Result};
use crate::store::database::Database;
use crate::store::rows::{row, select_own};

/// How long a missing id is expected.
const LIFETIME: Micros = 24 * 3600 * 1_000_000;
/// The most ranges of missing ids; beyond it, the oldest is dropped.
const MAX_MISSING: usize = 1000;
/// The most calls that cannot be folded.
const MAX_UNFOLDABLE: usize = 1000;

row! {
    struct StoredGap { first_id: i64, last_id: i64, expires: Option<i64> }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Gap {
    first: i64,
    last: i64,
    /// None for a call that cannot be folded.
    expires: Option<Micros>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gaps(BTreeSet<Gap>);

impl Gaps {
    pub(super) async fn read(db: &Database) -> Result<Self> {
        let rows = db.fetch::<StoredGap>("rollup.gaps", &select_own::<StoredGap>(GAPS)).await?;
        let gap =
            |row: StoredGap| Gap { first: row.first_id, last: row.last_id, expires: row.expires };
        Ok(Self(rows.into_iter().map(gap).collect()))
    }

    /// The ranges of missing ids.
    pub(super) fn missing(&self) -> impl Iterator<Item = RangeInclusive<i64>> {
        self.0.iter().filter(|gap| gap.expires.is_some()).map(|gap| gap.first..=gap.last)
    }

    pub(super) fn has_missing(&self) -> bool {
        self.missing().next().is_some()
    }

    /// Adds missing ids.
    pub(super) fn add_missing(&mut self, first: i64, last: i64, now: Micros) {
        if first <= last {
            self.0.insert(Gap { first, last, expires: Some(now + LIFETIME) });
        }
    }

    /// Adds a call that cannot be folded.
    pub(super) fn add_unfoldable(&mut self, id: i64) {
        self.0.insert(Gap { first: id, last: id, expires: None });
    }

    pub(super) fn has_too_many_unfoldable(&self) -> bool {
        self.unfoldable().len() > MAX_UNFOLDABLE
    }

    /// The calls that cannot be folded.
    pub(super) fn unfoldable(&self) -> Vec<i64> {
        self.0.iter().filter(|gap| gap.expires.is_none()).map(|gap| gap.first).collect()
    }

    /// Removes all calls that cannot be folded except for these.
    pub(super) fn retain_unfoldable(&mut self, ids: &[i64]) {
        self.0.retain(|gap| gap.expires.is_some() || ids.contains(&gap.first));
    }

    /// Removes the id of a call that is found.
    pub(super) fn remove(&mut self, id: i64) {
        let found =
            self.0.iter().find(|gap| (gap.first..=gap.last).contains(&id) && gap.expires.is_some());
        let Some(gap) = found.copied() else { return };
        self.0.remove(&gap);
        for (first, last) in [(gap.first, id - 1), (id + 1, gap.last)] {
            if first <= last {
                self.0.insert(Gap { first, last, ..gap });
            }
        }
    }

    /// Removes expired ranges, and the oldest ones if there are too many.
    pub(super) fn expire(&mut self, now: Micros) {
        self.0.retain(|gap| gap.expires.is_none_or(|expires| expires > now));
        let mut missing: Vec<Gap> =
            self.0.iter().filter(|gap| gap.expires.is_some()).copied().collect();
        let excess = missing.len().saturating_sub(MAX_MISSING);
        missing.sort_unstable_by_key(|gap| (gap.expires, gap.first));
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
        let removed: Vec<i64> = before.0.difference(&self.0).map(|gap| gap.first).collect();
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
            insert.into_table(GAPS).columns(["first_id", "last_id", "expires"]);
            for gap in added {
                insert
                    .values([gap.first.into(), gap.last.into(), gap.expires.into()])
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
        gaps.0.iter().map(|gap| (gap.first, gap.last)).collect()
    }

    #[test]
    fn a_gap_shrinks_and_expires() {
        let mut gaps = Gaps::default();
        gaps.add_missing(4, 9, 0);
        gaps.add_missing(12, 11, 0);
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
        (0..MAX_MISSING as i64 + 2).for_each(|number| gaps.add_missing(-number, -number, number));
        gaps.expire(0);
        let left = ranges(&gaps);
        assert_eq!((left.len(), left.last()), (MAX_MISSING, Some(&(-2, -2))));
    }
}
