//! How much is done at once, and how long the pauses are: batches take about as long as a writer can
//! well wait, whatever the database, and others have their turn in between.

use std::time::Duration;

use tokio::time::sleep;

use crate::store::Database;
use crate::store::dialect::Dialect;

/// What a batch may take.
const TARGET: Duration = Duration::from_millis(20);
/// The same for SQLite, which has one writer at a time: all others wait for as long.
const TARGET_OF_SQLITE: Duration = Duration::from_millis(5);
/// Fewer would do little but commit.
const LEAST: u32 = 128;
const MOST: u32 = 4096;
/// Whoever waits for SQLite tries again after 1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50 and then each
/// 100 ms. At no time is the next try further away than twice what was waited so far, so that a pause
/// as long lets in everybody who waited for the batch.
const SHORTEST_REST: Duration = Duration::from_millis(2);
/// Pauses as multiples of a batch's time: where somebody waits for the work, and where nobody does.
const BRISK: f64 = 2.0;
const UNHURRIED: f64 = 4.0;
/// After a batch that the database was slow with.
const LONGEST_REST: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// A power of two, so that there are few different statements.
    batch: u32,
    target: Duration,
    /// The pause after a batch, as a multiple of its time.
    rest: f64,
}

impl Pace {
    /// For work that nobody waits for: a fifth of the time.
    pub fn unhurried(db: &Database) -> Self {
        Self::new(db.dialect(), UNHURRIED)
    }

    /// For work that somebody waits for: a third of the time.
    pub fn brisk(db: &Database) -> Self {
        Self::new(db.dialect(), BRISK)
    }

    fn new(dialect: Dialect, rest: f64) -> Self {
        let target = match dialect {
            Dialect::Sqlite => TARGET_OF_SQLITE,
            Dialect::Postgres | Dialect::MySql => TARGET,
        };
        Self { batch: LEAST, target, rest }
    }

    pub fn batch(&self) -> u32 {
        self.batch
    }

    /// Pauses after a batch, and chooses the size of the next.
    pub async fn rest(&mut self, took: Duration) {
        self.learn(took);
        sleep(self.pause(took)).await;
    }

    fn pause(&self, took: Duration) -> Duration {
        took.mul_f64(self.rest).clamp(SHORTEST_REST, LONGEST_REST)
    }

    fn learn(&mut self, took: Duration) {
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
        let mut pace = Pace::new(Dialect::Sqlite, BRISK);
        pace.learn(TARGET_OF_SQLITE);
        assert_eq!(pace.batch(), LEAST);
        (0..20).for_each(|_| pace.learn(TARGET_OF_SQLITE / 4));
        assert_eq!(pace.batch(), MOST);
        pace.learn(TARGET_OF_SQLITE * 2);
        assert_eq!(pace.batch(), MOST / 2);
        (0..20).for_each(|_| pace.learn(TARGET_OF_SQLITE * 2));
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
    fn whoever_waits_for_a_batch_has_the_next_turn() {
        for rest in [BRISK, UNHURRIED] {
            let pace = Pace::new(Dialect::Sqlite, rest);
            // In microseconds; beyond, the longest pause is longer than any step.
            for took in (50..400_000).step_by(50) {
                let pause = u64::try_from(pace.pause(Duration::from_micros(took)).as_micros());
                // Who comes when it begins waits longest at a time.
                let next = waits_of_a_writer().find(|waited| *waited >= took).unwrap();
                assert!(next < took + pause.unwrap(), "{took} µs, {next} µs");
            }
        }
    }
}
