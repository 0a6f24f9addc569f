//! Turns existing tables into tables with a partition for each month, while the gateway writes. No row is copied: the
//! existing table becomes the first partition, which has all times before a month that starts in a month or later.
//!
//! PostgreSQL attaches a table without reading it if a CHECK proves that its rows belong there. While this CHECK exists,
//! rows without a time and those of later months are refused: it must not outlive the command. The switch drops it, a
//! command that fails drops it, and servers drop that of a command that was killed ([`drop_abandoned`]).

use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use sea_orm::ConnectionTrait;
use tokio::time::{Duration, Instant, sleep};

use super::tables::{self, AHEAD, COMMENT, bound};
use super::{ATTEMPTS, LOCK_TIMEOUT, PAUSE};
use crate::domain::month::Month;
use crate::domain::table::{ID, LogTable, TIME};
use crate::error::{Error, Result};
use crate::store::connect::{Access, connect};
use crate::store::database::Database;
use crate::store::dialect::Dialect;
use crate::store::engine::Engine;
use crate::store::index::{self, texts};
use crate::store::index_build::{self, Scope};
use crate::store::inspect;
use crate::store::schema::{Lock, try_lock, unlock};
use crate::store::transaction::Fault;

/// The first month with its own partition starts so many days later: until then, an abandoned CHECK refuses only rows that
/// have a wrong time or none.
const DISTANCE: TimeDelta = TimeDelta::days(32);

const CHECK: &str = "callscope_before";

/// The time from which on it refuses rows.
const CHECK_END: &str = "substring(pg_get_constraintdef(pg_constraint.oid) FROM '< ''([^'']*)''')";

/// How long the command tries to drop its CHECK, while other programs use the table.
const CLEAN_UP_TIME: Duration = Duration::from_secs(300);

/// If this host fails, or a standby does not answer, others get the table soon. A later COMMIT that waits for standbys has
/// this one before it.
const LIMITS: &str = "SET LOCAL idle_in_transaction_session_timeout = '5s'; SET LOCAL statement_timeout = '15s'; \
                      SET LOCAL synchronous_commit = 'local'";

/// Other sessions do not wait for this lock, and a running autovacuum ends for it after a second.
const CALM_LOCK: (&str, &str) = ("SET LOCAL lock_timeout = '10s'", "SHARE UPDATE EXCLUSIVE");

