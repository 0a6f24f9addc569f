//! Months on other servers of PostgreSQL. A month is copied to the other server by `postgres_fdw`, compared, and becomes a
//! foreign table, which is read-only. It leaves the gateway's table, so that nothing that writes, and nothing that
//! reads recent rows, needs the other server ([`crate::store::source`]). The statistics keep its calls.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::Statement;
use tokio::time::sleep;

use super::tables::moved_months as parent_of;
use super::{
    ATTEMPTS, Change, PAUSE, Partition, Times, change, change_once, detached_months, find_month,
    fold, has_unfolded, moved_months, not_folded, range,
};
use crate::domain::month::Month;
use crate::domain::table::{ID, LogTable};
use crate::error::{Error, Result};
use crate::store::database::Database;
use crate::store::rollup::Deletable;
use crate::store::{classification, inspect};

/// The rows of a step of the copy.
const STEP: u64 = 20_000;
/// Days after its end from which a month can be moved: diagnoses of the last day read the 31 days before.
const YOUNGEST_DAYS: i64 = 32;

/// Moves the rows of a month to another server, a `SERVER` of `postgres_fdw`. If it is interrupted, a repetition continues:
/// only the last transaction removes the rows from this server, after all of them were compared.
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
    if Month::of(since).start() != since || Month::of(since).plus(1).start() != until {
        return Err(Error::bad_input("name", "only a partition of one month can be moved"));
    }
    if until + TimeDelta::days(YOUNGEST_DAYS) > db.zone().to_stored(now) {
        let message = format!("only a month that ended {YOUNGEST_DAYS} days ago can be moved");
        return Err(Error::bad_input("name", message));
    }
    if part.table == LogTable::ErrorLogs && !db.keeps_failure_classes() {
        let message =
            "error logs that are moved need their failure classes: --failure-classes true";
        return Err(Error::bad_input("name", message));
    }
    let month = Move::new(db, &part, server).await?;
    month.create().await?;
    for _ in 0..ATTEMPTS {
        let copied = month.copy(progress).await?;
        if part.table == LogTable::ErrorLogs {
            classification::add_all(db).await?;
        }
        match fold(db, &part, now).await? {
            None => {}
            Some(Deletable::All) => {
                let message =
                    "calls that are moved need rollups for their statistics: --rollups true";
                return Err(Error::bad_input("name", message));
            }
            // Calls that appear from now on prevent the switch.
            Some(folded) if has_unfolded(db, name, &folded).await? => return Err(not_folded()),
            Some(_) => {}
        }
        for _ in 0..ATTEMPTS {
            match change_once(db, &month.switch(Month::of(since), &copied)).await? {
                Change::Done => {
                    month.analyze().await;
                    return Ok(());
                }
                Change::Locked => sleep(PAUSE).await,
                Change::Conflict => break,
            }
        }
    }
    Err(Error::Busy)
}

