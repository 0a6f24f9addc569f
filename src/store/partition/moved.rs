//! Months on other servers of PostgreSQL. A month is copied to the other server by `postgres_fdw`, compared, and becomes a
//! foreign table, which is read-only. It is no partition of the gateway's table any more, so that nothing that writes, and
//! nothing that reads recent rows, needs the other server ([`crate::store::source`]). The statistics keep its calls.

use std::ops::Range;

use chrono::{DateTime, NaiveDateTime, Utc};
use sea_orm::Statement;
use tokio::time::{Duration, sleep, timeout};

use super::tables::moved_months;
use super::{
    ATTEMPTS, PAUSE, Partition, Times, change, change_once, find_month, keep_statistics,
    partitions_of, range,
};
use crate::domain::month::Month;
use crate::domain::table::{ID, LogTable};
use crate::error::{Error, Result};
use crate::store::database::Database;
use crate::store::inspect;

/// The rows of a step of the copy.
const STEP: u64 = 20_000;
/// The comment of the table on the other server. A table without it is not touched.
const COMMENT: &str = "callscope: a month of another server";
/// The time limit of a check of another server.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// The months of a table on other servers, in the order of their times.
pub async fn list(db: &Database, table: LogTable) -> Result<Vec<Partition>> {
    partitions_of(db, table, moved_months(table)).await
}

/// The times of the months of a table on other servers.
pub(in crate::store) async fn spans(
    db: &Database,
    table: LogTable,
) -> Result<Vec<Range<NaiveDateTime>>> {
    if !db.has_partitions() {
        return Ok(vec![]);
    }
    let span = |part: Partition| match part.times {
        Times::Range(Some(since), until) => Some(since..until),
        _ => None,
    };
    Ok(list(db, table).await?.into_iter().filter_map(span).collect())
}

/// Moves the rows of a month to another server, a `SERVER` of `postgres_fdw`. If it is interrupted, a repetition continues:
/// only the last transaction removes the rows from this server, after it has compared all of them. The classes of its error
/// logs stay as they are.
pub async fn move_month(
    db: &Database,
    name: &str,
    server: &str,
    now: DateTime<Utc>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<()> {
    check_server(db, server).await?;
    let part = find_month(db, name).await?;
    let Times::Range(Some(since), until) = part.times else { return Err(Error::Busy) };
    if until > db.zone().to_stored(now) {
        return Err(Error::bad_input("name", "only a month that is over can be moved"));
    }
    let month = Move { db, part: &part, server, columns: columns(db, name).await? };
    month.create().await?;
    for _ in 0..ATTEMPTS {
        month.copy(progress).await?;
        keep_statistics(db, &part, now).await?;
        if change_once(db, &month.switch(Month::of(since))).await? {
            // Without statistics, the planner would read a month for a page of it.
            return change(db, &[format!("ANALYZE {name}")]).await;
        }
        sleep(PAUSE).await;
    }
    Err(Error::Busy)
}

/// Fails unless `postgres_fdw` can use this server.
async fn check_server(db: &Database, server: &str) -> Result<()> {
    let is_name = |text: &str| {
        !text.is_empty()
            && text.chars().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_')
    };
    if !is_name(server) {
        let message = "the name of a server has lower-case letters, digits and underscores";
        return Err(Error::bad_input("to", message));
    }
    let extensions = "SELECT CAST(extname AS TEXT) FROM pg_extension WHERE extname IN ('postgres_fdw', 'dblink')";
    if inspect::texts(db, extensions.to_owned()).await?.len() < 2 {
        let message = "CREATE EXTENSION postgres_fdw and CREATE EXTENSION dblink are required";
        return Err(Error::bad_input("to", message));
    }
    let options = format!(
        "SELECT COALESCE(array_to_string(srvoptions, ' '), '') FROM pg_foreign_server \
         JOIN pg_foreign_data_wrapper AS wrapper ON wrapper.oid = srvfdw \
         WHERE srvname = '{server}' AND fdwname = 'postgres_fdw'"
    );
    let Some(options) = inspect::texts(db, options).await?.pop() else {
        let message =
            format!("postgres_fdw has no server `{server}`: CREATE SERVER, CREATE USER MAPPING");
        return Err(Error::bad_input("to", message));
    };
    if !options.contains("connect_timeout=") {
        let message = format!(
            "queries could hang while `{server}` is down: ALTER SERVER {server} OPTIONS (ADD connect_timeout '2')"
        );
        return Err(Error::bad_input("to", message));
    }
    Ok(())
}

/// A column of a partition.
struct Column {
    name: String,
    /// Its name, type and constraint.
    definition: String,
    is_time: bool,
}

async fn columns(db: &Database, name: &str) -> Result<Vec<Column>> {
    let sql = format!(
        "SELECT quote_ident(attname) AS name, format_type(atttypid, atttypmod) AS kind, attnotnull AS required \
         FROM pg_attribute WHERE attrelid = to_regclass('{name}') AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
    );
    let statement = Statement::from_string(db.dialect().backend(), sql);
    let mut columns = vec![];
    for row in db.query_all_raw("partition.columns", statement).await? {
        let (name, kind): (String, String) = (row.try_get_by("name")?, row.try_get_by("kind")?);
        let required = if row.try_get_by("required")? { " NOT NULL" } else { "" };
        let definition = format!("{name} {kind}{required}");
        columns.push(Column { is_time: kind.starts_with("timestamp"), name, definition });
    }
    Ok(columns)
}

/// The move of a month.
struct Move<'a> {
    db: &'a Database,
    part: &'a Partition,
    server: &'a str,
    columns: Vec<Column>,
}

