//! The progress of each import (`callscope_imports`), and the rows of imported databases.

use sea_orm::sea_query::{Expr, ExprTrait, Query, UpdateStatement};
use sea_orm::{ConnectionTrait, SqlErr, Statement};

use super::database::Database;
use super::dialect::Dialect;
use super::transaction::{Fault, retry};
use crate::domain::id_range::IdRange;
use crate::domain::table::LogTable;
use crate::error::{Error, Result};

/// The progress of the import of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The identity of the source: a hash of its content or address.
    pub source: String,
    pub position: Position,
    /// Added to every time of the source.
    pub shift_micros: i64,
    pub finished: bool,
}

/// Where an import continues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Processed rows of a file, or the last processed id of a table.
    pub rows_done: u64,
    /// Ids of a table below it that no row had. A transaction that was still open may have rows with them.
    pub missing: Vec<IdRange>,
}

impl Position {
    fn rows_done(&self) -> i64 {
        i64::try_from(self.rows_done).unwrap_or(i64::MAX)
    }

    /// The stored form of the missing ids.
    fn missing(&self) -> Result<Option<String>> {
        let ranges: Vec<_> = self.missing.iter().map(|it| (it.first, it.last, it.step)).collect();
        let text = (!ranges.is_empty()).then(|| serde_json::to_string(&ranges));
        text.transpose().map_err(Error::internal)
    }

    fn parse(rows_done: i64, missing: Option<&str>) -> Result<Self> {
        let ranges = missing.map(serde_json::from_str::<Vec<(i64, i64, i64)>>);
        let ranges = ranges.transpose().map_err(Error::internal)?.unwrap_or_default().into_iter();
        let missing = ranges.map(|(first, last, step)| IdRange { first, last, step }).collect();
        Ok(Self { rows_done: u64::try_from(rows_done).unwrap_or(0), missing })
    }
}

/// One step of an import, stored in the same transaction as its rows.
#[derive(Clone, Debug)]
pub struct Step {
    pub source: String,
    pub from: Position,
    pub to: Position,
    pub finished: bool,
}

const TABLE: &str = "callscope_imports";

/// Finds the progress of the import of `source`.
pub async fn find(db: &Database, source: &str) -> Result<Option<Import>> {
    let mut query = Query::select();
    query
        .columns(["rows_done", "shift_micros", "finished", "missing"])
        .from(TABLE)
        .and_where(Expr::col("source").eq(source));
    let rows = db.query_all("import.find", &query).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(Import {
        source: source.to_owned(),
        position: Position::parse(
            row.try_get_by_index(0)?,
            row.try_get_by_index::<Option<String>>(3)?.as_deref(),
        )?,
        shift_micros: row.try_get_by_index(1)?,
        finished: row.try_get_by_index(2)?,
    }))
}

/// Stores new imports, all or none. They replace finished imports of the same sources.
pub async fn register(db: &Database, imports: &[Import]) -> Result<()> {
    let registered = retry(|| async move {
        let transaction = db.begin_transaction().await.map_err(Fault::Refused)?;
        let inserted = insert_all(&transaction.inner(), imports).await;
        transaction.end(inserted).await
    });
    registered.await.map_err(Fault::into_error)
}

async fn insert_all(transaction: &impl ConnectionTrait, imports: &[Import]) -> Result<()> {
    for import in imports {
        let mut delete = Query::delete();
        delete
            .from_table(TABLE)
            .and_where(Expr::col("source").eq(&import.source))
            .and_where(Expr::col("finished").eq(true));
        transaction.execute(&delete).await?;
        let mut insert = Query::insert();
        insert
            .into_table(TABLE)
            .columns(["source", "rows_done", "shift_micros", "finished"])
            .values([
                import.source.clone().into(),
                import.position.rows_done().into(),
                import.shift_micros.into(),
                import.finished.into(),
            ])
            .map_err(Error::internal)?;
        transaction.execute(&insert).await.map_err(|error| match error.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(_)) => already_running(),
            _ => error.into(),
        })?;
    }
    Ok(())
}