/// Converts the tables that have no partitions; false if `stop` ended first. If it is interrupted, a repetition continues.
pub async fn convert(
    db: &Database,
    now: DateTime<Utc>,
    stop: impl Future<Output = ()>,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<bool> {
    if db.dialect() != Dialect::Postgres || db.engine() == Engine::Citus {
        return Err(Error::bad_input("database", "partitions need PostgreSQL without Citus"));
    }
    db.check_writable()?;
    let version = "SELECT current_setting('server_version_num')".to_owned();
    if inspect::number(db, version).await?.is_some_and(|version| version < 140_000) {
        return Err(Error::bad_input("database", "the conversion needs PostgreSQL 14 or later"));
    }
    let lock = connect(db.config(), Access::Migrate).await?;
    if !try_lock(&lock, Lock::Conversion).await? {
        let message = "another `callscope partition convert` is running";
        return Err(Error::NotReady(message.to_owned()));
    }
    let has_begun = AtomicBool::new(false);
    let converted = tokio::select! {
        converted = convert_locked(db, db.zone().to_stored(now), &has_begun, progress) => converted.map(|()| true),
        () = stop => Ok(false),
    };
    // If the connection is lost, the lock is free.
    if let Err(error) = unlock(&lock, Lock::Conversion).await {
        tracing::debug!(%error, "the lock of the conversion was not released");
    }
    let clean = clean_up(db, has_begun.into_inner(), progress).await;
    if let Err(error) = lock.close().await {
        tracing::debug!(%error, "the connection of the lock was not closed");
    }
    match (converted, clean) {
        (converted, Ok(())) => converted,
        (Ok(_), Err(left)) => Err(left),
        (Err(error), Err(left)) => Err(Error::NotReady(format!("{error}; {left}"))),
    }
}

/// Drops the CHECKs that the command has left.
async fn clean_up(db: &Database, has_begun: bool, progress: &(dyn Fn(&str) + Sync)) -> Result<()> {
    let end = Instant::now() + CLEAN_UP_TIME;
    let tables = match has_begun {
        // A COMMIT that adds one may be under way.
        true => LogTable::ALL.to_vec(),
        false => abandoned(db).await?.into_iter().map(|(table, _)| table).collect(),
    };
    for table in tables {
        let name = table.name();
        let mut is_first = true;
        while let Err(error) = change(db, table, Step::DropCheck).await {
            if Instant::now() >= end {
                let message = format!(
                    "the CHECK {CHECK} of {name} may be left, which refuses rows: repeat the command, or run \
                     `ALTER TABLE {name} DROP CONSTRAINT IF EXISTS {CHECK}` ({error})"
                );
                return Err(Error::NotReady(message));
            }
            if is_first {
                progress(&format!("{name}: dropping the CHECK {CHECK} has to wait: {error}"));
                is_first = false;
            }
            sleep(PAUSE).await;
        }
    }
    Ok(())
}

async fn convert_locked(
    db: &Database,
    now: NaiveDateTime,
    has_begun: &AtomicBool,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<()> {
    let first = Month::of(now + DISTANCE - TimeDelta::microseconds(1)).plus(1);
    let last = Ord::max(first, Month::of(now).plus(AHEAD));
    let done = tables::of_names(&inspect::texts(db, tables::partitioned_sql()).await?);
    let conversions: Vec<Conversion> = LogTable::ALL
        .into_iter()
        .filter(|table| !done.contains(table))
        .map(|table| Conversion { db, table, first, last })
        .collect();
    for conversion in &conversions {
        conversion.check_table().await?;
        conversion.check_rows().await?;
    }
    // Later, PostgreSQL would build them while writers wait.
    index_build::build(db.config(), Scope::Online, std::future::pending()).await?;
    for conversion in conversions {
        has_begun.store(true, Ordering::Relaxed);
        conversion.run(progress).await?;
    }
    Ok(())
}

/// A step that needs the table for itself.
#[derive(Clone, Copy)]
enum Step<'a> {
    AddCheck(&'a Conversion<'a>),
    Switch(&'a Conversion<'a>),
    /// Unless another command runs.
    DropCheck,
}

/// A step in one transaction, repeated if another one has a lock for long.
async fn change(db: &Database, table: LogTable, step: Step<'_>) -> Result<()> {
    for _ in 0..ATTEMPTS {
        let transaction = db.begin_transaction().await?;
        let changed = change_locked(&transaction.inner(), table, step).await;
        match transaction.end(changed).await.map_err(Fault::into_error) {
            Err(error) if error.is_lock_timeout() || error.is_conflict() => sleep(PAUSE).await,
            changed => return changed,
        }
    }
    let message = format!(
        "a transaction of another program uses {}: repeat the command when it has ended (pg_stat_activity shows it)",
        table.name()
    );
    Err(Error::NotReady(message))
}

async fn change_locked(
    connection: &impl ConnectionTrait,
    table: LogTable,
    step: Step<'_>,
) -> Result<()> {
    let name = table.name();
    let (timeout, calm) = CALM_LOCK;
    connection.execute_unprepared(LIMITS).await?;
    connection.execute_unprepared(timeout).await?;
    connection.execute_unprepared(&format!("LOCK TABLE {name} IN {calm} MODE")).await?;
    if let Step::DropCheck = step {
        // A COMMIT of the CHECK that was under way has ended.
        let found = format!("{} AND pg_try_advisory_xact_lock({})", check_sql(name), lock_name());
        if texts(connection, &found).await?.is_empty() {
            return Ok(());
        }
    }
    connection.execute_unprepared(LOCK_TIMEOUT).await?;
    connection.execute_unprepared(&format!("LOCK TABLE {name}")).await?;
    match step {
        Step::AddCheck(conversion) => conversion.add_check(connection).await,
        Step::Switch(conversion) => conversion.switch(connection).await,
        Step::DropCheck => {
            let drop_check = format!("ALTER TABLE {name} DROP CONSTRAINT {CHECK}");
            connection.execute_unprepared(&drop_check).await?;
            Ok(())
        }
    }
}

fn lock_name() -> &'static str {
    Lock::Conversion.name(Dialect::Postgres)
}

