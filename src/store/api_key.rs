//! API keys: the list of all keys, and their first and last use.

use chrono::{DateTime, Utc};
use entity::{error_log, request_log};
use sea_orm::sea_query::{Expr, ExprTrait, Query, SelectStatement};
use sea_orm::{EntityName, Iden};

use super::database::Database;
use super::dialect::Dialect;
use super::page::unions;
use super::rows::columns;
use super::stored_time::StoredTime;
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
) SELECT CAST(k AS TEXT) AS c0 FROM calls WHERE k IS NOT NULL \
UNION ALL SELECT CAST(k AS TEXT) AS c0 FROM errors WHERE k IS NOT NULL";

/// MySQL steps through the index automatically ("Using index for group-by"), but would read the whole
/// index for each step of the statement above. Of keys that a collation treats as equal, as the default
/// collations do with case, it finds only one.
const DISTINCT_KEYS_MYSQL: &str = "\
SELECT DISTINCT api_key AS c0 FROM t_request_log WHERE api_key IS NOT NULL \
UNION ALL SELECT DISTINCT gemini_key AS c0 FROM t_error_logs WHERE gemini_key IS NOT NULL";

/// Every key of a call or an error log, in the order of its bytes. One statement.
pub async fn list(db: &Database) -> Result<Vec<String>> {
    let sql = match db.dialect() {
        Dialect::MySql => DISTINCT_KEYS_MYSQL,
        Dialect::Sqlite | Dialect::Postgres => DISTINCT_KEYS,
    };
    let mut keys: Vec<String> = db
        .fetch_text::<(String,)>("api_key.list", sql, 1)
        .await?
        .into_iter()
        .map(|row| row.0)
        .collect();
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
    let mut seen: Vec<Option<KeyActivity>> = vec![None; keys.len()];
    let branches = keys.iter().zip(0..).flat_map(|(key, index)| {
        [
            ends::<request_log::Entity, _, _>(
                db,
                (request_log::Column::ApiKey, request_log::Column::RequestTime),
                key,
                index,
            ),
            ends::<error_log::Entity, _, _>(
                db,
                (error_log::Column::GeminiKey, error_log::Column::RequestTime),
                key,
                index,
            ),
        ]
    });
    for union in unions(branches, 100) {
        type Columns = (i64, Option<StoredTime>, Option<StoredTime>);
        for (index, first, last) in db.fetch::<Columns>("api_key.seen", &union, 3).await? {
            let (Some(first), Some(last)) = (first, last) else { continue };
            let found =
                KeyActivity { first: db.zone().to_utc(first.at), last: db.zone().to_utc(last.at) };
            let known = &mut seen[index as usize];
            *known = Some(known.map_or(found, |known| known.and(found)));
        }
    }
    Ok(seen)
}

/// The first and the last time of a key in one table, as two scalar subqueries: a single one would read
/// the whole range.
fn ends<E: EntityName + Default, K: Iden + Copy, T: Iden + Copy>(
    db: &Database,
    (key_column, time_column): (K, T),
    key: &String,
    index: usize,
) -> SelectStatement {
    let dialect = db.dialect();
    let end = |end: Expr| {
        let mut select = Query::select();
        select
            .expr(end)
            .from(E::default().table_ref())
            .cond_where(dialect.text_in(key_column, [key]))
            .cond_where(dialect.time_range(time_column, None, None));
        Expr::SubQuery(None, Box::new(select.take().into()))
    };
    let mut branch = Query::select();
    let time = || Expr::col(time_column);
    columns(&mut branch, [dialect.number(index), end(time().min()), end(time().max())]);
    branch
}
