//! Decodes rows into structs by the names of the result columns. SQLite returns all rows of a statement as
//! one JSON text, which takes a quarter of the time of single rows (docs/adr/0003); the other databases
//! return row by row.

use sea_orm::sea_query::{
    Condition, Expr, Query, SelectStatement, SqliteQueryBuilder, Value, Values,
};
use sea_orm::{DbBackend, DbErr, QueryResult, Statement, TryGetable};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::database::Database;
use super::dialect::Dialect;
use crate::domain::table::LogTable;
use crate::error::{Error, Result};

/// A result row. [`row!`] implements it for structs.
pub(super) trait Row: DeserializeOwned {
    /// The names of the result columns, in the order of the fields.
    fn columns() -> Vec<&'static str>;

    /// Reads a row; `positions` are those of the columns.
    fn read(row: &QueryResult, positions: &[usize]) -> Result<Self, DbErr>;

    fn width() -> usize {
        Self::columns().len()
    }

    /// The JSON of a row in SQLite.
    fn json() -> String {
        format!("json_array({})", Self::columns().join(","))
    }
}

/// Defines a struct for result rows. The result column of a field is its name after [`PREFIX`], which keeps
/// ORDER BY from using the result column in place of the column of the table.
macro_rules! row {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$field_meta:meta])* $field:ident: $type:ty),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Debug, serde::Deserialize)]
        $vis struct $name {
            $($(#[$field_meta])* $vis $field: $type),*
        }

        impl $crate::store::rows::Row for $name {
            fn columns() -> Vec<&'static str> {
                vec![$(concat!("c_", stringify!($field))),*]
            }

            fn read(
                row: &sea_orm::QueryResult,
                positions: &[usize],
            ) -> Result<Self, sea_orm::DbErr> {
                let [$($field),*] = positions else { return Err($crate::store::rows::misread()) };
                Ok(Self { $($field: row.try_get_by(*$field)?),* })
            }

            fn width() -> usize {
                [$(stringify!($field)),*].len()
            }
        }
    };
}
pub(super) use row;

const PREFIX: &str = "c_";
/// The result column of [`Database::fetch_values`].
pub(super) const VALUE: &str = "c_value";

#[derive(Deserialize)]
struct Single<T> {
    value: T,
}

impl<T: DeserializeOwned + TryGetable> Row for Single<T> {
    fn columns() -> Vec<&'static str> {
        vec![VALUE]
    }

    fn read(row: &QueryResult, positions: &[usize]) -> Result<Self, DbErr> {
        let [value] = positions else { return Err(misread()) };
        Ok(Self { value: row.try_get_by(*value)? })
    }
}

impl<A: Row, B: Row> Row for (A, B) {
    fn columns() -> Vec<&'static str> {
        A::columns().into_iter().chain(B::columns()).collect()
    }

    fn read(row: &QueryResult, positions: &[usize]) -> Result<Self, DbErr> {
        let (first, second) = positions.split_at_checked(A::width()).ok_or_else(misread)?;
        Ok((A::read(row, first)?, B::read(row, second)?))
    }

    fn json() -> String {
        format!("json_array({},{})", A::json(), B::json())
    }
}