fn check_sql(table: &str) -> String {
    format!(
        "SELECT 'yes' FROM pg_constraint WHERE conrelid = to_regclass('{table}') AND conname = '{CHECK}'"
    )
}

/// The conversion of a table.
struct Conversion<'a> {
    db: &'a Database,
    table: LogTable,
    /// The first month with its own partition, and the last one.
    first: Month,
    last: Month,
}

impl Conversion<'_> {
    async fn run(&self, progress: &(dyn Fn(&str) + Sync)) -> Result<()> {
        let name = self.table.name();
        self.build_id_index(progress).await?;
        progress(&format!("{name}: PostgreSQL checks the times of all rows"));
        change(self.db, self.table, Step::AddCheck(self)).await?;
        let validate = format!("ALTER TABLE {name} VALIDATE CONSTRAINT {CHECK}");
        if let Err(error) = self.db.set_up_without_limits(&validate).await {
            // A row has arrived before the CHECK.
            self.check_rows().await?;
            return Err(error);
        }
        change(self.db, self.table, Step::Switch(self)).await?;
        let (before, first) = (tables::before(self.table), self.first);
        progress(&format!(
            "{name}: its rows are in the partition {before}, up to the start of {first}"
        ));
        Ok(())
    }

    /// Fails if a table with partitions would lose something that this table has.
    async fn check_table(&self) -> Result<()> {
        let transaction = self.db.begin_transaction().await?;
        let checked = self.refuse(&transaction.inner()).await;
        transaction.end(checked).await.map_err(Fault::into_error)
    }

    async fn refuse(&self, connection: &impl ConnectionTrait) -> Result<()> {
        let name = self.table.name();
        let mut found = texts(connection, &refusals(name)).await?;
        let before = tables::before(self.table);
        let mut new = vec![format!("{before}_ids"), before];
        new.extend(self.later_tables().into_iter().map(|(name, _)| name));
        let existing = format!(
            "SELECT 'the relation ' || name || ' exists' FROM unnest(ARRAY['{}']) AS name \
             WHERE to_regclass(name) IS NOT NULL",
            new.join("', '")
        );
        found.extend(texts(connection, &existing).await?);
        found.extend(texts(connection, &existing_indexes(name)).await?);
        if found.is_empty() {
            return Ok(());
        }
        let message = format!(
            "{name} cannot be converted: {}. Remove or change this first (docs/SCALING.md)",
            found.join("; ")
        );
        Err(Error::bad_input("table", message))
    }

    fn later_tables(&self) -> Vec<(String, String)> {
        tables::later_tables(self.table, self.first, self.last)
    }

    /// Fails if a row does not belong in the first partition.
    async fn check_rows(&self) -> Result<()> {
        let (name, end) = (self.table.name(), bound(self.first));
        let rows = format!(
            "SELECT CAST(COUNT(*) FILTER (WHERE {TIME} IS NULL) AS TEXT) || ' rows without a time and ' || \
             CAST(COUNT({TIME}) AS TEXT) || ' rows' FROM {name} WHERE {TIME} IS NULL OR {TIME} >= '{end}' \
             HAVING COUNT(*) > 0"
        );
        match inspect::texts(self.db, rows).await?.pop() {
            None => Ok(()),
            Some(rows) => {
                let message = format!(
                    "{name} has {rows} at or after {end}, which the conversion cannot keep in one partition with the \
                     others: correct them (UPDATE {name} SET {TIME} = …), or delete them, WHERE {TIME} IS NULL OR \
                     {TIME} >= '{end}'"
                );
                Err(Error::bad_input("table", message))
            }
        }
    }

    /// Builds the index that PostgreSQL would build in the switch.
    async fn build_id_index(&self, progress: &(dyn Fn(&str) + Sync)) -> Result<()> {
        let (name, index) = (self.table.name(), tables::id_index(self.table));
        let valid = inspect::texts(self.db, index::valid_sql(Dialect::Postgres, name)).await?;
        if valid.iter().any(|valid| valid == index) {
            return Ok(());
        }
        progress(&format!("{name}: PostgreSQL builds the index {index}"));
        // An interrupted build leaves an invalid index.
        let drop_invalid = format!("DROP INDEX CONCURRENTLY IF EXISTS {index}");
        self.db.set_up_without_limits(&drop_invalid).await?;
        let build = format!("CREATE INDEX CONCURRENTLY {index} ON {name} ({ID})");
        self.db.set_up_without_limits(&build).await
    }

    /// Also replaces the CHECK of a command that was killed, which may have another end.
    async fn add_check(&self, connection: &impl ConnectionTrait) -> Result<()> {
        let (name, end) = (self.table.name(), bound(self.first));
        let add = format!(
            "ALTER TABLE {name} DROP CONSTRAINT IF EXISTS {CHECK}, \
             ADD CONSTRAINT {CHECK} CHECK ({TIME} IS NOT NULL AND {TIME} < '{end}') NOT VALID"
        );
        Ok(connection.execute_unprepared(&add).await.map(drop)?)
    }

    /// Replaces the table, which is locked. Statements that wait for it look up its name again, and use the new one.
    async fn switch(&self, connection: &impl ConnectionTrait) -> Result<()> {
        let (parent, old) = (self.table.name(), tables::before(self.table));
        // Another program may have changed something since.
        self.refuse(connection).await?;
        if !has_valid_check(connection, parent, &bound(self.first)).await? {
            let message = format!("the CHECK {CHECK} of {parent} was removed: repeat the command");
            return Err(Error::NotReady(message));
        }
        let rename = texts(connection, &rename_indexes(parent)).await?;
        let indexes = texts(connection, &index_definitions(parent)).await?;
        let sequences = texts(connection, &owned_sequences(parent)).await?;
        let identity = texts(connection, &identity_sequence(parent)).await?;
        let owner = texts(connection, &other_owner(parent)).await?;
        let grants = texts(connection, &grants(parent)).await?;
        let mut create = rename;
        for sequence in &identity {
            create.push(format!("ALTER SEQUENCE {sequence} RENAME TO {old}_ids"));
        }
        create.extend([
            format!("ALTER TABLE {parent} RENAME TO {old}"),
            format!(
                "CREATE TABLE {parent} (LIKE {old} INCLUDING DEFAULTS INCLUDING IDENTITY INCLUDING STORAGE \
                 INCLUDING COMPRESSION INCLUDING COMMENTS) PARTITION BY RANGE ({TIME})"
            ),
            format!("COMMENT ON TABLE {parent} IS '{COMMENT}'"),
        ]);
        if !identity.is_empty() {
            create.extend([
                format!(
                    "SELECT setval(pg_get_serial_sequence('{parent}', '{ID}'), last_value, is_called) \
                     FROM {old}_ids"
                ),
                format!("ALTER TABLE {old} ALTER COLUMN {ID} DROP IDENTITY"),
            ]);
        }
        create.extend(indexes);
        let later = self.later_tables();
        create.extend(later.iter().map(|(_, create)| create.clone()));
        create.extend([
            format!("ALTER TABLE {parent} ATTACH PARTITION {old} {}", tables::until(self.first)),
            format!("ALTER TABLE {old} DROP CONSTRAINT {CHECK}"),
        ]);
        connection.execute_unprepared(&create.join("; ")).await?;
        // Default privileges of this user.
        let defaults = texts(connection, &revocations(parent)).await?;
        let mut rights = vec![];
        for name in later.iter().map(|(name, _)| name.as_str()).chain([parent]) {
            let owner = owner.iter().map(|owner| format!("ALTER TABLE {{}} OWNER TO {owner}"));
            let all = defaults.iter().cloned().chain(owner).chain(grants.iter().cloned());
            rights.extend(all.map(|right| right.replace("{}", name)));
        }
        rights.extend(sequences);
        connection.execute_unprepared(&rights.join("; ")).await?;
        Ok(())
    }
}

