//! The rows at the end of a table, read by id, for subscriptions. Rows without a readable time are left
//! out, as in every list.

use std::hash::{DefaultHasher, Hash, Hasher};

use sea_orm::sea_query::{Condition, Expr, ExprTrait, Order, Query};

use super::call::CallRow;
use super::database::Database;
use super::dialect::Dialect;
use super::error_log::{self, ErrorLogRow};
use super::list;
use super::rows::VALUE;
use super::source::Source;
use crate::domain::id_range::IdRange;
use crate::domain::table::{ID, LogTable};
use crate::error::Result;

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

impl Tailed for CallRow {
    const TABLE: &'static str = LogTable::Calls.name();

    fn id(&self) -> i64 {
        self.id
    }

    fn digest(&self) -> u64 {
        let numbers = (self.status_code, self.stored_latency_ms);
        digest(&(&self.stored, &self.key, &self.model, numbers))
    }

    async fn read(
        db: &Database,
        condition: Condition,
        order: Order,
        limit: u64,
    ) -> Result<Vec<Self>> {
        list::by_id(db, "call.tail", condition, order, limit).await
    }
}

impl Tailed for ErrorLogRow {
    const TABLE: &'static str = LogTable::ErrorLogs.name();

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
        let mut rows = list::by_id(db, "error_log.tail", condition, order, limit).await?;
        error_log::read_messages(db, Source::Here, &mut rows, &|_| Ok(())).await?;
        Ok(rows)
    }
}

fn digest(values: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    values.hash(&mut hasher);
    hasher.finish()
}

/// The first rows with an id of `first` or higher.
pub async fn rows_from<T: Tailed>(db: &Database, first: i64, limit: u64) -> Result<Vec<T>> {
    T::read(db, Condition::all().add(Expr::col(ID).gte(first)), Order::Asc, limit).await
}

/// The first rows within these ranges of ids.
pub async fn rows_within<T: Tailed>(
    db: &Database,
    ranges: &[IdRange],
    limit: u64,
) -> Result<Vec<T>> {
    let condition = ranges.iter().fold(Condition::any(), |any, range| any.add(id_within(range)));
    T::read(db, condition, Order::Asc, limit).await
}

/// Rows with an id of a range.
pub(super) fn id_within(range: &IdRange) -> Condition {
    let IdRange { first, last, step } = *range;
    let within = Condition::all().add(Expr::col(ID).between(first, last));
    // A single id has no step.
    match step == 1 || first == last {
        true => within,
        false => within.add(Expr::col(ID).sub(first).modulo(step).eq(0)),
    }
}

/// The step between the ids of new rows: above 1 on a node of a MySQL cluster. It may change with the number
/// of nodes.
pub async fn id_step(db: &Database) -> Result<i64> {
    if db.dialect() != Dialect::MySql {
        return Ok(1);
    }
    let mut select = Query::select();
    select.expr_as(Expr::cust("CAST(@@GLOBAL.auto_increment_increment AS SIGNED)"), VALUE);
    Ok(db.fetch_values("id_step", &select).await?.pop().unwrap_or(1))
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
