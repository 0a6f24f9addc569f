//! Ranges of ids that are missing. On a node of a MySQL cluster, ids grow in steps: with three nodes, the ids
//! of one node have the same remainder by three. The ids that a node does not use are then one range.

/// The largest step that is distinguished; above it, each gap between two ids is a range.
pub const MAX_STEP: i64 = 16;

/// The ids `first`, `first + step`, … `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdRange {
    pub first: i64,
    pub last: i64,
    /// At least 1. `last - first` is a multiple of it.
    pub step: i64,
}

impl IdRange {
    /// The ids from `first` to `last`, as ranges with the step of the server's ids.
    pub fn between(first: i64, last: i64, step: i64) -> impl Iterator<Item = Self> {
        let step = if (2..=MAX_STEP).contains(&step) { step } else { 1 };
        let firsts = (0..step).map_while(move |offset| first.checked_add(offset));
        firsts.take_while(move |first| *first <= last).map(move |first| {
            let behind = if step == 1 { 0 } else { last.abs_diff(first) % step.unsigned_abs() };
            Self { first, last: last - behind.cast_signed(), step }
        })
    }

    pub fn contains(&self, id: i64) -> bool {
        (self.first..=self.last).contains(&id)
            && (self.step == 1 || id.abs_diff(self.first).is_multiple_of(self.step.unsigned_abs()))
    }

    /// The parts below and above one of its ids.
    pub fn without(self, id: i64) -> impl DoubleEndedIterator<Item = Self> {
        let below = Self { last: id - self.step, ..self };
        let above = Self { first: id + self.step, ..self };
        [below, above].into_iter().filter(|part| part.first <= part.last)
    }

    /// The ids of this range above one.
    pub fn above(self, id: i64) -> Option<Self> {
        if id < self.first {
            return Some(self);
        }
        let behind = (id.checked_sub(self.first)? / self.step).checked_add(1)?;
        let first = self.first.checked_add(behind.checked_mul(self.step)?)?;
        (first <= self.last).then_some(Self { first, ..self })
    }

    /// This range and `next`, if `next` continues it with the same step above 1.
    pub fn joined(self, next: Self) -> Option<Self> {
        let continues = self.step == next.step && self.last + self.step == next.first;
        (self.step > 1 && continues).then_some(Self { last: next.last, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(first: i64, last: i64, step: i64) -> Vec<(i64, i64, i64)> {
        let ranges = IdRange::between(first, last, step);
        ranges.map(|range| (range.first, range.last, range.step)).collect()
    }

    #[test]
    fn a_step_separates_the_ids_of_nodes() {
        assert_eq!(ranges(4, 9, 1), [(4, 9, 1)]);
        assert_eq!(ranges(4, 9, 3), [(4, 7, 3), (5, 8, 3), (6, 9, 3)]);
        assert_eq!(ranges(5, 6, 3), [(5, 5, 3), (6, 6, 3)]);
        assert_eq!(ranges(-4, -2, 2), [(-4, -2, 2), (-3, -3, 2)]);
        assert_eq!(ranges(7, 6, 3), []);
        // A step that is too large to be distinguished.
        assert_eq!(ranges(4, 90, 100), [(4, 90, 1)]);
    }

    #[test]
    fn ranges_are_split_and_joined() {
        let range = IdRange { first: 5, last: 14, step: 3 };
        assert!(range.contains(8) && !range.contains(9) && !range.contains(17));
        let parts: Vec<_> = range.without(8).map(|part| (part.first, part.last)).collect();
        assert_eq!(parts, [(5, 5), (11, 14)]);
        assert_eq!(range.without(5).count(), 1);
        let above = |id| range.above(id).map(|rest| (rest.first, rest.last));
        assert_eq!(
            [4, 5, 7, 8, 13, 14].map(above),
            [Some((5, 14)), Some((8, 14)), Some((8, 14)), Some((11, 14)), Some((14, 14)), None]
        );
        assert_eq!(IdRange { first: 1, last: i64::MAX, step: 1 }.above(i64::MAX), None);
        let next = IdRange { first: 17, last: 17, step: 3 };
        assert_eq!(range.joined(next), Some(IdRange { last: 17, ..range }));
        assert_eq!(next.joined(range), None);
        // Two gaps of a server without steps were found at different times.
        let plain = |id| IdRange { first: id, last: id, step: 1 };
        assert_eq!(plain(1).joined(plain(2)), None);
    }
}
