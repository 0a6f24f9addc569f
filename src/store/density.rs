//! Estimates from a sample how many rows a table has in a span of time. The cost of a query depends on
//! this number (`graphql/limit`), so it is needed before a statement runs. A sample is a fixed number of
//! seeks in the primary key, never a scan of the table.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::sea_query::{Expr, ExprTrait, Order};
use tokio::time::Instant;

use super::database::Database;
use super::engine::Engine;
use super::page::{Tag, tagged, unions};
use super::partition::{Times, moved_months};
use super::rows::{row, select_from};
use super::stored_time::StoredTime;
use crate::domain::table::{ID, LogTable};
use crate::error::Result;

/// The rows of a sample. The limit of SQLite is 500 branches in a statement.
const SAMPLES: i64 = 256;
/// On Citus, each branch reads all shards.
const SAMPLES_OF_CITUS: i64 = 32;

/// The age of a sample after which the next request starts a new one.
const MAX_AGE: Duration = Duration::from_secs(60);

/// The samples of the gateway's tables.
#[derive(Debug)]
pub struct Density {
    samples: RwLock<[Sample; LogTable::ALL.len()]>,
    taken_at: Mutex<Instant>,
}

impl Default for Density {
    fn default() -> Self {
        Self { samples: RwLock::default(), taken_at: Mutex::new(Instant::now()) }
    }
}

impl Density {
    /// About the most rows that `table` has in `[since, until)`; without bounds, all rows. With
    /// `of_one_key`, the rows of the most frequent key.
    pub fn estimate(
        &self,
        table: LogTable,
        since: Option<DateTime<Utc>>,
        until: Option<DateTime<Utc>>,
        of_one_key: bool,
    ) -> u64 {
        let samples = self.samples.read().unwrap_or_else(PoisonError::into_inner);
        let sample = &samples[index(table)];
        let rows = match (since, until) {
            (None, None) => sample.all(),
            (since, until) => {
                let before = |at: DateTime<Utc>| sample.before(at.timestamp_micros());
                let end = until.map_or_else(|| sample.all(), before);
                end - since.map_or(0.0, before)
            }
        };
        let share = if of_one_key { sample.largest_share } else { 1.0 };
        (rows * share).ceil() as u64
    }

    /// Takes new samples.
    pub async fn refresh(&self, db: &Database) -> Result<()> {
        for table in LogTable::ALL {
            let mut sample = Sample::take(db, table).await?;
            for part in moved_months(db, table).await? {
                if let Times::Range(Some(since), until) = part.times {
                    let [since, until] =
                        [since, until].map(|at| db.zone().to_utc(at).timestamp_micros());
                    sample.moved.push((since..until, part.rows as f64));
                }
            }
            self.samples.write().unwrap_or_else(PoisonError::into_inner)[index(table)] = sample;
        }
        Ok(())
    }

    /// Takes new samples in the background if the current ones are old. No request waits for them.
    pub fn refresh_if_old(self: &Arc<Self>, db: &Arc<Database>) {
        let mut taken_at = self.taken_at.lock().unwrap_or_else(PoisonError::into_inner);
        if taken_at.elapsed() < MAX_AGE {
            return;
        }
        *taken_at = Instant::now();
        let (density, db) = (Arc::clone(self), Arc::clone(db));
        tokio::spawn(async move {
            if let Err(error) = density.refresh(&db).await {
                tracing::warn!(%error, "estimating row counts failed; using the last estimate");
            }
        });
    }
}

fn index(table: LogTable) -> usize {
    match table {
        LogTable::Calls => 0,
        LogTable::ErrorLogs => 1,
    }
}

/// The times of rows with evenly spaced ids.
#[derive(Debug, Default)]
struct Sample {
    /// In microseconds since the epoch, ascending. Rows may be stored in any order of time.
    times: Vec<i64>,
    /// The times of the months on other servers, and their rows.
    moved: Vec<(Range<i64>, f64)>,
    /// The sampled rows, including those without a readable time.
    found: usize,
    /// The distance of ids between two sampled rows.
    step: f64,
    /// The largest expected share of one key. A key with k of n sampled rows hardly has more than
    /// k + 2√k + 1 of n.
    largest_share: f64,
}

