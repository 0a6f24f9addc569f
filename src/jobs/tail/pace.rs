//! How soon a table is looked at again.

use std::time::Duration;

use tokio::time::Instant;

use super::LINGER;

/// After something came.
const SHORTEST: Duration = Duration::from_millis(50);
/// After a failure, at first and at last.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);

pub(super) struct Pace {
    longest: Duration,
    delay: Duration,
    failing: bool,
    left_at: Option<Instant>,
}

impl Pace {
    pub(super) fn new(longest: Duration) -> Self {
        Self { longest, delay: longest, failing: false, left_at: None }
    }

    /// After a look that found so many rows; tells whether it is the first after a failure.
    pub(super) fn found(&mut self, rows: usize) -> bool {
        let delay = if rows > 0 { SHORTEST } else { self.delay * 2 };
        self.delay = delay.min(self.longest);
        std::mem::take(&mut self.failing)
    }

    /// After a look that failed; tells whether it is the first.
    pub(super) fn failed(&mut self) -> bool {
        let first = !std::mem::replace(&mut self.failing, true);
        self.delay = if first { FIRST_RETRY } else { (self.delay * 2).min(LAST_RETRY) };
        first
    }

    /// When to look next, at `due` at the latest; never where nobody has followed for a while.
    pub(super) fn next(
        &mut self,
        now: Instant,
        followed: bool,
        due: Option<Instant>,
    ) -> Option<Instant> {
        let mut next = now + self.delay;
        if followed {
            self.left_at = None;
        } else {
            let ends_at = *self.left_at.get_or_insert(now) + LINGER;
            if now >= ends_at {
                return None;
            }
            next = next.min(ends_at);
        }
        // A gap cannot be looked at while the database cannot be read.
        Some(due.filter(|_| !self.failing).map_or(next, |due| next.min(due)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_table_is_looked_at_less_and_less() {
        let now = Instant::now();
        let mut pace = Pace::new(Duration::from_millis(500));
        let mut delay = |rows| {
            pace.found(rows);
            pace.next(now, true, None).map(|next| (next - now).as_millis())
        };
        assert_eq!(delay(0), Some(500));
        let delays = [delay(3), delay(0), delay(0), delay(0), delay(0), delay(0), delay(1)];
        assert_eq!(delays, [50, 100, 200, 400, 500, 500, 50].map(Some));
    }

    #[test]
    fn a_failure_is_told_once_and_tried_again_later_and_later() {
        let now = Instant::now();
        let mut pace = Pace::new(Duration::from_millis(500));
        let told: Vec<bool> = (0..9).map(|_| pace.failed()).collect();
        assert_eq!(told.iter().filter(|told| **told).count(), 1);
        assert_eq!(pace.next(now, true, Some(now)), Some(now + LAST_RETRY));
        assert!(pace.found(0) && !pace.found(0));
        assert_eq!(pace.next(now, true, None), Some(now + Duration::from_millis(500)));
    }

    #[test]
    fn it_ends_when_nobody_follows_any_more() {
        let mut pace = Pace::new(Duration::from_secs(60));
        let now = Instant::now();
        assert_eq!(pace.next(now, false, None), Some(now + LINGER));
        // One who comes in between keeps it going.
        let later = now + LINGER / 2;
        assert_eq!(pace.next(later, true, None), Some(later + pace.longest));
        let later = now + LINGER;
        assert_eq!(pace.next(later, false, Some(later)), Some(later));
        assert_eq!(pace.next(later + LINGER, false, None), None);
    }
}
