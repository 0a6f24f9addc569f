//! API keys: the list of all keys, and their first and last use.

use chrono::{DateTime, Utc};
use sea_orm::sea_query::{Expr, ExprTrait, Order, Query, SelectStatement};

use super::database::Database;
use super::dialect::Dialect;
use super::engine::Engine;
use super::page::unions;
use super::rollup;
use super::rows::{columns, row};
use super::stored_time::StoredTime;
use crate::domain::table::{LogTable, TIME};
use crate::error::Result;

/// Steps from each key to the next through the indexes: the cost depends on the number of keys, not of
/// calls. The cast is last, because SQLite may store bytes.
const DISTINCT_KEYS: &str = "\
WITH RECURSIVE calls(k) AS (\
  SELECT MIN(api_key) FROM t_request_log \
  UNION ALL \
  SELECT (SELECT MIN(api_key) FROM t_request_log WHERE api_key > calls.k) \
  FROM calls WHERE calls.k IS NOT NULL\
), errors(k) AS (\
  SELECT MIN(gemini_key) FROM t_error_logs \
  UNION ALL \
  SELECT (SELECT MIN(gemini_key) FROM t_error_logs WHERE gemini_key > errors.k) \
  FROM errors WHERE errors.k IS NOT NULL\
) SELECT CAST(k AS TEXT) AS c_key FROM calls WHERE k IS NOT NULL \
UNION ALL SELECT CAST(k AS TEXT) AS c_key FROM errors WHERE k IS NOT NULL";

/// MySQL steps through the index automatically ("Using index for group-by"), but would read the whole
/// index for each step of the statement above. Of keys that a collation treats as equal, as the default
/// collations do with case, it finds only one.
const DISTINCT_KEYS_MYSQL: &str = "\
SELECT DISTINCT api_key AS c_key FROM t_request_log WHERE api_key IS NOT NULL \
UNION ALL SELECT DISTINCT gemini_key AS c_key FROM t_error_logs WHERE gemini_key IS NOT NULL";

/// Citus refuses a recursive statement without a filter on the distribution column, and sends this one to all
/// workers.
const DISTINCT_KEYS_CITUS: &str = "\
SELECT DISTINCT CAST(api_key AS TEXT) AS c_key FROM t_request_log WHERE api_key IS NOT NULL \
UNION ALL \
SELECT DISTINCT CAST(gemini_key AS TEXT) AS c_key FROM t_error_logs WHERE gemini_key IS NOT NULL";

/// Every key of a call or an error log, in the order of its bytes; also of calls that are deleted. One
/// statement, and another one if calls are deleted.
pub async fn list(db: &Database) -> Result<Vec<String>> {
    let sql = match db.dialect() {
        Dialect::MySql => DISTINCT_KEYS_MYSQL,
        Dialect::Postgres if db.engine() == Engine::Citus => DISTINCT_KEYS_CITUS,
        Dialect::Sqlite | Dialect::Postgres => DISTINCT_KEYS,
    };
    row! {
        struct Found { key: String }
    }
    let rows = db.fetch_text::<Found>("api_key.list", sql).await?;
    let mut keys: Vec<String> = rows.into_iter().map(|row| row.key).collect();
    keys.extend(rollup::deleted_keys(db).await?);
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

/// The times of a key's first and last call or error log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyActivity {
    pub first: DateTime<Utc>,
    pub last: DateTime<Utc>,
}

impl KeyActivity {
    fn and(self, other: Self) -> Self {
        Self { first: Ord::min(self.first, other.first), last: Ord::max(self.last, other.last) }
    }
}

/// The activity of each of `keys`, in their order. One statement for 50 keys, with both ends of the two
/// index ranges of each.
pub async fn find_activity(db: &Database, keys: &[String]) -> Result<Vec<Option<KeyActivity>>> {
    let mut found: Vec<Option<KeyActivity>> = vec![None; keys.len()];
    let branches = keys
        .iter()
        .enumerate()
        .flat_map(|(number, key)| LogTable::ALL.map(|table| ends(db, table, key, number)));
    for union in unions(branches, 100) {
        for Ends { number, first, last } in db.fetch::<Ends>("api_key.seen", &union).await? {
            let (Some(first), Some(last)) = (first, last) else { continue };
            let (first, last) = (db.zone().to_utc(first.at), db.zone().to_utc(last.at));
            let activity = KeyActivity { first, last };
            let known = &mut found[number as usize];
            *known = Some(known.map_or(activity, |known| known.and(activity)));
        }
    }
    for (number, first, last) in rollup::key_activity(db, keys).await? {
        let (first, last) = (db.zone().to_utc(first), db.zone().to_utc(last));
        let activity = KeyActivity { first, last };
        let known = &mut found[number];
        *known = Some(known.map_or(activity, |known| known.and(activity)));
    }
    Ok(found)
}

row! {
    /// The first and the last time of the key with this number.
    struct Ends { number: i64, first: Option<StoredTime>, last: Option<StoredTime> }
}

/// The first and the last time of a key in one table, as two scalar subqueries: a single one would read
/// the whole range. So would MIN and MAX on MySQL, because it compares keys by their bytes as well.
fn ends(db: &Database, table: LogTable, key: &String, number: usize) -> SelectStatement {
    let dialect = db.dialect();
    let end = |order: Order| {
        let mut select = Query::select();
        select
            .from(table.name())
            .cond_where(dialect.text_in(table.key(), [key]))
            .cond_where(dialect.time_range(None, None));
        let time = Expr::col(TIME);
        match (dialect, &order) {
            (Dialect::MySql, _) => select.expr(time).order_by(TIME, order).limit(1),
            (_, Order::Desc) => select.expr(time.max()),
            _ => select.expr(time.min()),
        };
        Expr::SubQuery(None, Box::new(select.into()))
    };
    let mut branch = Query::select();
    columns::<Ends>(&mut branch, [dialect.number(number), end(Order::Asc), end(Order::Desc)]);
    branch
}