/// Selects descriptions of all that the new table would lose, or that would use the first partition only.
fn refusals(table: &str) -> String {
    let this = format!("to_regclass('{table}')");
    let name = "quote_ident(CAST(relname AS TEXT))";
    let of_class = [
        ("relkind = 'p'", "'another program has partitioned it'".to_owned()),
        ("relkind NOT IN ('r', 'p')", "'it is no table'".to_owned()),
        ("relpersistence <> 'p'", "'it is not logged'".to_owned()),
        (
            "relnamespace <> COALESCE(CAST(to_regnamespace(quote_ident(current_schema())) AS OID), 0)",
            "'it is in the schema ' || CAST(relnamespace AS regnamespace) || ', and new tables would be in ' || \
             COALESCE(current_schema(), 'none') || ': set search_path'"
                .to_owned(),
        ),
        (
            "NOT pg_has_role(relowner, 'USAGE')",
            "'this user does not have the role of its owner ' || CAST(relowner AS regrole)".to_owned(),
        ),
        (
            "NOT has_schema_privilege(relnamespace, 'CREATE')",
            "'this user needs CREATE on the schema ' || CAST(relnamespace AS regnamespace)".to_owned(),
        ),
        // A superuser needs no rights of the owner.
        (
            "NOT has_schema_privilege(relowner, relnamespace, 'CREATE') \
             AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)",
            "'its owner ' || CAST(relowner AS regrole) || ' needs CREATE on the schema ' || \
             CAST(relnamespace AS regnamespace)"
                .to_owned(),
        ),
        ("reltablespace <> 0", "'it is in another tablespace'".to_owned()),
        (
            "relam <> (SELECT oid FROM pg_am WHERE amname = 'heap')",
            "'it has another access method'".to_owned(),
        ),
        ("reloftype <> 0", "'it is a typed table'".to_owned()),
        ("relrowsecurity", "'it has row security'".to_owned()),
    ];
    let mut selects: Vec<String> = of_class
        .iter()
        .map(|(condition, text)| {
            format!("SELECT {text} FROM pg_class WHERE oid = {this} AND {condition}")
        })
        .collect();
    selects.extend([
        format!("SELECT 'it does not exist' WHERE {this} IS NULL"),
        format!(
            "SELECT 'it is a partition or a child of ' || CAST(inhparent AS regclass) FROM pg_inherits \
             WHERE inhrelid = {this}"
        ),
        format!(
            "SELECT 'it has the child ' || CAST(inhrelid AS regclass) FROM pg_inherits WHERE inhparent = {this}"
        ),
        format!(
            "SELECT 'it has the trigger ' || quote_ident(tgname) FROM pg_trigger \
             WHERE tgrelid = {this} AND NOT tgisinternal"
        ),
        format!("SELECT 'it has the rule ' || quote_ident(rulename) FROM pg_rewrite WHERE ev_class = {this}"),
        format!("SELECT 'it has the policy ' || quote_ident(polname) FROM pg_policy WHERE polrelid = {this}"),
        format!(
            "SELECT 'it is in the publication ' || quote_ident(pubname) FROM pg_publication_tables \
             WHERE to_regclass(quote_ident(schemaname) || '.' || quote_ident(tablename)) = {this}"
        ),
        format!(
            "SELECT 'it has the constraint ' || quote_ident(conname) FROM pg_constraint \
             WHERE conrelid = {this} AND contype IN ('c', 'f', 'x') AND conname <> '{CHECK}'"
        ),
        format!(
            "SELECT 'it has the unique index ' || {name} FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid \
             WHERE indrelid = {this} AND indisunique AND (indnatts <> 1 OR indpred IS NOT NULL OR indkey[0] <> \
             (SELECT attnum FROM pg_attribute WHERE attrelid = {this} AND attname = '{ID}'))"
        ),
        format!(
            "SELECT 'its index ' || {name} || ' is in another tablespace' FROM pg_index \
             JOIN pg_class ON pg_class.oid = indexrelid WHERE indrelid = {this} AND reltablespace <> 0"
        ),
        format!(
            "SELECT 'its column ' || quote_ident(attname) || ' is generated' FROM pg_attribute \
             WHERE attrelid = {this} AND NOT attisdropped \
             AND (attgenerated <> '' OR attidentity <> '' AND attname <> '{ID}')"
        ),
        format!(
            "SELECT 'its column {TIME} is not of the type timestamp' WHERE NOT EXISTS (SELECT FROM pg_attribute \
             WHERE attrelid = {this} AND attname = '{TIME}' AND atttypid = CAST('timestamp' AS regtype))"
        ),
        // Constraints depend on their own table.
        format!(
            "SELECT DISTINCT pg_describe_object(classid, objid, 0) || ' uses it' FROM pg_depend \
             JOIN pg_class AS this ON this.oid = {this} WHERE deptype = 'n' \
             AND (refclassid = CAST('pg_class' AS regclass) AND refobjid = this.oid \
             OR refclassid = CAST('pg_type' AS regclass) AND refobjid IN (this.reltype, \
             (SELECT typarray FROM pg_type WHERE oid = this.reltype))) \
             AND NOT EXISTS (SELECT FROM pg_constraint WHERE classid = CAST('pg_constraint' AS regclass) \
             AND oid = objid AND conrelid = this.oid)"
        ),
    ]);
    selects.join(" UNION ALL ")
}

