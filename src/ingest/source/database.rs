//! Reads a table of another database in pages, by id.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::{CHUNK, End, ReadOptions, SourceChunk, SourceError};
use crate::config::{DatabaseConfig, Secret};
use crate::domain::id_range::{IdRange, MAX_STEP};
use crate::domain::table::LogTable;
use crate::ingest::columns::{Field, Fields};
use crate::store::dialect::Dialect;
use crate::store::import::{self, Position, SourceRow};
use crate::store::{Database, tail};

/// Rows of one page; smaller for error logs, which are long.
const PAGE_CALLS: u64 = CHUNK.rows;
const PAGE_ERRORS: u64 = 500;
/// The most ranges of missing ids.
const MOST_MISSING: usize = 10_000;
/// The most ids of other nodes that one range has.
const MOST_OF_NODE: i64 = 1_000_000;
/// The most ranges of one statement.
const RANGES: usize = 200;

#[derive(Clone, Debug)]
pub struct TableSource {
    db: Arc<Database>,
    table: LogTable,
    label: String,
    identity: String,
    last_id: u64,
}

impl TableSource {
    /// Whether a source is a database URL rather than a file.
    pub fn is_address(source: &str) -> bool {
        ["sqlite:", "postgres://", "postgresql://", "mysql://"]
            .iter()
            .any(|scheme| source.starts_with(scheme))
    }

    /// Opens the database at `url` for reading, up to the current last rows of its two tables.
    pub async fn open(url: &str, target: &DatabaseConfig) -> Result<[Self; 2], SourceError> {
        let address = public_address(url);
        if address == public_address(target.database_url.expose()) {
            let reason = "this is the target database; it cannot be its own source";
            return Err(SourceError::Unusable(reason.into()));
        }
        let database_url = Secret::new(url);
        let config = DatabaseConfig { database_url, read_only: true, ..target.clone() };
        let db = Arc::new(Database::open(&config).await?);
        Ok([
            Self::table(&db, &address, LogTable::Calls).await?,
            Self::table(&db, &address, LogTable::ErrorLogs).await?,
        ])
    }

    async fn table(
        db: &Arc<Database>,
        address: &str,
        table: LogTable,
    ) -> Result<Self, SourceError> {
        let name = table.name();
        let last_id = import::last_id(db, table).await?;
        Ok(Self {
            db: db.clone(),
            table,
            label: format!("{address} {name}"),
            identity: format!("{:x}", Sha256::digest(format!("{address}\n{name}"))),
            last_id: u64::try_from(last_id).unwrap_or(0),
        })
    }

    pub fn label(&self) -> &str {
        &self.label
    }

    pub fn last_id(&self) -> u64 {
        self.last_id
    }

    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Sends the rows that have appeared below the position, then those above it up to the last id at the time of
    /// opening.
    pub async fn read(
        &self,
        from: Position,
        options: ReadOptions,
        sender: &mpsc::Sender<SourceChunk>,
    ) -> Result<End, SourceError> {
        let mut end =
            End { table: Some(self.table), identity: self.identity.clone(), forgotten: 0 };
        let step = tail::id_step(&self.db).await?;
        let Position { rows_done, missing } = from;
        let mut missing = MissingIds { ranges: missing, step, forgotten: 0 };
        for ranges in missing.ranges.clone().chunks(RANGES) {
            let mut ranges = ranges.to_vec();
            loop {
                let page = self.page(&ranges).await?;
                let Some(last) = page.last().map(|row| row.id) else { break };
                page.iter().for_each(|row| missing.remove(row.id));
                let position = Position { rows_done, missing: missing.ranges.clone() };
                if sender.send(self.chunk(&page, position, &options)).await.is_err() {
                    return Ok(end);
                }
                ranges = ranges.into_iter().filter_map(|range| range.above(last)).collect();
            }
        }
        let mut after = i64::try_from(rows_done).unwrap_or(i64::MAX);
        while let Some(rest) = self.all_ids().above(after) {
            let page = self.page(&[rest]).await?;
            let Some(last) = page.last() else { break };
            for row in &page {
                // SQLite has one writer at a time, so that ids are committed in order.
                if self.db.dialect() != Dialect::Sqlite {
                    missing.add(after + 1, row.id - 1);
                }
                after = row.id;
            }
            let rows_done = u64::try_from(last.id).unwrap_or(rows_done);
            let position = Position { rows_done, missing: missing.ranges.clone() };
            if sender.send(self.chunk(&page, position, &options)).await.is_err() {
                break;
            }
        }
        end.forgotten = missing.forgotten;
        Ok(end)
    }

    fn all_ids(&self) -> IdRange {
        IdRange { first: 1, last: i64::try_from(self.last_id).unwrap_or(i64::MAX), step: 1 }
    }

    /// The first rows of these ranges.
    async fn page(&self, ranges: &[IdRange]) -> Result<Vec<SourceRow>, SourceError> {
        let limit = if self.table == LogTable::Calls { PAGE_CALLS } else { PAGE_ERRORS };
        match ranges.is_empty() {
            true => Ok(vec![]),
            false => Ok(import::list_within(&self.db, self.table, ranges, limit).await?),
        }
    }

