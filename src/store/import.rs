//! How far each import came (`callscope_imports`), and the rows of the databases that are imported.

use sea_orm::sea_query::{Alias, Expr, ExprTrait, Query};
use sea_orm::{ConnectionTrait, DbBackend, SqlErr, Statement};

use super::database::Database;
use super::dialect::Dialect;
use crate::error::{Error, Result};

/// What is kept about one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// Names the source: a hash of its content, or of its address.
    pub source: String,
    /// Rows of a file, or the last id of a table, that are dealt with.
    pub rows_done: i64,
    /// What is added to every time of the source.
    pub shift_micros: i64,
    pub finished: bool,
}

/// One step of an import, stored in the same transaction as the rows that it counts.
#[derive(Clone, Debug)]
pub struct Step {
    pub source: String,
    pub from: i64,
    pub to: i64,
    pub finished: bool,
}

fn table() -> Alias {
    Alias::new("callscope_imports")
}

/// What is known about `source`.
pub async fn find(db: &Database, source: &str) -> Result<Option<Import>> {
    let mut query = Query::select();
    query
        .columns(["rows_done", "shift_micros", "finished"])
        .from(table())
        .and_where(Expr::col("source").eq(source));
    let rows = db.query_all("import.find", &query).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(Import {
        source: source.to_owned(),
        rows_done: row.try_get_by_index(0)?,
        shift_micros: row.try_get_by_index(1)?,
        finished: row.try_get_by_index(2)?,
    }))
}

/// Enters `imports`, in place of finished ones of the same sources, all of them or none.
pub async fn register(db: &Database, imports: &[Import]) -> Result<()> {
    let transaction = db.begin().await?;
    for import in imports {
        let mut delete = Query::delete();
        delete
            .from_table(table())
            .and_where(Expr::col("source").eq(&import.source))
            .and_where(Expr::col("finished").eq(true));
        transaction.inner().execute(&delete).await?;
        let mut insert = Query::insert();
        insert
            .into_table(table())
            .columns(["source", "rows_done", "shift_micros", "finished"])
            .values([
                import.source.clone().into(),
                import.rows_done.into(),
                import.shift_micros.into(),
                import.finished.into(),
            ])
            .map_err(Error::internal)?;
        transaction.inner().execute(&insert).await.map_err(|error| match error.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(_)) => already_running(),
            _ => error.into(),
        })?;
    }
    transaction.commit().await
}

/// Takes one step, unless another import of the same source took it first.
pub(super) async fn advance(transaction: &impl ConnectionTrait, step: &Step) -> Result<()> {
    let mut update = Query::update();
    update
        .table(table())
        .value("rows_done", step.to)
        .value("finished", step.finished)
        .and_where(Expr::col("source").eq(&step.source))
        .and_where(Expr::col("rows_done").eq(step.from));
    if transaction.execute(&update).await?.rows_affected() == 1 {
        return Ok(());
    }
    Err(already_running())
}

fn already_running() -> Error {
    Error::bad_input("source", "another import of this source is running; this one stops")
}

/// Ends the import of a source after its last batch.
pub async fn finish(db: &Database, step: &Step) -> Result<()> {
    let transaction = db.begin().await?;
    advance(&transaction.inner(), step).await?;
    transaction.commit().await
}

/// Prepares SQLite's writer for a long run of inserts: fewer, larger moves from the write-ahead log
/// to the file, and room for the places of many keys in the index by key. As durable as before.
pub async fn tune(db: &Database) -> Result<()> {
    if db.dialect() == Dialect::Sqlite {
        let pragmas = "PRAGMA wal_autocheckpoint = 16384; PRAGMA cache_size = -65536";
        db.set_up_writer(pragmas).await?;
    }
    Ok(())
}

/// One row of another database, every column as text.
pub struct SourceRow {
    pub id: i64,
    pub fields: Vec<Option<String>>,
}

/// The highest id of `table`, 0 when it is empty.
pub async fn last_id(db: &Database, table: &str) -> Result<i64> {
    let sql = format!("SELECT MAX(id) FROM {table}");
    let rows = db.query_all_raw("import.last_id", Statement::from_string(backend(db), sql)).await?;
    let Some(row) = rows.first() else { return Ok(0) };
    // MySQL's and PostgreSQL's INTEGER is 32 bits wide, a table of the user's own may hold 64.
    let wide = row.try_get_by_index::<Option<i64>>(0);
    let id =
        wide.or_else(|_| row.try_get_by_index::<Option<i32>>(0).map(|id| id.map(i64::from)))?;
    Ok(id.unwrap_or(0))
}

/// The next rows of `table` by id: after `after`, up to `last`, at most `limit`. `table` and
/// `columns` are names of ours, never input.
pub async fn list_after(
    db: &Database,
    (table, columns): (&str, &[&str]),
    (after, last): (i64, i64),
    limit: u64,
) -> Result<Vec<SourceRow>> {
    let (text, marks) = match db.dialect() {
        Dialect::MySql => ("CHAR", ["?", "?", "?"]),
        Dialect::Postgres => ("TEXT", ["$1", "$2", "$3"]),
        Dialect::Sqlite => ("TEXT", ["?", "?", "?"]),
    };
    let list: String = columns.iter().map(|column| format!(", CAST({column} AS {text})")).collect();
    let [after_mark, last_mark, limit_mark] = marks;
    // By the table's id: PostgreSQL takes a bare one as the text that is selected.
    let sql = format!(
        "SELECT CAST(id AS {text}){list} FROM {table} \
         WHERE id > {after_mark} AND id <= {last_mark} ORDER BY {table}.id LIMIT {limit_mark}"
    );
    let values = [after.into(), last.into(), limit.into()];
    let statement = Statement::from_sql_and_values(backend(db), sql, values);
    let rows = db.query_all_raw("import.list_after", statement).await?;
    rows.iter()
        .map(|row| {
            let id: String = row.try_get_by_index(0)?;
            let fields = (1..=columns.len()).map(|index| row.try_get_by_index(index));
            Ok(SourceRow {
                id: id.parse().map_err(Error::internal)?,
                fields: fields.collect::<Result<_, _>>()?,
            })
        })
        .collect()
}

fn backend(db: &Database) -> DbBackend {
    match db.dialect() {
        Dialect::Sqlite => DbBackend::Sqlite,
        Dialect::Postgres => DbBackend::Postgres,
        Dialect::MySql => DbBackend::MySql,
    }
}