async fn has_valid_check(
    connection: &impl ConnectionTrait,
    table: &str,
    end: &str,
) -> Result<bool> {
    let sql = format!("{} AND convalidated AND {CHECK_END} = '{end}'", check_sql(table));
    Ok(!texts(connection, &sql).await?.is_empty())
}

/// The indexes of the table that its partitions get as well.
fn of_indexes(select: &str, table: &str) -> String {
    format!(
        "SELECT {select} FROM pg_index JOIN pg_class AS index ON index.oid = indexrelid \
         WHERE indrelid = to_regclass('{table}') AND indisvalid AND NOT indisunique"
    )
}

fn index_definitions(table: &str) -> String {
    of_indexes("pg_get_indexdef(indexrelid)", table)
}

const RENAMED_INDEX: &str = "left(CAST(relname AS TEXT), 55) || '_before'";

fn rename_indexes(table: &str) -> String {
    let rename = format!(
        "format('ALTER INDEX %s RENAME TO %I', CAST(indexrelid AS regclass), {RENAMED_INDEX})"
    );
    of_indexes(&rename, table)
}

/// Selects the new names of indexes that are taken.
fn existing_indexes(table: &str) -> String {
    let select = format!("'the relation ' || {RENAMED_INDEX} || ' exists'");
    let taken = format!("to_regclass(quote_ident({RENAMED_INDEX})) IS NOT NULL");
    format!("{} AND {taken}", of_indexes(&select, table))
}

