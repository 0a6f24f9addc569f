//! Poll interval of a tail: adaptive, from 50 ms to `--follow-poll-ms`.

use std::time::Duration;

use tokio::time::Instant;

use super::LINGER;

/// The interval after a poll that found rows.
const MIN: Duration = Duration::from_millis(50);
/// The first and the longest retry delay after a failure.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);

pub(super) struct PollInterval {
    max: Duration,
    delay: Duration,
    failing: bool,
    left_at: Option<Instant>,
}

impl PollInterval {
    pub(super) fn new(max: Duration) -> Self {
        Self { max, delay: max, failing: false, left_at: None }
    }

    /// Sets the delay after a successful poll. Returns whether it is the first success after a failure.
    pub(super) fn succeeded(&mut self, rows: usize) -> bool {
        let delay = if rows > 0 { MIN } else { self.delay * 2 };
        self.delay = delay.min(self.max);
        std::mem::take(&mut self.failing)
    }

    /// Sets the delay after a failed poll. Returns whether it is the first failure.
    pub(super) fn failed(&mut self) -> bool {
        let first = !std::mem::replace(&mut self.failing, true);
        self.delay = if first { FIRST_RETRY } else { (self.delay * 2).min(LAST_RETRY) };
        first
    }

    /// The time of the next poll, `due` at the latest; `None` once `LINGER` passed without a subscriber.
    pub(super) fn next(
        &mut self,
        now: Instant,
        has_subscribers: bool,
        due: Option<Instant>,
    ) -> Option<Instant> {
        let mut next = now + self.delay;
        if has_subscribers {
            self.left_at = None;
        } else {
            let ends_at = *self.left_at.get_or_insert(now) + LINGER;
            if now >= ends_at {
                return None;
            }
            next = next.min(ends_at);
        }
        // Gaps are not checked while reads fail.
        Some(due.filter(|_| !self.failing).map_or(next, |due| next.min(due)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_doubles_while_no_rows_are_found() {
        let now = Instant::now();
        let mut poll_interval = PollInterval::new(Duration::from_millis(500));
        let mut delay = |rows| {
            poll_interval.succeeded(rows);
            poll_interval.next(now, true, None).map(|next| (next - now).as_millis())
        };
        assert_eq!(delay(0), Some(500));
        let delays = [delay(3), delay(0), delay(0), delay(0), delay(0), delay(0), delay(1)];
        assert_eq!(delays, [50, 100, 200, 400, 500, 500, 50].map(Some));
    }

    #[test]
    fn a_failure_is_reported_once_and_retried_with_backoff() {
        let now = Instant::now();
        let mut poll_interval = PollInterval::new(Duration::from_millis(500));
        let reported: Vec<bool> = (0..9).map(|_| poll_interval.failed()).collect();
        assert_eq!(reported.iter().filter(|reported| **reported).count(), 1);
        assert_eq!(poll_interval.next(now, true, Some(now)), Some(now + LAST_RETRY));
        assert!(poll_interval.succeeded(0) && !poll_interval.succeeded(0));
        assert_eq!(poll_interval.next(now, true, None), Some(now + Duration::from_millis(500)));
    }

    #[test]
    fn polling_ends_without_subscribers() {
        let mut poll_interval = PollInterval::new(Duration::from_secs(60));
        let now = Instant::now();
        assert_eq!(poll_interval.next(now, false, None), Some(now + LINGER));
        // A new subscriber restarts the wait.
        let later = now + LINGER / 2;
        assert_eq!(poll_interval.next(later, true, None), Some(later + poll_interval.max));
        let later = now + LINGER;
        assert_eq!(poll_interval.next(later, false, Some(later)), Some(later));
        assert_eq!(poll_interval.next(later + LINGER, false, None), None);
    }
}