/// The field of a result column.
pub(super) fn field(column: &'static str) -> &'static str {
    column.strip_prefix(PREFIX).unwrap_or(column)
}

/// Adds the result columns of `T` in the order of its fields.
pub(super) fn columns<T: Row>(
    select: &mut SelectStatement,
    expressions: impl IntoIterator<Item = Expr>,
) {
    for (name, expression) in T::columns().into_iter().zip(expressions) {
        select.expr_as(expression, name);
    }
}

/// Selects the fields of `T`, which are named as columns of `table`, and `computed` ones, from the rows on this server.
pub(super) fn select_from<T: Row>(
    dialect: Dialect,
    table: LogTable,
    computed: &[(&str, Expr)],
) -> SelectStatement {
    select_columns::<T>(dialect, table, computed).from(table.name()).take()
}

/// The same without the rows.
pub(super) fn select_columns<T: Row>(
    dialect: Dialect,
    table: LogTable,
    computed: &[(&str, Expr)],
) -> SelectStatement {
    let mut select = Query::select();
    columns::<T>(
        &mut select,
        T::columns().into_iter().map(|name| {
            let field = field(name);
            let computed = computed.iter().find(|(name, _)| *name == field);
            computed.map_or_else(|| dialect.read(table, field), |(_, found)| found.clone())
        }),
    );
    select
}

/// Selects the fields of `T`, which are named as columns of one of Callscope's own tables.
pub(super) fn select_own<T: Row>(table: &'static str) -> SelectStatement {
    let mut select = Query::select();
    columns::<T>(&mut select, T::columns().into_iter().map(|name| Expr::col(field(name))));
    select.from(table).take()
}

impl Database {
    /// All rows of `select`. `name` is the name of the statement in metrics and logs.
    pub(super) async fn fetch<T: Row>(
        &self,
        name: &'static str,
        select: &SelectStatement,
    ) -> Result<Vec<T>> {
        if self.dialect() == Dialect::Sqlite {
            let (inner, values) = inline_limits(select.build(SqliteQueryBuilder));
            return self.fetch_json(name, &inner, values).await;
        }
        decode(&self.query_all(name, select).await?)
    }

    /// All values of the result column [`VALUE`].
    pub(super) async fn fetch_values<T: DeserializeOwned + TryGetable>(
        &self,
        name: &'static str,
        select: &SelectStatement,
    ) -> Result<Vec<T>> {
        let rows = self.fetch::<Single<T>>(name, select).await?;
        Ok(rows.into_iter().map(|row| row.value).collect())
    }

    /// The number of rows of a table that match a condition.
    pub(super) async fn count(
        &self,
        name: &'static str,
        table: LogTable,
        condition: Condition,
    ) -> Result<u64> {
        let mut select = Query::select();
        select.expr_as(Expr::cust("COUNT(*)"), VALUE).from(table.name()).cond_where(condition);
        let counts = self.fetch_values::<i64>(name, &select).await?;
        Ok(counts.first().map_or(0, |count| u64::try_from(*count).unwrap_or(0)))
    }

    /// All rows of a statement with the same text for all databases and without bound values.
    pub(super) async fn fetch_text<T: Row>(&self, name: &'static str, sql: &str) -> Result<Vec<T>> {
        match self.dialect() {
            Dialect::Sqlite => self.fetch_json(name, sql, Values(vec![])).await,
            dialect => {
                let statement = Statement::from_string(dialect.backend(), sql);
                decode(&self.query_all_raw(name, statement).await?)
            }
        }
    }

    async fn fetch_json<T: Row>(
        &self,
        name: &'static str,
        inner: &str,
        values: Values,
    ) -> Result<Vec<T>> {
        let sql = format!("SELECT json_group_array({}) FROM ({inner})", T::json());
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

/// Finds the columns by name once for all rows of a statement.
fn decode<T: Row>(rows: &[QueryResult]) -> Result<Vec<T>> {
    let Some(first) = rows.first() else { return Ok(vec![]) };
    let names = first.column_names();
    let position = |column: &str| names.iter().position(|name| name == column).ok_or_else(misread);
    let positions: Vec<usize> = T::columns().into_iter().map(position).collect::<Result<_, _>>()?;
    Ok(rows.iter().map(|row| T::read(row, &positions)).collect::<Result<_, DbErr>>()?)
}

/// The error for a statement with other columns than its rows.
pub(super) fn misread() -> DbErr {
    DbErr::Type("the columns of a statement differ from its rows".to_owned())
}

/// An integer for GraphQL's `Int`; None if it has more than 32 bits.
pub(super) fn int(value: Option<i64>) -> Option<i32> {
    value.and_then(|value| i32::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use entity::{ErrorLog, RequestLog};
    use sea_orm::sea_query::{ColumnType, ExprTrait, UnionType};
    use sea_orm::{ColumnTrait, EntityTrait, IdenStatic, Iterable};

    use super::*;
    use crate::domain::table::{ColumnKind, ID};

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

    fn same_columns<E: EntityTrait>(entity: E, table: LogTable) {
        assert_eq!(entity.table_name(), table.name());
        let mut columns = E::Column::iter();
        assert_eq!(columns.next().map(|column| column.as_str().to_owned()).as_deref(), Some(ID));
        let mut described: Vec<_> = table.columns().to_vec();
        for column in columns {
            let name = column.as_str();
            let at = described.iter().position(|described| described.name == name);
            let kind = described.remove(at.expect(name)).kind;
            let definition = column.def();
            let column_type = definition.get_column_type();
            let fits = match kind {
                ColumnKind::Time => matches!(column_type, ColumnType::DateTime),
                ColumnKind::Text | ColumnKind::Key => {
                    matches!(column_type, ColumnType::String(_) | ColumnType::Text)
                }
                ColumnKind::Number => matches!(column_type, ColumnType::Integer),
                ColumnKind::Flag => matches!(column_type, ColumnType::Boolean),
                ColumnKind::Json => matches!(column_type, ColumnType::Json),
            };
            assert!(fits, "the type of {name}");
            assert_eq!(definition.is_null(), kind != ColumnKind::Flag, "{name} may be null");
        }
        assert_eq!(described, []);
    }

    #[test]
    fn the_entities_have_the_described_columns() {
        same_columns(RequestLog, LogTable::Calls);
        same_columns(ErrorLog, LogTable::ErrorLogs);
    }
}