impl Sample {
    async fn take(db: &Database, table: LogTable) -> Result<Self> {
        row! {
            struct Ends { first: Option<i64>, last: Option<i64> }
        }
        row! {
            struct Sampled { id: i64, request_time: Option<StoredTime>, key: Option<String> }
        }
        let dialect = db.dialect();
        let end =
            |end: &str| dialect.to_integer(&format!("(SELECT {end}(id) FROM {})", table.name()));
        // Separate subqueries: SQLite would scan the table for both together.
        let ends = format!("SELECT {} AS c_first, {} AS c_last", end("MIN"), end("MAX"));
        let ends = db.fetch_text::<Ends>("density.ends", &ends).await?.pop();
        let Some(Ends { first: Some(first), last: Some(last) }) = ends else {
            return Ok(Self::default());
        };
        let span = i128::from(last) - i128::from(first) + 1;
        let most = match db.engine() {
            Engine::Citus => SAMPLES_OF_CITUS,
            _ => SAMPLES,
        };
        let samples = span.min(most.into());
        let step = if samples > 1 { (span - 1) as f64 / (samples - 1) as f64 } else { 1.0 };
        let key = [("key", dialect.text(table.key()))];
        let branches = (0..samples).map(|number| {
            let offset =
                if number + 1 == samples { span - 1 } else { (number as f64 * step) as i128 };
            let id = i64::try_from(i128::from(first) + offset).unwrap_or(last);
            let mut select = select_from::<Sampled>(dialect, table, &key);
            // The first row with this id or a higher one.
            select.and_where(Expr::col(ID).gte(id)).order_by(ID, Order::Asc).limit(1).take()
        });
        let mut rows: Vec<(i64, Option<i64>, Option<String>)> = vec![];
        for union in unions(tagged::<Sampled>(dialect, branches), SAMPLES as usize) {
            for (row, _) in db.fetch::<(Sampled, Tag)>("density.sample", &union).await? {
                let time = row.request_time.filter(StoredTime::is_readable);
                let micros = time.map(|time| db.zone().to_utc(time.at).timestamp_micros());
                rows.push((row.id, micros, row.key));
            }
        }
        // A row after a gap of ids is found more than once.
        rows.sort_unstable_by_key(|row| row.0);
        rows.dedup_by_key(|row| row.0);
        Ok(Self::of(rows.into_iter().map(|(_, micros, key)| (micros, key)), step))
    }

    fn of(rows: impl Iterator<Item = (Option<i64>, Option<String>)>, step: f64) -> Self {
        let (mut times, mut keys) = (vec![], vec![]);
        for (micros, key) in rows {
            times.push(micros);
            keys.push(key);
        }
        let found = times.len();
        keys.sort_unstable();
        let largest = keys.chunk_by(|a, b| a == b).map(<[_]>::len).max().unwrap_or(0) as f64;
        let share = (largest + 2.0 * largest.sqrt() + 1.0) / (found as f64).max(1.0);
        let mut times: Vec<i64> = times.into_iter().flatten().collect();
        times.sort_unstable();
        Self { times, moved: vec![], found, step, largest_share: share.min(1.0) }
    }

    fn all(&self) -> f64 {
        self.rows(self.found) + self.moved.iter().map(|(_, rows)| rows).sum::<f64>()
    }

    /// Of months on other servers, the part before a time.
    fn moved_before(&self, micros: i64) -> f64 {
        let before = |(span, rows): &(Range<i64>, f64)| {
            let part = (micros - span.start) as f64 / (span.end - span.start) as f64;
            rows * part.clamp(0.0, 1.0)
        };
        self.moved.iter().map(before).sum()
    }

    /// The rows that so many samples represent. The last sample is the last row of the table.
    fn rows(&self, samples: usize) -> f64 {
        match samples {
            0 => 0.0,
            samples => (samples - 1) as f64 * self.step + 1.0,
        }
    }

    /// How many rows have an earlier time, with rows spread evenly between two samples.
    fn before(&self, micros: i64) -> f64 {
        let moved = self.moved_before(micros);
        let earlier = self.times.partition_point(|time| *time < micros);
        let (Some(last), Some(next)) =
            (earlier.checked_sub(1).and_then(|last| self.times.get(last)), self.times.get(earlier))
        else {
            return moved + self.rows(earlier);
        };
        let part = (micros - last) as f64 / (next - last) as f64;
        moved + self.rows(earlier) + part * (self.step - 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(times: impl Iterator<Item = i64>, step: f64) -> Sample {
        Sample::of(times.map(|time| (Some(time), None)), step)
    }

    #[test]
    fn rows_are_spread_evenly_between_samples() {
        // A row a microsecond, of which every hundredth is sampled.
        let sample = sample((0..=100).map(|number| number * 100), 100.0);
        assert_eq!(sample.all(), 10_001.0);
        for (micros, rows) in [(0, 0.0), (10_001, 10_001.0), (5000, 5000.0), (5050, 5050.0)] {
            assert!(
                (sample.before(micros) - rows).abs() <= 1.0,
                "{micros}: {}",
                sample.before(micros)
            );
        }
    }

    #[test]
    fn a_small_table_is_counted() {
        let sample = sample([10, 20, 20, 30].into_iter(), 1.0);
        let before = [(10, 0.0), (11, 1.0), (20, 1.0), (21, 3.0), (30, 3.0), (31, 4.0)];
        for (micros, rows) in before {
            assert_eq!(sample.before(micros), rows, "{micros}");
        }
        assert_eq!(Sample::default().all(), 0.0);
        assert_eq!(Sample::default().before(5), 0.0);
    }

    #[test]
    fn the_order_of_ids_does_not_matter() {
        let sorted = sample((0..100).map(|number| number * 10), 50.0);
        let mixed = sample((0..100).map(|number| number * 37 % 100 * 10), 50.0);
        for micros in [0, 15, 333, 990, 2000] {
            assert_eq!(sorted.before(micros), mixed.before(micros));
        }
    }

    #[test]
    fn a_key_has_no_more_than_its_share() {
        let keyed = |keys: usize| {
            Sample::of((0..256).map(|n| (Some(n as i64), Some((n % keys).to_string()))), 1000.0)
        };
        assert!(keyed(1).largest_share == 1.0);
        let share = keyed(64).largest_share;
        assert!((1.0 / 64.0..0.05).contains(&share), "{share}");
    }
}
