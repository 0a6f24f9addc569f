//! Rows and size of the database.

use async_graphql::SimpleObject;

use crate::graphql::scalar::{BigInt, DateTime};
use crate::store::space::Space;
use crate::store::storage;

/// The rows and the size of the database.
#[derive(SimpleObject)]
pub struct ServerStorage {
    /// The calls.
    pub calls: TableStorage,
    /// The error logs.
    pub error_logs: TableStorage,
    /// The size of the whole database in bytes, including other tables. On MySQL the number may be up to a
    /// day old.
    pub bytes: BigInt,
    /// The part of `bytes` that is free for new rows before the database grows; null if unknown, as on
    /// PostgreSQL.
    pub free_bytes: Option<BigInt>,
}

/// The rows and the size of a table.
#[derive(SimpleObject)]
pub struct TableStorage {
    /// The number of rows, including rows without a readable time.
    pub rows: BigInt,
    /// Whether `rows` is an estimate: more than 100,000 rows are not counted. On SQLite the estimate ignores
    /// rows that were deleted between others.
    pub rows_are_estimated: bool,
    /// The size of the table with its indexes, in bytes; null if it takes too long to compute, as in a
    /// SQLite file of more than 64 MiB.
    pub bytes: Option<BigInt>,
    /// The time of its oldest row; null if no row has a readable time.
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