    fn chunk(&self, page: &[SourceRow], position: Position, options: &ReadOptions) -> SourceChunk {
        let offset = position.rows_done;
        let mut chunk = SourceChunk { position, offset, ..SourceChunk::default() };
        for row in page {
            let mut fields = Fields::default();
            for (field, text) in fields.iter_mut().zip(&row.fields) {
                *field = Field::text(text.as_deref());
            }
            let record = self.table.record(fields, options.zone);
            chunk.add(row.id.unsigned_abs(), record, options);
        }
        chunk
    }
}

/// Ids that no row had when the reader passed them.
struct MissingIds {
    /// The latest ones last.
    ranges: Vec<IdRange>,
    /// The step between two ids of one node.
    step: i64,
    /// Ranges that are not remembered.
    forgotten: usize,
}

impl MissingIds {
    fn add(&mut self, first: i64, last: i64) {
        for range in IdRange::between(first, last, self.step) {
            // With steps, the ids of each other node are one range, which grows.
            let latest = (0..self.ranges.len()).rev().take(MAX_STEP as usize);
            let joined = |index: usize| Some((index, self.ranges[index].joined(range)?));
            match latest.into_iter().find_map(joined) {
                Some((index, joined)) => {
                    self.ranges.remove(index);
                    self.ranges.extend(joined.above(joined.last - MOST_OF_NODE));
                }
                None => self.ranges.push(range),
            }
        }
        self.limit();
    }

    /// Of many, the oldest hardly appear any more.
    fn limit(&mut self) {
        let excess = self.ranges.len().saturating_sub(MOST_MISSING);
        self.ranges.drain(..excess);
        self.forgotten += excess;
    }

    fn remove(&mut self, id: i64) {
        if let Some(index) = self.ranges.iter().position(|range| range.contains(id)) {
            let range = self.ranges[index];
            self.ranges.splice(index..=index, range.without(id));
        }
        self.limit();
    }
}

/// `url` without password and options. The path of an SQLite file is made absolute.
pub fn public_address(url: &str) -> String {
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        let path = path.split('?').next().unwrap_or(path);
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.into());
        return format!("sqlite://{}", path.display());
    }
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match rest.rsplit_once('@') {
        Some((user, host)) => {
            let user = user.split(':').next().unwrap_or(user);
            let host = host.split('?').next().unwrap_or(host);
            format!("{scheme}://{user}@{host}")
        }
        None => url.split('?').next().unwrap_or(url).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(step: i64, ids: impl IntoIterator<Item = i64>) -> MissingIds {
        let (mut missing, mut after) = (MissingIds { ranges: vec![], step, forgotten: 0 }, 0);
        for id in ids {
            missing.add(after + 1, id - 1);
            after = id;
        }
        missing
    }

    #[test]
    fn the_latest_missing_ids_are_remembered() {
        let mut few = missing(1, [3, 4, 9]);
        let ranges = |missing: &MissingIds| -> Vec<_> {
            missing.ranges.iter().map(|range| (range.first, range.last)).collect()
        };
        assert_eq!(ranges(&few), [(1, 2), (5, 8)]);
        [6, 2, 100].into_iter().for_each(|id| few.remove(id));
        assert_eq!(ranges(&few), [(1, 1), (5, 5), (7, 8)]);
        let many = missing(1, (1..=12_000).map(|id| 2 * id));
        assert_eq!((many.ranges.len(), many.forgotten), (MOST_MISSING, 2_000));
        assert_eq!(ranges(&many).last(), Some(&(23_999, 23_999)));
    }

    /// Node 1 of 3 writes almost all rows.
    #[test]
    fn the_ids_of_other_nodes_are_few_ranges() {
        let mut missing = missing(3, (0..500_000).map(|row| 1 + 3 * row));
        assert_eq!(missing.ranges.len(), 2);
        let lengths: Vec<_> = missing.ranges.iter().map(|range| range.last - range.first).collect();
        assert!(
            lengths.iter().all(|length| (999_990..=MOST_OF_NODE).contains(length)),
            "{lengths:?}"
        );
        assert!(missing.ranges.iter().all(|range| range.last > 1_499_990));
        missing.remove(1_200_000);
        assert_eq!(missing.ranges.len(), 3);
        let has = |id| missing.ranges.iter().any(|range| range.contains(id));
        assert!(!has(1_200_000) && !has(1_200_001) && has(1_200_003));
    }

    #[test]
    fn passwords_and_options_are_removed() {
        let public = public_address("postgres://me:se:cret@host:5432/logs?sslmode=disable");
        assert_eq!(public, "postgres://me@host:5432/logs");
        assert_eq!(public_address("mysql://host/logs"), "mysql://host/logs");
        assert_eq!(public_address("sqlite:///no/such.db?mode=ro"), "sqlite:///no/such.db");
    }
}