/// Stores one step. Fails if another import of the same source has stored it.
pub(super) async fn advance(transaction: &impl ConnectionTrait, step: &Step) -> Result<()> {
    let advanced = transaction.execute(&advance_statement(step)?).await?;
    check_advanced(advanced.rows_affected())
}

/// Stores one step, unless another import of the same source has stored it.
pub(super) fn advance_statement(step: &Step) -> Result<UpdateStatement> {
    let is_unchanged = match step.from.missing()? {
        Some(missing) => Expr::col("missing").eq(missing),
        None => Expr::col("missing").is_null(),
    };
    let mut update = Query::update();
    update
        .table(TABLE)
        .value("rows_done", step.to.rows_done())
        .value("missing", step.to.missing()?)
        .value("finished", step.finished)
        .and_where(Expr::col("source").eq(&step.source))
        .and_where(Expr::col("rows_done").eq(step.from.rows_done()))
        .and_where(is_unchanged);
    Ok(update)
}

/// Fails if [`advance_statement`] has changed no row.
pub(super) fn check_advanced(rows: u64) -> Result<()> {
    if rows == 1 { Ok(()) } else { Err(already_running()) }
}

fn already_running() -> Error {
    Error::bad_input("source", "another import of this source is running; this one stops")
}

/// Marks the import of a source as finished, after its last batch.
pub async fn finish(db: &Database, step: &Step) -> Result<()> {
    let finished = retry(|| async move {
        let transaction = db.begin_transaction().await.map_err(Fault::Refused)?;
        let advanced = advance(&transaction.inner(), step).await;
        transaction.end(advanced).await
    });
    finished.await.map_err(Fault::into_error)
}

/// Prepares SQLite's writer for a long run of inserts: fewer, larger checkpoints, and a page cache that
/// holds the index by key for many keys. Durability does not change.
pub async fn tune(db: &Database) -> Result<()> {
    if db.dialect() == Dialect::Sqlite {
        let pragmas = "PRAGMA wal_autocheckpoint = 16384; PRAGMA cache_size = -65536";
        db.set_up_writer(pragmas).await?;
    }
    Ok(())
}

/// One row of an imported database, every column as text.
pub struct SourceRow {
    pub id: i64,
    pub fields: Vec<Option<String>>,
}

/// The highest id of `table`, 0 when it is empty.
pub async fn last_id(db: &Database, table: LogTable) -> Result<i64> {
    let sql = format!("SELECT MAX(id) FROM {}", table.name());
    let rows = db
        .query_all_raw("import.last_id", Statement::from_string(db.dialect().backend(), sql))
        .await?;
    let Some(row) = rows.first() else { return Ok(0) };
    // INTEGER of MySQL and PostgreSQL has 32 bits; the id of another table may have 64.
    let wide = row.try_get_by_index::<Option<i64>>(0);
    let id =
        wide.or_else(|_| row.try_get_by_index::<Option<i32>>(0).map(|id| id.map(i64::from)))?;
    Ok(id.unwrap_or(0))
}

/// The next rows of `table` within these ranges of ids, by id, at most `limit`.
pub async fn list_within(
    db: &Database,
    table: LogTable,
    ranges: &[IdRange],
    limit: u64,
) -> Result<Vec<SourceRow>> {
    let text = if db.dialect() == Dialect::MySql { "CHAR" } else { "TEXT" };
    let columns = table.columns();
    let list = columns.iter().map(|column| format!(", CAST({} AS {text})", column.name));
    let (list, table) = (list.collect::<String>(), table.name());
    let ranges = ranges.iter().map(|IdRange { first, last, step }| match step {
        1 => format!("id BETWEEN {first} AND {last}"),
        _ => format!("(id BETWEEN {first} AND {last} AND (id - {first}) % {step} = 0)"),
    });
    let ranges = ranges.collect::<Vec<_>>().join(" OR ");
    // Qualified: PostgreSQL would sort by the selected text otherwise.
    let sql = format!(
        "SELECT CAST(id AS {text}){list} FROM {table} WHERE {ranges} ORDER BY {table}.id LIMIT {limit}"
    );
    let statement = Statement::from_string(db.dialect().backend(), sql);
    let rows = db.query_all_raw("import.list_within", statement).await?;
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
