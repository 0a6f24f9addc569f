//! The size of batches and the length of pauses. The time of a batch is limited to what other writers can
//! wait, on every database, and they write during the pauses.

use std::time::Duration;

use tokio::time::sleep;

use crate::store::Database;
use crate::store::dialect::Dialect;

/// The target time of a batch.
const TARGET: Duration = Duration::from_millis(20);
/// The target time of a batch on SQLite, where all other writers wait for it.
const TARGET_OF_SQLITE: Duration = Duration::from_millis(5);
/// The smallest batch. In a smaller one the commit would take most of the time.
const LEAST: u32 = 128;
const MOST: u32 = 4096;
/// A writer that waits for SQLite retries after 1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50 and then every
/// 100 ms. The time to the next retry never exceeds twice the time waited so far. A pause of twice the time
/// of a batch therefore admits every writer that waited for the batch.
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
/// Pauses as multiples of the time of a batch.
const FOREGROUND: f64 = 2.0;
const BACKGROUND: f64 = 4.0;
/// The longest pause, after a slow batch.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// A power of two, so that there are few different statements.
    batch: u32,
    target: Duration,
    /// The pause after a batch, as a multiple of its time.
    pause_factor: f64,
}

impl Pace {
    /// For background jobs: works a fifth of the time.
    pub fn background(db: &Database) -> Self {
        Self::new(db.dialect(), BACKGROUND)
    }

    /// For commands and requests: works a third of the time.
    pub fn foreground(db: &Database) -> Self {
        Self::new(db.dialect(), FOREGROUND)
    }

    fn new(dialect: Dialect, pause_factor: f64) -> Self {
        let target = match dialect {
            Dialect::Sqlite => TARGET_OF_SQLITE,
            Dialect::Postgres | Dialect::MySql => TARGET,
        };
        Self { batch: LEAST, target, pause_factor }
    }

    pub fn batch(&self) -> u32 {
        self.batch
    }

    /// Pauses after a batch and adapts the size of the next.
    pub async fn pause(&mut self, took: Duration) {
        self.adapt(took);
        sleep(self.pause_after(took)).await;
    }

    fn pause_after(&self, took: Duration) -> Duration {
        took.mul_f64(self.pause_factor).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
    }

    fn adapt(&mut self, took: Duration) {
        if took > self.target {
            self.batch = (self.batch / 2).max(LEAST);
        } else if took < self.target / 3 {
            self.batch = (self.batch * 2).min(MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_grow_and_shrink_within_bounds() {
        let mut pace = Pace::new(Dialect::Sqlite, FOREGROUND);
        pace.adapt(TARGET_OF_SQLITE);
        assert_eq!(pace.batch(), LEAST);
        (0..20).for_each(|_| pace.adapt(TARGET_OF_SQLITE / 4));
        assert_eq!(pace.batch(), MOST);
        pace.adapt(TARGET_OF_SQLITE * 2);
        assert_eq!(pace.batch(), MOST / 2);
        (0..20).for_each(|_| pace.adapt(TARGET_OF_SQLITE * 2));
        assert_eq!(pace.batch(), LEAST);
    }

    /// As `sqliteDefaultBusyCallback` sleeps.
    fn waits_of_a_writer() -> impl Iterator<Item = u64> {
        let steps = [1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50].into_iter();
        steps.chain(std::iter::repeat(100)).scan(0, |waited, step| {
            *waited += step * 1000;
            Some(*waited)
        })
    }

    #[test]
    fn a_writer_that_waits_for_a_batch_retries_in_the_pause() {
        for factor in [FOREGROUND, BACKGROUND] {
            let pace = Pace::new(Dialect::Sqlite, factor);
            // In microseconds. Above, the longest pause is longer than any step.
            for took in (50..400_000).step_by(50) {
                let pause = pace.pause_after(Duration::from_micros(took)).as_micros();
                let pause = u64::try_from(pause);
                // A writer that arrives at the start of the batch has the longest steps.
                let next = waits_of_a_writer().find(|waited| *waited >= took).unwrap();
                assert!(next < took + pause.unwrap(), "{took} µs, {next} µs");
            }
        }
    }
}