/// Fails unless `postgres_fdw` can use this server.
async fn check_server(db: &Database, server: &str) -> Result<()> {
    let refused = |message: String| Err(Error::bad_input("to", message));
    let is_plain = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_';
    if server.is_empty() || !server.chars().all(is_plain) {
        let message = "the name of a server has lower-case letters, digits and underscores";
        return refused(message.to_owned());
    }
    let extensions = "SELECT CAST(extname AS TEXT) FROM pg_extension WHERE extname IN ('postgres_fdw', 'dblink')";
    if inspect::texts(db, extensions.to_owned()).await?.len() < 2 {
        let message = "CREATE EXTENSION postgres_fdw and CREATE EXTENSION dblink are required";
        return refused(message.to_owned());
    }
    let options = format!(
        "SELECT COALESCE(array_to_string(srvoptions, ' '), '') FROM pg_foreign_server \
         JOIN pg_foreign_data_wrapper AS wrapper ON wrapper.oid = srvfdw \
         WHERE srvname = '{server}' AND fdwname = 'postgres_fdw'"
    );
    let Some(options) = inspect::texts(db, options).await?.pop() else {
        return refused(format!(
            "postgres_fdw has no server `{server}`: CREATE SERVER, CREATE USER MAPPING"
        ));
    };
    for (option, value) in [("connect_timeout", 2), ("tcp_user_timeout", 10_000)] {
        if !options.contains(&format!("{option}=")) {
            return refused(format!(
                "queries could hang while `{server}` is down: ALTER SERVER {server} OPTIONS (ADD {option} '{value}')"
            ));
        }
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

async fn columns(db: &Database, part: &Partition) -> Result<Vec<Column>> {
    let sql = format!(
        "SELECT CAST(attname AS TEXT) AS name, format_type(atttypid, atttypmod) AS kind, attnotnull AS required \
         FROM pg_attribute WHERE attrelid = to_regclass('{}') AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        part.name
    );
    let statement = Statement::from_string(db.dialect().backend(), sql);
    let mut columns = vec![];
    for row in db.query_all_raw("partition.columns", statement).await? {
        let (name, kind): (String, String) = (row.try_get_by("name")?, row.try_get_by("kind")?);
        let required = if row.try_get_by("required")? { " NOT NULL" } else { "" };
        let definition = format!("{name} {kind}{required}");
        columns.push(Column { is_time: kind.starts_with("timestamp"), name, definition });
    }
    let known = [ID].into_iter().chain(part.table.columns().iter().map(|column| column.name));
    let found = columns.iter().map(|column| column.name.as_str());
    if known.collect::<BTreeSet<_>>() != found.collect() {
        let message = "only tables with the columns that Callscope creates can be moved";
        return Err(Error::bad_input("name", message));
    }
    Ok(columns)
}

/// The move of a month.
struct Move<'a> {
    db: &'a Database,
    part: &'a Partition,
    other: OtherServer<'a>,
    columns: Vec<Column>,
}

/// The rows of a month, which are on both servers.
#[derive(Default)]
struct Copied {
    rows: u64,
    id_sum: i128,
    /// All earlier transactions had ended before the copy.
    transaction: u32,
}

impl<'a> Move<'a> {
    async fn new(db: &'a Database, part: &'a Partition, server: &'a str) -> Result<Self> {
        let columns = columns(db, part).await?;
        Ok(Self { db, part, other: OtherServer { db, name: server }, columns })
    }

    /// The foreign table, until it replaces the partition.
    fn copy_name(&self) -> String {
        format!("{}_moving", self.part.name)
    }

    /// Creates the table on the other server and its foreign table here.
    async fn create(&self) -> Result<()> {
        let encoding = "SELECT current_setting('server_encoding')";
        let here = inspect::texts(self.db, encoding.to_owned()).await?;
        if here != self.other.query(encoding).await? {
            return Err(Error::bad_input("to", "both databases need the same encoding"));
        }
        let name = &self.part.name;
        let definitions: Vec<&str> = self.columns.iter().map(|it| it.definition.as_str()).collect();
        let definitions = definitions.join(", ");
        if !self.other.has_month(name).await? {
            let comment = comment(self.db).await?;
            let mut create = vec![
                format!("CREATE TABLE {name} ({definitions})"),
                format!("COMMENT ON TABLE {name} IS '{comment}'"),
            ];
            create.extend(self.indexes().await?);
            self.other.execute(&create.join("; ")).await?;
        }
        let schema = self.other.query("SELECT CAST(current_schema() AS TEXT)").await?;
        let schema = schema.into_iter().next().unwrap_or_default();
        let (copy, server) = (self.copy_name(), self.other.name);
        // Rows of an INSERT, and of a step of a query, which are in memory at once.
        let (batch, fetch) = match self.part.table {
            LogTable::Calls => (1_000, 1_000),
            LogTable::ErrorLogs => (20, 100),
        };
        change(
            self.db,
            &[
                "SET LOCAL client_min_messages = warning".to_owned(),
                format!("DROP FOREIGN TABLE IF EXISTS {copy}"),
                format!(
                    "CREATE FOREIGN TABLE {copy} ({definitions}) SERVER {server} \
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
    async fn copy(&self, progress: &(dyn Fn(u64) + Sync)) -> Result<Copied> {
        let (name, copy) = (&self.part.name, self.copy_name());
        let ended = "SELECT CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT)";
        let ended = inspect::number(self.db, ended.to_owned()).await?.unwrap_or(0);
        // Without its epoch.
        let transaction = (ended & i64::from(u32::MAX)) as u32;
        let mut copied = Copied { transaction, ..Copied::default() };
        let (mut after, mut attempts) = (i64::MIN, 0);
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
            let mut here = inspect::texts(self.db, content.clone()).await?;
            if here != self.other.query(&content).await? {
                change(
                    self.db,
                    &[
                        // Fails if another command has moved the month.
                        format!("LOCK TABLE {name} IN ACCESS SHARE MODE"),
                        format!("DELETE FROM {copy} WHERE {ids}"),
                        format!(
                            "INSERT INTO {copy} SELECT * FROM {name} WHERE {ids} ORDER BY {ID}"
                        ),
                    ],
                )
                .await?;
                here = inspect::texts(self.db, content.clone()).await?;
                if here != self.other.query(&content).await? {
                    // Rows were added or deleted meanwhile.
                    attempts += 1;
                    match attempts < ATTEMPTS {
                        true => continue,
                        false => return Err(Error::Busy),
                    }
                }
            }
            attempts = 0;
            let here = here.first().map(String::as_str).unwrap_or_default();
            let mut numbers = here.split(' ').map(str::parse::<i128>);
            let mut next = || numbers.next().and_then(|number| number.ok()).unwrap_or(0);
            copied.rows += u64::try_from(next()).unwrap_or(0);
            copied.id_sum += next();
            let Some(last) = last else { return Ok(copied) };
            progress(copied.rows);
            after = last;
        }
    }

    /// A statement that returns the number of the rows, the sum of their ids, and the sum of their hashes.
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
            "SELECT COUNT(*) || ' ' || COALESCE(SUM({ID}), 0) || ' ' || \
             COALESCE(SUM(CAST(CAST(CAST('x' || left(md5(CAST(ROW({}) AS TEXT)), 16) AS BIT(64)) AS BIGINT) AS NUMERIC)), 0) \
             FROM {} WHERE {condition}",
            values.join(", "),
            self.part.name
        )
    }

    /// Statements that replace the partition by the foreign table, in one transaction. They fail with a conflict if rows
    /// have changed since the copy.
    fn switch(&self, month: Month, copied: &Copied) -> Vec<String> {
        let (table, name, copy) = (self.part.table, &self.part.name, self.copy_name());
        let (parent, moved, server) = (table.name(), parent_of(table), self.other.name);
        let Copied { rows, id_sum, transaction } = copied;
        let found = format!("SELECT COUNT(*) || ' ' || COALESCE(SUM({ID}), 0) FROM {name}");
        let is_new = format!("age(xmin) BETWEEN 0 AND age(CAST('{transaction}' AS xid))");
        let check = |condition: &str| {
            format!(
                "DO $check$ BEGIN IF {condition} THEN RAISE EXCEPTION 'rows have changed' \
                 USING ERRCODE = 'serialization_failure'; END IF; END $check$"
            )
        };
        let lock = format!("LOCK TABLE ONLY {parent} IN ACCESS EXCLUSIVE MODE");
        vec![
            // Whether the last lock can be had, which is released at once.
            format!(
                "DO $lock$ BEGIN {lock}; RAISE EXCEPTION 'release' USING ERRCODE = 'CS000'; \
                 EXCEPTION WHEN SQLSTATE 'CS000' THEN NULL; END $lock$"
            ),
            // From now on, no other command changes the copy.
            format!("ALTER FOREIGN TABLE {copy} RENAME TO {name}_moved"),
            check(&format!(
                "({}) <> '{rows} {id_sum}' OR (SELECT srvname FROM pg_foreign_table \
                 JOIN pg_foreign_server AS server ON server.oid = ftserver \
                 WHERE ftrelid = to_regclass('{name}_moved')) <> '{server}'",
                self.other.statement(&found)
            )),
            // From now on, no row is added or deleted.
            format!("LOCK TABLE {name} IN SHARE MODE"),
            check(&format!(
                "EXISTS (SELECT FROM {name} WHERE {is_new}) OR ({found}) <> '{rows} {id_sum}'"
            )),
            lock,
            format!("LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE"),
            format!("DROP TABLE {name}"),
            format!("ALTER FOREIGN TABLE {name}_moved RENAME TO {name}"),
            format!("ALTER FOREIGN TABLE {name} OPTIONS (DROP batch_size, ADD updatable 'false')"),
            format!("COMMENT ON FOREIGN TABLE {name} IS 'callscope: {rows} rows'"),
            format!("ALTER TABLE {moved} ATTACH PARTITION {name} {}", range(month)),
        ]
    }

    /// Without statistics, the planner would read a whole month for a page of it.
    async fn analyze(&self) {
        let name = &self.part.name;
        if let Err(error) = change(self.db, &[format!("ANALYZE {name}")]).await {
            tracing::warn!(%error, partition = name, "the month is moved; run ANALYZE for fast lists of it");
        }
    }
}

/// The comment of a month on another server. Of two databases with the same other server, each has its own months.
async fn comment(db: &Database) -> Result<String> {
    let owner = "SELECT (SELECT system_identifier FROM pg_control_system()) || ' ' || \
                 (SELECT oid FROM pg_database WHERE datname = current_database()) || ' ' || current_schema()";
    let owner = inspect::texts(db, owner.to_owned()).await?.pop().unwrap_or_default();
    Ok(format!("callscope: a month of {owner}"))
}

/// A server of `postgres_fdw`.
struct OtherServer<'a> {
    db: &'a Database,
    name: &'a str,
}

impl OtherServer<'_> {
    /// The statement that returns the first column of `sql` there.
    fn statement(&self, sql: &str) -> String {
        format!("SELECT * FROM dblink('{}', $there${sql}$there$) AS there(found TEXT)", self.name)
    }

    async fn query(&self, sql: &str) -> Result<Vec<String>> {
        let found = inspect::texts(self.db, self.statement(sql)).await;
        found.map_err(|error| self.named(error))
    }

    /// Statements in one transaction there.
    async fn execute(&self, sql: &str) -> Result<()> {
        let limits = "SET lock_timeout = '2s'; SET statement_timeout = '30s'";
        let sql = format!("SELECT dblink_exec('{}', $there${limits}; {sql}$there$)", self.name);
        change(self.db, &[sql]).await.map_err(|error| self.named(error))
    }

    fn named(&self, error: Error) -> Error {
        match error.unconnected_server() {
            Some(reason) => Error::MonthsUnavailable(format!(
                "the server {} is unavailable: {reason}",
                self.name
            )),
            None => error,
        }
    }

    /// Whether it has a month of this database. Fails if it has another table with this name.
    async fn has_month(&self, name: &str) -> Result<bool> {
        let state = format!(
            "SELECT CASE WHEN to_regclass('{name}') IS NULL THEN 'missing' \
             ELSE COALESCE(obj_description(to_regclass('{name}'), 'pg_class'), '') END"
        );
        let state = self.query(&state).await?.pop().unwrap_or_default();
        let comment = comment(self.db).await?;
        if state == comment || state == "missing" {
            return Ok(state == comment);
        }
        // The owner has another name after an upgrade or a restore.
        let message = format!(
            "the server `{}` has another table {name}; if it is a month of this database, set its comment there to \
             '{comment}'",
            self.name
        );
        Err(Error::bad_input("to", message))
    }
}

