//! Decodes rows. SQLite returns all rows of a statement as one JSON text, which takes a quarter of the
//! time of single rows (docs/adr/0003); the other databases return row by row.

use sea_orm::sea_query::{Expr, SelectStatement, SqliteQueryBuilder, Value, Values};
use sea_orm::{DbBackend, QueryResult, Statement, TryGetableMany};
use serde::de::DeserializeOwned;

use super::database::Database;
use super::dialect::Dialect;
use crate::error::{Error, Result};

/// Adds the result columns of a statement, named `c0`, `c1`, … in their order.
pub(super) fn columns(
    select: &mut SelectStatement,
    columns: impl IntoIterator<Item = Expr>,
) -> usize {
    let mut width = 0;
    for column in columns {
        select.expr_as(column, format!("c{width}"));
        width += 1;
    }
    width
}

impl Database {
    /// All rows of `select` as tuples. [`columns`] named its `width` columns. `name` is the name of the
    /// statement in metrics and logs.
    pub(super) async fn fetch<T>(
        &self,
        name: &'static str,
        select: &SelectStatement,
        width: usize,
    ) -> Result<Vec<T>>
    where
        T: DeserializeOwned + TryGetableMany,
    {
        if self.dialect() == Dialect::Sqlite {
            let (inner, values) = inline_limits(select.build(SqliteQueryBuilder));
            return self.fetch_json(name, &inner, values, width).await;
        }
        let rows = self.query_all(name, select).await?;
        decode(&rows)
    }

    /// All rows of a statement with the same text for all databases and without bound values.
    pub(super) async fn fetch_text<T>(
        &self,
        name: &'static str,
        sql: &str,
        width: usize,
    ) -> Result<Vec<T>>
    where
        T: DeserializeOwned + TryGetableMany,
    {
        let backend = match self.dialect() {
            Dialect::Sqlite => {
                return self.fetch_json(name, sql, Values(vec![]), width).await;
            }
            Dialect::Postgres => DbBackend::Postgres,
            Dialect::MySql => DbBackend::MySql,
        };
        decode(&self.query_all_raw(name, Statement::from_string(backend, sql)).await?)
    }

    async fn fetch_json<T: DeserializeOwned>(
        &self,
        name: &'static str,
        inner: &str,
        values: Values,
        width: usize,
    ) -> Result<Vec<T>> {
        let names: Vec<String> = (0..width).map(|index| format!("c{index}")).collect();
        let sql =
            format!("SELECT json_group_array(json_array({})) FROM ({inner})", names.join(","));
        let statement = Statement::from_sql_and_values(DbBackend::Sqlite, sql, values);
        let (rows, mut watch) = self.query_watched(name, statement).await?;
        let Some(row) = rows.into_iter().next() else { return Ok(vec![]) };
        // Bytes, since a stored text may not be UTF-8.
        let json: Vec<u8> = row.try_get_by_index(0)?;
        drop(row);
        let parsed: Result<Vec<T>, _> = match std::str::from_utf8(&json) {
            Ok(text) => serde_json::from_str(text),
            Err(_) => serde_json::from_str(&String::from_utf8_lossy(&json)),
        };
        let found = parsed.map_err(Error::internal)?;
        watch.unpacked(found.len());
        Ok(found)
    }
}

/// Writes limits into the text. SQLite uses a bound limit as a hint for its planner and plans the
/// statement again for each value, which for the ranges of many failed calls takes far longer than
/// running it. A limit is a number of this server; all other values stay bound.
fn inline_limits((sql, values): (String, Values)) -> (String, Values) {
    let mut inlined = String::with_capacity(sql.len() + 8);
    let mut kept = Vec::with_capacity(values.0.len());
    let mut values = values.0.into_iter();
    let mut rest = sql.as_str();
    while let Some((text, behind)) = rest.split_once('?') {
        inlined.push_str(text);
        match values.next() {
            Some(Value::BigUnsigned(Some(limit))) if text.ends_with("LIMIT ") => {
                inlined.push_str(&limit.to_string());
            }
            value => {
                inlined.push('?');
                kept.extend(value);
            }
        }
        rest = behind;
    }
    inlined.push_str(rest);
    (inlined, Values(kept))
}

fn decode<T: TryGetableMany>(rows: &[QueryResult]) -> Result<Vec<T>> {
    rows.iter()
        .map(|row| {
            T::try_get_many_by_index(row).map_err(|error| Error::from(sea_orm::DbErr::from(error)))
        })
        .collect()
}

/// An integer for GraphQL's `Int`; None if it has more than 32 bits.
pub(super) fn int(value: Option<i64>) -> Option<i32> {
    value.and_then(|value| i32::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use sea_orm::sea_query::{ExprTrait, Query, UnionType};

    use super::*;

    #[test]
    fn only_limits_are_inlined() {
        let page = |limit| {
            Query::select()
                .column("a")
                .from("t")
                .and_where(Expr::col("a").eq("LIMIT ?"))
                .limit(limit)
                .take()
        };
        let inner = Query::select().column("a").from_subquery(page(7), "page").take();
        let mut union = page(12);
        union.union(UnionType::All, inner);
        let (sql, values) = inline_limits(union.build(SqliteQueryBuilder));
        assert_eq!(sql.matches('?').count(), 2);
        assert!(sql.contains("LIMIT 12") && sql.contains("LIMIT 7"), "{sql}");
        assert_eq!(values, Values(vec!["LIMIT ?".into(), "LIMIT ?".into()]));
    }
}
