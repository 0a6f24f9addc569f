//! The last rows that were seen, by their ids and what they held, so that a row that takes the id of a
//! deleted one is told from it.

use std::collections::BTreeMap;

/// Rows that are remembered. Deeper than that, a cut cannot be told from a table that was emptied.
const MOST: usize = 4096;

#[derive(Default)]
pub(super) struct Seen {
    digests: BTreeMap<i64, u64>,
    /// Of the rows with this id and higher ones, all that were seen are remembered.
    floor: i64,
}

impl Seen {
    /// Remembers every row from `floor` on.
    pub(super) fn from(floor: i64) -> Self {
        Self { digests: BTreeMap::new(), floor }
    }

    pub(super) fn add(&mut self, id: i64, digest: u64) {
        if id < self.floor {
            return;
        }
        self.digests.insert(id, digest);
        if self.digests.len() > MOST
            && let Some((lowest, _)) = self.digests.pop_first()
        {
            self.floor = lowest + 1;
        }
    }

    pub(super) fn floor(&self) -> i64 {
        self.floor
    }

    /// The highest id; 0 where there is no row.
    pub(super) fn highest(&self) -> i64 {
        self.digests.last_key_value().map_or(0, |(id, _)| *id)
    }

    pub(super) fn holds(&self, id: i64, digest: u64) -> bool {
        self.digests.get(&id) == Some(&digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_are_forgotten_first() {
        let mut seen = Seen::from(3);
        (3..3 + MOST as i64).for_each(|id| seen.add(id, 1));
        assert_eq!((seen.floor(), seen.highest()), (3, MOST as i64 + 2));
        seen.add(9000, 1);
        assert_eq!((seen.floor(), seen.highest()), (4, 9000));
        // One that comes late and is as low as those that were forgotten.
        seen.add(2, 1);
        assert!(seen.holds(4, 1) && !seen.holds(4, 2) && !seen.holds(3, 1) && !seen.holds(2, 1));
    }
}
