//! How much is done at once, and how long the pauses are: batches take about as long as a writer can
//! well wait, whatever the database, and others have their turn in between.

use std::time::Duration;

use tokio::time::sleep;

/// What a batch may take. SQLite has one writer, who waits for as long.
const TARGET: Duration = Duration::from_millis(20);
const LEAST: u32 = 16;
const MOST: u32 = 4096;
const FIRST: u32 = 128;
/// After a batch that the database was slow with.
const LONGEST_REST: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// A power of two, so that there are few different statements.
    batch: u32,
    /// The pause after a batch, as a multiple of its time.
    rest: f64,
}

impl Pace {
    /// For work that nobody waits for: a fifth of the time.
    pub fn unhurried() -> Self {
        Self { batch: FIRST, rest: 4.0 }
    }

    /// For work that somebody waits for: half of the time.
    pub fn brisk() -> Self {
        Self { batch: FIRST, rest: 1.0 }
    }

    pub fn batch(&self) -> u32 {
        self.batch
    }

    /// Pauses after a batch, and chooses the size of the next.
    pub async fn rest(&mut self, took: Duration) {
        self.learn(took);
        sleep(took.mul_f64(self.rest).min(LONGEST_REST)).await;
    }

    fn learn(&mut self, took: Duration) {
        if took > TARGET {
            self.batch = (self.batch / 2).max(LEAST);
        } else if took < TARGET / 3 {
            self.batch = (self.batch * 2).min(MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_grow_and_shrink_within_bounds() {
        let mut pace = Pace::unhurried();
        pace.learn(TARGET);
        assert_eq!(pace.batch(), FIRST);
        (0..20).for_each(|_| pace.learn(TARGET / 4));
        assert_eq!(pace.batch(), MOST);
        pace.learn(TARGET * 2);
        assert_eq!(pace.batch(), MOST / 2);
        (0..20).for_each(|_| pace.learn(TARGET * 2));
        assert_eq!(pace.batch(), LEAST);
    }
}
