//! The differences between SQLite, PostgreSQL and MySQL: binding times, reading stored values,
//! comparing texts. `contains.rs` has those of searches.

use chrono::{NaiveDate, NaiveDateTime, TimeDelta};
use sea_orm::DbBackend;
use sea_orm::sea_query::{CaseStatement, Condition, Expr, ExprTrait, Value};

use crate::domain::bucket::Run;
use crate::domain::table::{Column, ColumnKind, ID, LogTable, TIME};

/// The kind of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
    MySql,
}

impl Dialect {
    pub fn of(backend: DbBackend) -> Self {
        match backend {
            DbBackend::Postgres => Self::Postgres,
            DbBackend::MySql => Self::MySql,
            _ => Self::Sqlite,
        }
    }

    pub fn backend(self) -> DbBackend {
        match self {
            Self::Sqlite => DbBackend::Sqlite,
            Self::Postgres => DbBackend::Postgres,
            Self::MySql => DbBackend::MySql,
        }
    }

    /// The kind of the database at `url`.
    pub fn of_url(url: &str) -> Self {
        match url.split(':').next() {
            Some("postgres" | "postgresql") => Self::Postgres,
            Some("mysql" | "mariadb") => Self::MySql,
            _ => Self::Sqlite,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
            Self::MySql => "MySQL",
        }
    }

    /// A bound of a half-open range, for `>=` and `<` only. SQLite compares texts: without trailing
    /// zeros, the text of an instant is not greater than any other text of the same instant.
    pub fn range_end(self, at: NaiveDateTime) -> Value {
        let at = at.clamp(earliest(), latest());
        match self {
            Self::Sqlite => {
                let text = at.format("%Y-%m-%d %H:%M:%S%.6f").to_string();
                text.trim_end_matches('0').trim_end_matches('.').to_owned().into()
            }
            _ => at.into(),
        }
    }

    /// Rows in `[since, until)`. Without a bound, every row with a readable time: a missing or unreadable
    /// time is outside of every range.
    pub fn time_range(
        self,
        since: Option<NaiveDateTime>,
        until: Option<NaiveDateTime>,
    ) -> Condition {
        let since = self.range_end(since.unwrap_or_else(earliest));
        let until = self.range_end(until.unwrap_or_else(latest));
        Condition::all().add(Expr::col(TIME).gte(since)).add(Expr::col(TIME).lt(until))
    }

    /// Rows with a readable time, for statements that find rows by id. Written so that no index by time
    /// applies: PostgreSQL would use it for a long list of ids together with a range.
    pub fn has_time(self) -> Expr {
        let in_range: Expr =
            CaseStatement::new().case(self.time_range(None, None), 1).finally(0).into();
        in_range.eq(1)
    }

    /// A column of `table` as lists read it.
    pub fn read(self, table: LogTable, name: &'static str) -> Expr {
        let column = table.columns().iter().find(|column| column.name == name);
        match column.map(|column| column.kind) {
            None if name == ID => self.integer(name),
            Some(ColumnKind::Text | ColumnKind::Key) => self.text(name),
            Some(ColumnKind::Number) => self.integer(name),
            Some(ColumnKind::Json) => self.json_text(name),
            Some(ColumnKind::Time | ColumnKind::Flag) | None => Expr::col(name),
        }
    }

    /// A column as its exact text, for exports.
    pub fn exact_text(self, column: Column) -> Expr {
        let name = column.name;
        match column.kind {
            ColumnKind::Flag => {
                Expr::cust(format!("CASE WHEN {name} THEN 'true' ELSE 'false' END"))
            }
            ColumnKind::Text | ColumnKind::Key if self == Self::MySql => {
                Expr::cust(format!("CONVERT({name} USING utf8mb4)"))
            }
            _ => self.json_text(name),
        }
    }

    /// An integer column of any width as 64 bits. Text in such a column of SQLite reads as NULL.
    pub fn integer(self, column: &'static str) -> Expr {
        Expr::cust(match self {
            Self::Sqlite => format!("CASE WHEN typeof({column}) = 'integer' THEN {column} END"),
            Self::Postgres => format!("CAST({column} AS BIGINT)"),
            Self::MySql => format!("CAST({column} AS SIGNED)"),
        })
    }

    /// A text column that compares by bytes, with any collation.
    pub fn text(self, column: &'static str) -> Expr {
        Expr::cust(match self {
            Self::Sqlite => format!("CAST({column} AS TEXT)"),
            Self::Postgres => format!("{column} COLLATE \"C\""),
            Self::MySql => format!("CONVERT({column} USING utf8mb4) COLLATE utf8mb4_bin"),
        })
    }

    /// A text column to group by. SQLite compares by bytes already, and a cast would take a third more
    /// time; the texts of the groups are cast instead ([`Self::to_text`]).
    pub fn group_text(self, column: &'static str) -> Expr {
        match self {
            Self::Sqlite => Expr::col(column),
            _ => self.text(column),
        }
    }