impl Move<'_> {
    /// The foreign table, until it replaces the partition.
    fn copied(&self) -> String {
        format!("{}_moving", self.part.name)
    }

    /// Creates the table on the other server and its foreign table here.
    async fn create(&self) -> Result<()> {
        let name = &self.part.name;
        let state = format!(
            "SELECT CASE WHEN to_regclass('{name}') IS NULL THEN 'missing' \
             ELSE COALESCE(obj_description(to_regclass('{name}'), 'pg_class'), '') END"
        );
        let definitions: Vec<&str> = self.columns.iter().map(|it| it.definition.as_str()).collect();
        let definitions = definitions.join(", ");
        match self.query_there(&state, "state TEXT").await?.pop().as_deref() {
            Some(COMMENT) => {}
            Some("missing") => {
                let mut create = vec![
                    format!("CREATE TABLE {name} ({definitions})"),
                    format!("COMMENT ON TABLE {name} IS '{COMMENT}'"),
                ];
                create.extend(self.indexes().await?);
                self.execute_there(&create.join("; ")).await?;
            }
            _ => {
                let message = format!("the server `{}` has another table {name}", self.server);
                return Err(Error::bad_input("to", message));
            }
        }
        let schema = "SELECT current_schema()";
        let schema = self.query_there(schema, "name TEXT").await?.pop().unwrap_or_default();
        let (copied, server) = (self.copied(), self.server);
        // Rows of an INSERT, and of a step of a query, which are in memory at once.
        let (batch, fetch) = match self.part.table {
            LogTable::Calls => (1_000, 1_000),
            LogTable::ErrorLogs => (20, 100),
        };
        change(
            self.db,
            &[
                "SET LOCAL client_min_messages = warning".to_owned(),
                format!("DROP FOREIGN TABLE IF EXISTS {copied}"),
                format!(
                    "CREATE FOREIGN TABLE {copied} ({definitions}) SERVER {server} \
                     OPTIONS (schema_name '{schema}', table_name '{name}', batch_size '{batch}', \
                     fetch_size '{fetch}')"
                ),
            ],
        )
        .await
    }

    /// The statements that create the indexes of the partition on the other server, except for those of extensions.
    async fn indexes(&self) -> Result<Vec<String>> {
        let name = &self.part.name;
        let sql = format!(
            "SELECT substring(pg_get_indexdef(indexrelid) FROM ' USING btree .*') FROM pg_index \
             WHERE indrelid = to_regclass('{name}')"
        );
        let found = inspect::texts(self.db, sql).await?;
        Ok(found.into_iter().map(|using| format!("CREATE INDEX ON {name}{using}")).collect())
    }

    /// Copies the rows in steps, except for those that are copied already.
    async fn copy(&self, progress: &(dyn Fn(u64) + Sync)) -> Result<()> {
        let (name, copied) = (&self.part.name, self.copied());
        let (mut after, mut rows) = (i64::MIN, 0);
        loop {
            let last = format!(
                "SELECT CAST(MAX({ID}) AS TEXT) FROM (SELECT {ID} FROM {name} WHERE {ID} > {after} \
                 ORDER BY {ID} LIMIT {STEP}) AS step"
            );
            let last = inspect::number(self.db, last).await?;
            let ids = match last {
                Some(last) => format!("{ID} > {after} AND {ID} <= {last}"),
                // Behind the last row, the copy may have more.
                None => format!("{ID} > {after}"),
            };
            let content = self.content(&ids);
            let here = inspect::texts(self.db, content.clone()).await?;
            if here != self.query_there(&content, "content TEXT").await? {
                change(
                    self.db,
                    &[
                        format!("DELETE FROM {copied} WHERE {ids}"),
                        format!(
                            "INSERT INTO {copied} SELECT * FROM {name} WHERE {ids} ORDER BY {ID}"
                        ),
                    ],
                )
                .await?;
            }
            let Some(last) = last else { return Ok(()) };
            let counted =
                here.first().and_then(|content| content.split(' ').next()?.parse::<u64>().ok());
            rows += counted.unwrap_or(0);
            progress(rows);
            after = last;
        }
    }

    /// A statement that returns the number of the rows and a sum of their hashes.
    fn content(&self, condition: &str) -> String {
        let values: Vec<String> = self
            .columns
            .iter()
            .map(|Column { name, is_time, .. }| match is_time {
                // As text, it would depend on a setting of the session.
                true => format!("to_char({name}, 'YYYY-MM-DD HH24:MI:SS.US')"),
                false => name.clone(),
            })
            .collect();
        format!(
            "SELECT COUNT(*) || ' ' || COALESCE(SUM(CAST(CAST(CAST('x' || left(md5(CAST(ROW({}) AS TEXT)), 16) AS \
             BIT(64)) AS BIGINT) AS NUMERIC)), 0) FROM {} WHERE {condition}",
            values.join(", "),
            self.part.name
        )
    }

    /// Statements that replace the partition by the foreign table, in one transaction. They fail, as if another transaction
    /// had a lock, if both differ.
    fn switch(&self, month: Month) -> Vec<String> {
        let (table, name, copied) = (self.part.table, &self.part.name, self.copied());
        let (parent, moved) = (table.name(), moved_months(table));
        let content = self.content("TRUE");
        vec![
            // From now on, no row is added to it.
            format!("LOCK TABLE {name} IN SHARE MODE"),
            format!(
                "DO $check$ BEGIN IF ({content}) IS DISTINCT FROM ({}) THEN RAISE EXCEPTION 'rows were added or deleted' \
                 USING ERRCODE = 'lock_not_available'; END IF; END $check$",
                self.there(&content, "content TEXT")
            ),
            format!("LOCK TABLE ONLY {parent} IN ACCESS EXCLUSIVE MODE"),
            format!("LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE"),
            format!("DROP TABLE {name}"),
            format!("ALTER FOREIGN TABLE {copied} RENAME TO {name}"),
            format!("ALTER FOREIGN TABLE {name} OPTIONS (DROP batch_size, ADD updatable 'false')"),
            format!("ALTER TABLE {moved} ATTACH PARTITION {name} {}", range(month)),
        ]
    }

    /// The statement that returns the rows of `sql` on the other server.
    fn there(&self, sql: &str, columns: &str) -> String {
        format!("SELECT * FROM dblink('{}', $there${sql}$there$) AS found({columns})", self.server)
    }

    async fn query_there(&self, sql: &str, columns: &str) -> Result<Vec<String>> {
        inspect::texts(self.db, self.there(sql, columns)).await
    }

    async fn execute_there(&self, sql: &str) -> Result<()> {
        change(self.db, &[format!("SELECT dblink_exec('{}', $there${sql}$there$)", self.server)])
            .await
    }
}

