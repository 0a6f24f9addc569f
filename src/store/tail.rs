//! The rows at the end of a table, read by id, for subscriptions. Rows without a readable time are left
//! out, as in every list.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::RangeInclusive;
use std::sync::Arc;

use entity::{error_log as error_table, request_log as call_table};
use sea_orm::Iden;
use sea_orm::sea_query::{Condition, Expr, ExprTrait, Order};

use super::call::{self, CallRow};
use super::database::Database;
use super::dialect::Dialect;
use super::error_log::{self, ErrorLogRow};
use crate::error::Result;

/// A call with its stored latency, which may exceed 32 bits.
#[derive(Clone, Debug)]
pub struct TailedCall {
    pub row: Arc<CallRow>,
    pub(super) latency_ms: Option<i64>,
}

/// A row of a table with subscriptions.
pub trait Tailed: Send + Sync + Sized + 'static {
    /// In metrics and logs.
    const TABLE: &'static str;

    fn id(&self) -> i64;

    /// A hash of the content: two rows with one id and digest are equal.
    fn digest(&self) -> u64;

    /// The rows that match a condition, sorted by id. One statement.
    fn read(
        db: &Database,
        condition: Condition,
        order: Order,
        limit: u64,
    ) -> impl Future<Output = Result<Vec<Self>>> + Send;
}

impl Tailed for TailedCall {
    const TABLE: &'static str = "t_request_log";

    fn id(&self) -> i64 {
        self.row.id
    }

    fn digest(&self) -> u64 {
        let row = &self.row;
        digest(&(&row.stored, &row.key, &row.model, row.status_code, self.latency_ms))
    }

    async fn read(
        db: &Database,
        condition: Condition,
        order: Order,
        limit: u64,
    ) -> Result<Vec<Self>> {
        let (mut select, width) = call::select(db);
        select
            .cond_where(condition)
            .cond_where(has_time(db, call_table::Column::RequestTime))
            .order_by(call_table::Column::Id, order)
            .limit(limit);
        let rows = db.fetch::<call::Columns>("call.tail", &select, width).await?;
        let tailed = |columns: call::Columns| {
            let latency_ms = columns.5;
            Self { row: Arc::new(call::call_row(db, columns)), latency_ms }
        };
        Ok(rows.into_iter().map(tailed).collect())
    }
}

impl Tailed for ErrorLogRow {
    const TABLE: &'static str = "t_error_logs";

    fn id(&self) -> i64 {
        self.id
    }

    fn digest(&self) -> u64 {
        let code = (&self.error_type, self.error_code, &self.message);
        digest(&(&self.stored, &self.key, &self.model, code))
    }

    async fn read(
        db: &Database,
        condition: Condition,
        order: Order,
        limit: u64,
    ) -> Result<Vec<Self>> {
        let (mut select, width) = error_log::select(db);
        select
            .cond_where(condition)
            .cond_where(has_time(db, error_table::Column::RequestTime))
            .order_by(error_table::Column::Id, order)
            .limit(limit);
        let rows = db.fetch::<error_log::Columns>("error_log.tail", &select, width).await?;
        let mut rows: Vec<_> =
            rows.into_iter().map(|row| error_log::error_log_row(db, row)).collect();
        error_log::read_messages(db, &mut rows, &|_| Ok(())).await?;
        Ok(rows)
    }
}

/// PostgreSQL would underestimate the rows of the `CASE` and sort them all; the other databases would
/// use the index by time for a range.
fn has_time<C: Iden + Copy>(db: &Database, column: C) -> Condition {
    match db.dialect() {
        Dialect::Postgres => Dialect::Postgres.time_range(column, None, None),
        dialect => Condition::all().add(dialect.has_time(column)),
    }
}

fn digest(values: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    values.hash(&mut hasher);
    hasher.finish()
}

/// The id column, named alike in both tables.
fn id() -> Expr {
    Expr::col(call_table::Column::Id)
}

/// The first rows with an id of `first` or higher.
pub async fn rows_from<T: Tailed>(db: &Database, first: i64, limit: u64) -> Result<Vec<T>> {
    T::read(db, Condition::all().add(id().gte(first)), Order::Asc, limit).await
}

/// The first rows within these ranges of ids.
pub async fn rows_within<T: Tailed>(
    db: &Database,
    ranges: &[RangeInclusive<i64>],
    limit: u64,
) -> Result<Vec<T>> {
    let condition = ranges
        .iter()
        .fold(Condition::any(), |any, range| any.add(id().between(*range.start(), *range.end())));
    T::read(db, condition, Order::Asc, limit).await
}

/// The rows with the highest ids, in ascending order.
pub async fn last_rows<T: Tailed>(db: &Database, limit: u64) -> Result<Vec<T>> {
    let mut rows = T::read(db, Condition::all(), Order::Desc, limit).await?;
    rows.reverse();
    Ok(rows)
}

/// The row with the lowest id.
pub async fn first_row<T: Tailed>(db: &Database) -> Result<Option<T>> {
    Ok(T::read(db, Condition::all(), Order::Asc, 1).await?.pop())
}
