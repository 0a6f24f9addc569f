//! Stores the rows of an import with COPY of PostgreSQL, which takes two thirds of the time of INSERT
//! (docs/SCALING.md).

use sea_orm::sea_query::Values;
use sea_orm::sqlx::{AssertSqlSafe, Executor, PgConnection, query_with};
use sea_orm::{DbBackend, Statement, Value};
use sea_query_sqlx::SqlxValues;

use super::database::Database;
use super::dialect::Dialect;
use super::import::{self, Step};
use super::insert::{call_values, error_values};
use super::stored_time::sqlite_text;
use super::transaction::{Fault, exec_error};
use crate::domain::record::{CallRecord, ErrorRecord};
use crate::domain::table::LogTable;
use crate::error::{Error, Result};

/// PostgreSQL stores a piece of so many bytes while the next one is written.
const PIECE_BYTES: usize = 64 << 10;

/// Whether COPY into both tables does the same as INSERT. It refuses views and tables with policies for rows, and
/// ignores rules.
pub(super) async fn is_possible(db: &Database) -> Result<bool> {
    if db.dialect() != Dialect::Postgres {
        return Ok(false);
    }
    let [calls, errors] = LogTable::ALL.map(LogTable::name);
    let sql = format!(
        "SELECT COUNT(*) = 2 FROM pg_class \
         WHERE oid IN (to_regclass('{calls}'), to_regclass('{errors}')) \
         AND relkind IN ('r', 'p') AND NOT relhasrules AND NOT row_security_active(oid)"
    );
    let statement = Statement::from_string(DbBackend::Postgres, sql);
    let rows = db.query_all_raw("import.can_copy", statement).await?;
    Ok(rows.first().map(|row| row.try_get_by_index(0)).transpose()?.unwrap_or(false))
}

/// The rows of both tables.
type Rows<'a> = (&'a [CallRecord], &'a [ErrorRecord]);

/// Stores rows and the progress of an import in one transaction.
pub(super) async fn insert(db: &Database, rows: Rows<'_>, step: &Step) -> Result<(), Fault> {
    let mut transaction = db.start_postgres().await.map_err(Fault::Refused)?;
    let inserted = insert_step(db, transaction.connection(), rows, step).await;
    transaction.end(inserted).await
}

async fn insert_step(
    db: &Database,
    connection: &mut PgConnection,
    (calls, errors): Rows<'_>,
    step: &Step,
) -> Result<()> {
    // sqlx does not read while it sends rows: with a notice of a trigger for each row, both sides would wait for the
    // other one.
    connection.execute("SET LOCAL client_min_messages = error").await.map_err(exec_error)?;
    let calls = calls.iter().map(|call| call_values(db, call));
    copy(db, connection, LogTable::Calls, calls).await?;
    let errors = errors.iter().map(|error| error_values(db, error));
    copy(db, connection, LogTable::ErrorLogs, errors).await?;
    let advance = DbBackend::Postgres.build(&import::advance_statement(step)?);
    db.statement_log().add(|| advance.to_string());
    let values = SqlxValues(advance.values.unwrap_or(Values(vec![])));
    let advance = query_with(AssertSqlSafe(advance.sql), values);
    let advanced = advance.execute(connection).await.map_err(exec_error)?;
    import::check_advanced(advanced.rows_affected())
}

/// Copies rows with the values of the columns of `table`.
async fn copy<const COLUMNS: usize>(
    db: &Database,
    connection: &mut PgConnection,
    table: LogTable,
    rows: impl ExactSizeIterator<Item = [Value; COLUMNS]>,
) -> Result<()> {
    if rows.len() == 0 {
        return Ok(());
    }
    let names: Vec<&str> = table.columns().iter().map(|column| column.name).collect();
    let sql = format!("COPY {} ({}) FROM STDIN", table.name(), names.join(", "));
    db.statement_log().add(|| sql.clone());
    let mut copy = connection.copy_in_raw(&sql).await.map_err(exec_error)?;
    let mut text = String::with_capacity(2 * PIECE_BYTES);
    for row in rows {
        add_row(&mut text, &row)?;
        if text.len() >= PIECE_BYTES {
            copy.send(text.as_bytes()).await.map_err(exec_error)?;
            text.clear();
        }
    }
    copy.send(text.as_bytes()).await.map_err(exec_error)?;
    copy.finish().await.map_err(exec_error)?;
    Ok(())
}

/// Adds a row in the text format of COPY.
fn add_row(text: &mut String, row: &[Value]) -> Result<()> {
    for (place, value) in row.iter().enumerate() {
        if place > 0 {
            text.push('\t');
        }
        match value {
            Value::String(Some(value)) => add_escaped(text, value),
            Value::Int(Some(value)) => *text += &value.to_string(),
            Value::Bool(Some(value)) => *text += if *value { "t" } else { "f" },
            Value::ChronoDateTime(Some(value)) => *text += &sqlite_text(*value),
            Value::String(None) | Value::Int(None) => *text += r"\N",
            _ => return Err(Error::internal("no column has values of this type")),
        }
    }
    text.push('\n');
    Ok(())
}

fn add_escaped(text: &mut String, mut value: &str) {
    while let Some(place) = value.find(['\\', '\t', '\n', '\r']) {
        *text += &value[..place];
        *text += match value.as_bytes()[place] {
            b'\t' => r"\t",
            b'\n' => r"\n",
            b'\r' => r"\r",
            _ => r"\\",
        };
        value = &value[place + 1..];
    }
    *text += value;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_and_null_is_not_a_text() {
        let texts = ["", r"\N", r"\.", "a\tb\r\nc", r"\\", "\t", "é\n日"];
        let mut row: Vec<Value> = texts.map(Value::from).into();
        row.extend([None::<String>.into(), None::<i32>.into(), (-5).into(), true.into()]);
        let mut text = String::new();
        add_row(&mut text, &row).unwrap();
        let expected =
            ["", r"\\N", r"\\.", r"a\tb\r\nc", r"\\\\", r"\t", r"é\n日", r"\N", r"\N", "-5", "t"];
        assert_eq!(text, expected.join("\t") + "\n");
    }
}