/// Drops the oldest month on another server if all its rows are older than `before`; returns the number of its rows.
pub async fn drop_oldest(
    db: &Database,
    table: LogTable,
    before: DateTime<Utc>,
) -> Result<Option<u64>> {
    let end = db.zone().to_stored(before);
    let Some(part) = list(db, table).await?.into_iter().next() else { return Ok(None) };
    let (Times::Range(_, until), Some(server)) = (part.times, &part.server) else {
        return Ok(None);
    };
    if until > end {
        return Ok(None);
    }
    let name = &part.name;
    // If an earlier attempt died before its COMMIT, the table is missing there.
    let exists = format!("SELECT CAST(to_regclass('{name}') AS TEXT)");
    let exists =
        format!("SELECT name FROM dblink('{server}', $there${exists}$there$) AS found(name TEXT)");
    let rows = match inspect::texts(db, exists).await?.is_empty() {
        true => None,
        false => inspect::number(db, format!("SELECT CAST(COUNT(*) AS TEXT) FROM {name}")).await?,
    };
    change(
        db,
        &[
            format!("DROP FOREIGN TABLE {name}"),
            format!("SELECT dblink_exec('{server}', 'DROP TABLE IF EXISTS {name}')"),
        ],
    )
    .await?;
    tracing::info!(partition = name, server, rows, "dropped a month on another server");
    Ok(Some(rows.and_then(|rows| u64::try_from(rows).ok()).unwrap_or(0)))
}

/// The other servers that do not answer, each with its months.
pub async fn unavailable(db: &Database) -> Result<Vec<String>> {
    let mut months = vec![];
    for table in LogTable::ALL {
        months.extend(list(db, table).await?);
    }
    let mut servers: Vec<&str> = months.iter().filter_map(|it| it.server.as_deref()).collect();
    servers.sort_unstable();
    servers.dedup();
    let mut unavailable = vec![];
    for server in servers {
        let of_server = months.iter().filter(|month| month.server.as_deref() == Some(server));
        let names: Vec<&str> = of_server.map(|month| month.name.as_str()).collect();
        let Some(name) = names.first() else { continue };
        let check = inspect::texts(db, format!("SELECT 'yes' FROM {name} LIMIT 1"));
        let answered = timeout(CHECK_TIMEOUT, check).await;
        if !answered.is_ok_and(|answered| answered.is_ok()) {
            unavailable.push(format!("server {server} with {}", names.join(", ")));
        }
    }
    Ok(unavailable)
}