/// Statements that hand the sequences of its columns to the new table.
fn owned_sequences(table: &str) -> String {
    of_sequences(
        &format!(
            "format('ALTER SEQUENCE %s OWNED BY {table}.%I', CAST(objid AS regclass), attname)"
        ),
        table,
        'a',
    )
}

fn identity_sequence(table: &str) -> String {
    of_sequences("CAST(CAST(objid AS regclass) AS TEXT)", table, 'i')
}

fn of_sequences(select: &str, table: &str, dependency: char) -> String {
    format!(
        "SELECT {select} FROM pg_depend JOIN pg_class AS sequence ON sequence.oid = objid AND relkind = 'S' \
         JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid \
         WHERE classid = CAST('pg_class' AS regclass) AND refclassid = CAST('pg_class' AS regclass) \
         AND refobjid = to_regclass('{table}') AND deptype = '{dependency}'"
    )
}

/// The owner of the table, if it is not this user.
fn other_owner(table: &str) -> String {
    format!(
        "SELECT CAST(CAST(relowner AS regrole) AS TEXT) FROM pg_class \
         WHERE oid = to_regclass('{table}') AND relowner <> CAST(quote_ident(current_user) AS regrole)"
    )
}

/// Statements that give another table, `{}`, the privileges that the table and its columns have.
fn grants(table: &str) -> String {
    let to = "CASE grantee WHEN 0 THEN 'PUBLIC' ELSE CAST(CAST(grantee AS regrole) AS TEXT) END, \
              CASE WHEN is_grantable THEN ' WITH GRANT OPTION' END";
    format!(
        "SELECT format('GRANT %s ON TABLE {{}} TO %s%s', privilege_type, {to}) \
         FROM pg_class, aclexplode(COALESCE(relacl, acldefault('r', relowner))) WHERE oid = to_regclass('{table}') \
         UNION ALL SELECT format('GRANT %s (%I) ON TABLE {{}} TO %s%s', privilege_type, attname, {to}) \
         FROM pg_attribute, aclexplode(attacl) WHERE attrelid = to_regclass('{table}') AND NOT attisdropped"
    )
}