/// Drops the months on other servers of which all rows are older than `before`, and reports the rows of each to `dropped`. If one
/// cannot be dropped, the others are.
pub async fn drop_expired(
    db: &Database,
    table: LogTable,
    before: DateTime<Utc>,
    dropped: &(dyn Fn(u64) + Sync),
) -> Result<()> {
    let end = db.zone().to_stored(before);
    let mut ended = Ok(());
    for part in moved_months(db, table).await? {
        if matches!(part.times, Times::Range(_, until) if until <= end) {
            ended = ended.and(detach(db, &part).await);
        }
    }
    // Also those of an earlier attempt that ended after the first step.
    for (name, server, rows) in detached_months(db, table).await? {
        match drop_there(db, &name, &server).await {
            Ok(()) => {
                tracing::info!(partition = name, server, rows, "dropped a month on another server");
                dropped(rows);
            }
            Err(error) => ended = ended.and(Err(error)),
        }
    }
    ended
}

/// The first step of a drop. Lists wait for this transaction, and not for the other server.
async fn detach(db: &Database, part: &Partition) -> Result<()> {
    let Partition { table, name, server: Some(server), rows, .. } = part else { return Ok(()) };
    // A month that cannot be dropped there stays readable.
    OtherServer { db, name: server }.has_month(name).await?;
    change(
        db,
        &[
            format!("ALTER TABLE {} DETACH PARTITION {name}", parent_of(*table)),
            format!("COMMENT ON FOREIGN TABLE {name} IS 'callscope: {rows} rows, to be dropped'"),
        ],
    )
    .await
}

