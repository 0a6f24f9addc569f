//! From rows to values. SQLite hands over all rows of a statement as one JSON text, which costs a
//! quarter of a hand-over row by row (docs/adr/0003); the others decode theirs one by one.

use chrono::{NaiveDate, NaiveDateTime};
use sea_orm::sea_query::{Expr, SelectStatement, SqliteQueryBuilder, Value, Values};
use sea_orm::{ColIdx, DbBackend, QueryResult, Statement, TryGetError, TryGetable, TryGetableMany};
use serde::de::DeserializeOwned;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer};

use super::connect::Database;
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
    /// All rows of `select`, whose `width` columns are named by [`columns`], as tuples. `name` tells
    /// the statement in metrics and logs.
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

    /// The same for a statement that is the same text for all databases and binds nothing.
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
        let Some(row) = rows.first() else { return Ok(vec![]) };
        // Bytes, since a stored text need not be UTF-8.
        let json: Vec<u8> = row.try_get_by_index(0)?;
        let parsed: Result<Vec<T>, _> = match std::str::from_utf8(&json) {
            Ok(text) => serde_json::from_str(text),
            Err(_) => serde_json::from_str(&String::from_utf8_lossy(&json)),
        };
        let found = parsed.map_err(Error::internal)?;
        watch.unpacked(found.len());
        Ok(found)
    }
}

/// Puts the limits into the text. SQLite takes a bound limit for a hint to its planner and plans
/// the statement anew each time it is bound, which for the ranges of many failed calls costs far
/// more than to run it. A limit is a number of ours; everything else stays bound.
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

/// A stored time: naive, in the storage zone. A text of SQLite that is no time reads as the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoredTime {
    pub at: NaiveDateTime,
    /// The text in SQLite where it is not the usual one, with six digits.
    pub text: Option<Box<str>>,
}

const CANONICAL: &str = "%Y-%m-%d %H:%M:%S%.6f";

impl StoredTime {
    pub fn new(at: NaiveDateTime) -> Self {
        Self { at, text: None }
    }

    pub fn from_text(text: &str) -> Self {
        if let Some(at) = parse_canonical(text.as_bytes()) {
            return Self { at, text: None };
        }
        let formats = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M"];
        let date = || text.parse::<NaiveDate>().map(NaiveDateTime::from).ok();
        let at = formats
            .iter()
            .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
            .or_else(|| chrono::DateTime::parse_from_rfc3339(text).ok().map(|at| at.naive_utc()))
            .or_else(date);
        Self { at: at.unwrap_or_default(), text: Some(text.into()) }
    }

    /// The value that equals the stored one.
    pub(super) fn value(&self, dialect: Dialect) -> sea_orm::Value {
        match (dialect, &self.text) {
            (Dialect::Sqlite, Some(text)) => text.as_ref().into(),
            (Dialect::Sqlite, None) => self.at.format(CANONICAL).to_string().into(),
            _ => self.at.into(),
        }
    }
}

/// The usual form, `2026-03-01 12:00:00.000000`, read by hand: it is read for every row.
fn parse_canonical(text: &[u8]) -> Option<NaiveDateTime> {
    let separators = [(4, b'-'), (7, b'-'), (10, b' '), (13, b':'), (16, b':'), (19, b'.')];
    if text.len() != 26 || separators.iter().any(|(place, separator)| text[*place] != *separator) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| {
        text[range].iter().try_fold(0u32, |number, byte| {
            byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0'))
        })
    };
    let date =
        NaiveDate::from_ymd_opt(number(0..4)?.try_into().ok()?, number(5..7)?, number(8..10)?)?;
    date.and_hms_micro_opt(number(11..13)?, number(14..16)?, number(17..19)?, number(20..26)?)
}

impl<'de> Deserialize<'de> for StoredTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StoredTimeVisitor)
    }
}

struct StoredTimeVisitor;

impl Visitor<'_> for StoredTimeVisitor {
    type Value = StoredTime;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a stored time")
    }

    fn visit_str<E>(self, text: &str) -> Result<StoredTime, E> {
        Ok(StoredTime::from_text(text))
    }

    fn visit_i64<E>(self, number: i64) -> Result<StoredTime, E> {
        Ok(StoredTime::from_text(&number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<StoredTime, E> {
        Ok(StoredTime::from_text(&number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<StoredTime, E> {
        Ok(StoredTime::from_text(&number.to_string()))
    }
}

impl TryGetable for StoredTime {
    fn try_get_by<I: ColIdx>(row: &QueryResult, index: I) -> Result<Self, TryGetError> {
        NaiveDateTime::try_get_by(row, index).map(Self::new)
    }
}

/// An integer that is shown as GraphQL's `Int`; nothing where it does not fit.
pub(super) fn int(value: Option<i64>) -> Option<i32> {
    value.and_then(|value| i32::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use sea_orm::sea_query::{ExprTrait, Query, UnionType};

    use super::*;

    #[test]
    fn limits_stand_in_the_text_and_nothing_else_does() {
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

    #[test]
    fn a_stored_text_is_read_as_well_as_it_can_be() {
        let usual = StoredTime::from_text("2026-03-01 12:00:00.250000");
        assert_eq!(usual.at.to_string(), "2026-03-01 12:00:00.250");
        assert_eq!(usual.text, None);
        for text in ["2026-03-01 12:00:00.25", "2026-03-01T12:00:00.250", "2026-03-01T12:00:00.25Z"]
        {
            let other = StoredTime::from_text(text);
            assert_eq!(other.at, usual.at, "{text}");
            assert_eq!(other.text.as_deref(), Some(text));
        }
        assert_eq!(StoredTime::from_text("soon").at.to_string(), "1970-01-01 00:00:00");
    }
}