/// Statements that revoke the privileges of `table` from another table, `{}`, that has the same ones.
fn revocations(table: &str) -> String {
    format!(
        "SELECT DISTINCT format('REVOKE ALL ON TABLE {{}} FROM %s', \
         CASE grantee WHEN 0 THEN 'PUBLIC' ELSE CAST(CAST(grantee AS regrole) AS TEXT) END) \
         FROM pg_class, aclexplode(relacl) WHERE oid = to_regclass('{table}')"
    )
}

/// Whether no command runs.
fn none_runs() -> String {
    format!(
        "NOT EXISTS (SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = database \
         AND datname = current_database() WHERE locktype = 'advisory' AND objsubid = 1 \
         AND (CAST(classid AS BIGINT) << 32) + CAST(objid AS BIGINT) = {})",
        lock_name()
    )
}

/// The tables with the CHECK of a command that has ended, and the time from which on it refuses all rows.
pub async fn abandoned(db: &Database) -> Result<Vec<(LogTable, String)>> {
    if db.dialect() != Dialect::Postgres {
        return Ok(vec![]);
    }
    let mut abandoned = vec![];
    for table in LogTable::ALL {
        let sql = format!(
            "SELECT COALESCE({CHECK_END}, '?') FROM pg_constraint WHERE conname = '{CHECK}' \
             AND conrelid = to_regclass('{}') AND {}",
            table.name(),
            none_runs()
        );
        abandoned.extend(inspect::texts(db, sql).await?.into_iter().map(|end| (table, end)));
    }
    Ok(abandoned)
}

/// The table without partitions, if a command has ended after it had converted the other one.
pub async fn unconverted(db: &Database) -> Result<Option<LogTable>> {
    if db.dialect() != Dialect::Postgres {
        return Ok(None);
    }
    let sql = format!("{} AND {}", tables::partitioned_sql(), none_runs());
    let done = tables::of_names(&inspect::texts(db, sql).await?);
    let left = LogTable::ALL.into_iter().find(|table| !done.contains(table));
    Ok(left.filter(|_| !done.is_empty()))
}

/// Drops the CHECKs of a command that has ended.
pub async fn drop_abandoned(db: &Database) -> Result<()> {
    for (table, _) in abandoned(db).await? {
        change(db, table, Step::DropCheck).await?;
        tracing::warn!(
            table = table.name(),
            "dropped the CHECK {CHECK} of a conversion that was interrupted"
        );
    }
    Ok(())
}