    /// The text of a group. SQLite may store bytes.
    pub fn to_text(self, name: &'static str) -> Expr {
        match self {
            Self::Sqlite => Expr::cust(format!("CAST({name} AS TEXT)")),
            _ => Expr::col(name),
        }
    }

    /// A sum, or another number of unlimited width, as 64 bits.
    pub fn to_integer(self, expression: &str) -> String {
        let kind = if self == Self::MySql { "SIGNED" } else { "BIGINT" };
        format!("CAST({expression} AS {kind})")
    }

    /// A literal number as 64 bits; PostgreSQL's default is 32.
    pub fn number(self, number: usize) -> Expr {
        Expr::cust(self.to_integer(&number.to_string()))
    }

    /// `NULL` in a column of integers or of texts.
    pub fn null(self, of_text: bool) -> Expr {
        Expr::cust(match (self, of_text) {
            (Self::MySql, true) => "CAST(NULL AS CHAR)",
            (Self::MySql, false) => "CAST(NULL AS SIGNED)",
            (_, true) => "CAST(NULL AS TEXT)",
            (_, false) => "CAST(NULL AS BIGINT)",
        })
    }

    /// `NULL` in a column of times.
    pub fn null_time(self) -> Expr {
        Expr::cust(match self {
            Self::Sqlite => "NULL",
            Self::Postgres => "CAST(NULL AS TIMESTAMP)",
            Self::MySql => "CAST(NULL AS DATETIME)",
        })
    }

    /// A time, where a column of times has no meaning.
    pub fn any_time(self) -> Expr {
        Expr::cust(match self {
            Self::Sqlite => "'1970-01-01 00:00:00'",
            Self::Postgres => "CAST('1970-01-01' AS TIMESTAMP)",
            Self::MySql => "CAST('1970-01-01' AS DATETIME(6))",
        })
    }

    /// Rows with exactly one of `values`, by the index of the column. The default collations of MySQL
    /// ignore case, so the bytes are compared as well. MySQL refuses a value that the column's character
    /// set cannot hold; with a value that is not ASCII only the bytes are compared.
    pub fn text_in<'a>(
        self,
        column: &'static str,
        values: impl IntoIterator<Item = &'a String>,
    ) -> Condition {
        let values: Vec<&str> = values.into_iter().map(String::as_str).collect();
        let found = match values.as_slice() {
            [value] => Expr::col(column).eq(*value),
            _ => Expr::col(column).is_in(values.clone()),
        };
        if self != Self::MySql {
            return Condition::all().add(found);
        }
        let found = values.iter().all(|value| value.is_ascii()).then_some(found);
        Condition::all().add_option(found).add(self.text(column).is_in(values))
    }

    /// The bucket number of a row within `run`.
    pub fn bucket(self, run: &Run) -> Expr {
        let (column, first) = (TIME, run.first);
        let Some(step) = run.step else { return self.number(first) };
        let epoch = run.start.and_utc().timestamp();
        match self {
            Self::Sqlite => {
                Expr::cust(format!("{first} + (unixepoch({column}) - {epoch}) / {step}"))
            }
            Self::Postgres => Expr::cust(format!(
                "{first} + CAST(FLOOR((EXTRACT(EPOCH FROM {column}) - {epoch}) / {step}) AS BIGINT)"
            )),
            Self::MySql => Expr::cust_with_values(
                format!("{first} + TIMESTAMPDIFF(SECOND, ?, {column}) DIV {step}"),
                [run.start],
            ),
        }
    }

    /// A JSON column, or a number, as text.
    pub fn json_text(self, column: &'static str) -> Expr {
        Expr::cust(match self {
            Self::MySql => format!("CAST({column} AS CHAR)"),
            _ => format!("CAST({column} AS TEXT)"),
        })
    }
}

/// Before every call: the first time that all databases support.
pub(super) fn earliest() -> NaiveDateTime {
    NaiveDate::from_ymd_opt(1, 1, 1).unwrap_or_default().into()
}

/// After every call.
pub(super) fn latest() -> NaiveDateTime {
    let day = NaiveDate::from_ymd_opt(9999, 12, 31).unwrap_or_default();
    NaiveDateTime::from(day) + TimeDelta::days(1) - TimeDelta::microseconds(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_range_has_no_trailing_zeros_in_sqlite() {
        let at = |text: &str| Dialect::Sqlite.range_end(text.parse().unwrap());
        assert_eq!(at("2026-03-01T12:00:00"), "2026-03-01 12:00:00".into());
        assert_eq!(at("2026-03-01T12:00:00.250"), "2026-03-01 12:00:00.25".into());
        assert_eq!(at("2026-03-01T12:00:00.000001"), "2026-03-01 12:00:00.000001".into());
    }
}