/// Drops a month that is detached, there and here.
async fn drop_there(db: &Database, name: &str, server: &str) -> Result<()> {
    let other = OtherServer { db, name: server };
    if other.has_month(name).await? {
        other.execute(&format!("DROP TABLE {name}")).await?;
    }
    change(db, &[format!("DROP FOREIGN TABLE {name}")]).await
}

/// A server with months.
#[derive(Clone, Debug)]
pub struct Archive {
    pub server: String,
    pub months: Vec<String>,
}

/// The servers with months of both tables.
pub async fn archives(db: &Database) -> Result<Vec<Archive>> {
    let mut archives: Vec<Archive> = vec![];
    for table in LogTable::ALL {
        for part in moved_months(db, table).await? {
            let Some(server) = part.server else { continue };
            match archives.iter_mut().find(|archive| archive.server == server) {
                Some(archive) => archive.months.push(part.name),
                None => archives.push(Archive { server, months: vec![part.name] }),
            }
        }
    }
    Ok(archives)
}

/// Whether the server answers. If it is frozen, this may never end.
pub async fn answers(db: &Database, archive: &Archive) -> bool {
    match archive.months.first() {
        Some(name) => inspect::texts(db, format!("SELECT 'yes' FROM {name} LIMIT 1")).await.is_ok(),
        None => true,
    }
}
