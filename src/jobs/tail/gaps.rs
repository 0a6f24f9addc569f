//! Ids below the highest that no row had yet. Where several transactions write at once, a higher id may
//! be committed before a lower one; or the lower one was rolled back, and never comes.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Duration;

use tokio::time::Instant;

/// Ranges that are waited for; of more, the oldest is given up.
const MOST: usize = 1024;
/// After so long nobody waits any more.
const GIVE_UP: Duration = Duration::from_secs(5 * 60);

#[derive(Default)]
pub(super) struct Gaps {
    /// Those that were found first stand first.
    open: VecDeque<Gap>,
}

#[derive(Clone)]
struct Gap {
    ids: RangeInclusive<i64>,
    found_at: Instant,
    looked_at: Instant,
}

impl Gap {
    /// Most transactions are short.
    fn due_at(&self) -> Instant {
        let every = match (self.looked_at - self.found_at).as_secs() {
            0..2 => Duration::from_millis(50),
            2..30 => Duration::from_millis(500),
            _ => Duration::from_secs(5),
        };
        self.looked_at + every
    }
}

impl Gaps {
    /// Waits for some ids from now on; tells how many ranges were given up for it.
    pub(super) fn note(&mut self, ids: RangeInclusive<i64>, now: Instant) -> u64 {
        if ids.is_empty() {
            return 0;
        }
        self.open.push_back(Gap { ids, found_at: now, looked_at: now });
        let excess = self.open.len().saturating_sub(MOST);
        self.open.drain(..excess);
        excess as u64
    }

    /// A row has this id.
    pub(super) fn fill(&mut self, id: i64) {
        let Some(at) = self.open.iter().position(|gap| gap.ids.contains(&id)) else { return };
        let Some(gap) = self.open.remove(at) else { return };
        let parts = [id + 1..=*gap.ids.end(), *gap.ids.start()..=id - 1];
        for ids in parts.into_iter().filter(|ids| !ids.is_empty()) {
            self.open.insert(at, Gap { ids, ..gap.clone() });
        }
    }

    /// The ids that are to be looked for.
    pub(super) fn due(&self, now: Instant) -> Vec<RangeInclusive<i64>> {
        let due = self.open.iter().filter(|gap| gap.due_at() <= now);
        due.map(|gap| gap.ids.clone()).collect()
    }

    /// Those that were due have been looked for, and what was found was filled.
    pub(super) fn looked(&mut self, now: Instant) {
        self.open.retain(|gap| now - gap.found_at < GIVE_UP);
        self.open.iter_mut().filter(|gap| gap.due_at() <= now).for_each(|gap| gap.looked_at = now);
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.open.iter().map(Gap::due_at).min()
    }

    pub(super) fn count(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_filled_bit_by_bit() {
        let now = Instant::now();
        let mut gaps = Gaps::default();
        gaps.note(4..=9, now);
        gaps.note(RangeInclusive::new(12, 11), now);
        gaps.note(12..=12, now);
        [6, 4, 20, 12].into_iter().for_each(|id| gaps.fill(id));
        let later = now + Duration::from_millis(50);
        assert_eq!(gaps.due(later), [5..=5, 7..=9]);
        assert_eq!(gaps.due(now), []);
        [5, 7, 9, 8].into_iter().for_each(|id| gaps.fill(id));
        assert_eq!((gaps.count(), gaps.next_due()), (0, None));
    }

    #[test]
    fn a_gap_is_looked_for_often_at_first_then_seldom_then_never() {
        let began = Instant::now();
        let mut gaps = Gaps::default();
        gaps.note(1..=1, began);
        let mut looks = vec![];
        while let Some(due) = gaps.next_due() {
            assert_eq!(gaps.due(due), [1..=1]);
            gaps.looked(due);
            looks.push(due - began);
        }
        let within = |from: u64, to: u64| {
            let (from, to) = (Duration::from_secs(from), Duration::from_secs(to));
            looks.iter().filter(|at| (from..to).contains(*at)).count()
        };
        assert_eq!((within(0, 2), within(2, 30), within(30, 300)), (39, 56, 54));
        assert_eq!(looks.last(), Some(&GIVE_UP));
    }

    #[test]
    fn there_are_only_so_many() {
        let now = Instant::now();
        let mut gaps = Gaps::default();
        let dropped: u64 = (0..MOST as i64 + 3).map(|id| gaps.note(2 * id..=2 * id, now)).sum();
        assert_eq!((dropped, gaps.count()), (3, MOST));
        assert_eq!(gaps.due(now + Duration::from_secs(1))[0], 6..=6);
    }
}
