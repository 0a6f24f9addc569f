//! What the database holds and takes.

use async_graphql::SimpleObject;

use crate::graphql::scalar::{BigInt, DateTime};
use crate::store::space::Space;
use crate::store::storage;

/// What the database holds and takes.
#[derive(SimpleObject)]
pub struct ServerStorage {
    /// The calls.
    pub calls: TableStorage,
    /// The error logs.
    pub error_logs: TableStorage,
    /// The whole database in bytes, with whatever else is in it. A MySQL server may tell what was the
    /// case a day ago.
    pub bytes: BigInt,
    /// How much of this is free for new rows before the database grows; null where it is not known, as
    /// on PostgreSQL.
    pub free_bytes: Option<BigInt>,
}

/// What a table holds and takes.
#[derive(SimpleObject)]
pub struct TableStorage {
    /// How many rows there are, those without a readable time too.
    pub rows: BigInt,
    /// Whether this is an estimate: more than 100,000 rows are not counted. SQLite's takes no account of
    /// rows that were deleted from between others.
    pub rows_are_estimated: bool,
    /// What the table takes with its indexes, in bytes; null where that would take long to find out, as
    /// in a SQLite file of more than 64 MiB.
    pub bytes: Option<BigInt>,
    /// The time of its oldest row; null where no row has a readable time.
    pub oldest: Option<DateTime>,
    /// The time of its newest row.
    pub newest: Option<DateTime>,
}

impl ServerStorage {
    pub fn new(
        calls: storage::TableStorage,
        error_logs: storage::TableStorage,
        space: Space,
    ) -> Self {
        let big = |bytes: u64| BigInt(i64::try_from(bytes).unwrap_or(i64::MAX));
        Self {
            calls: calls.into(),
            error_logs: error_logs.into(),
            bytes: big(space.bytes),
            free_bytes: space.free_bytes.map(big),
        }
    }
}

impl From<storage::TableStorage> for TableStorage {
    fn from(table: storage::TableStorage) -> Self {
        Self {
            rows: BigInt(table.rows),
            rows_are_estimated: table.rows_are_estimated,
            bytes: table.bytes.map(BigInt),
            oldest: table.oldest.map(DateTime),
            newest: table.newest.map(DateTime),
        }
    }
}
