//! Turns existing tables into tables with a partition for each month, while the gateway writes. No row is copied: the
//! existing table becomes the first partition, which has all times before a month that starts in a month or later.
//!
//! PostgreSQL attaches a table without reading it if a CHECK proves that its rows belong there. While this CHECK exists,
//! rows without a time and those of later months are refused: it must not outlive the command. The switch drops it, a
//! command that fails drops it, and servers drop that of a command that was killed ([`drop_abandoned`]).

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use sea_orm::ConnectionTrait;
use tokio::time::sleep;

use super::tables::{self, AHEAD, COMMENT, bound};
use super::{ATTEMPTS, LOCK_TIMEOUT, PAUSE, change};
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
    let lock = connect(db.config(), Access::Migrate).await?;
    if !try_lock(&lock, Lock::Conversion).await? {
        let message = "another `callscope partition convert` is running";
        return Err(Error::NotReady(message.to_owned()));
    }
    let converted = tokio::select! {
        converted = convert_locked(db, db.zone().to_stored(now), progress) => converted.map(|()| true),
        () = stop => Ok(false),
    };
    // If the connection is lost, the lock is free.
    if let Err(error) = unlock(&lock, Lock::Conversion).await {
        tracing::debug!(%error, "the lock of the conversion was not released");
    }
    if let Err(error) = drop_abandoned(db).await {
        tracing::warn!(
            %error,
            "the CHECK {CHECK} is left: it refuses rows without a time until a server of Callscope, or a repetition, drops it"
        );
    }
    lock.close().await?;
    converted
}

async fn convert_locked(
    db: &Database,
    now: NaiveDateTime,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<()> {
    let first = Month::of(now + DISTANCE - TimeDelta::microseconds(1)).plus(1);
    let last = Ord::max(first, Month::of(now).plus(AHEAD));
    let transaction = db.begin_transaction().await?;
    let done = tables::partitioned(&transaction.inner()).await.map_err(Error::from);
    let done = transaction.end(done).await.map_err(Fault::into_error)?;
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
        conversion.run(progress).await?;
    }
    Ok(())
}

/// A step that needs the table for itself.
#[derive(Clone, Copy, Debug)]
enum Step {
    Check,
    Switch,
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
        self.change(Step::Check).await?;
        let validate = format!("ALTER TABLE {name} VALIDATE CONSTRAINT {CHECK}");
        if let Err(error) = self.db.set_up_writer(&validate).await {
            // A row has arrived before the CHECK.
            self.check_rows().await?;
            return Err(error);
        }
        self.change(Step::Switch).await?;
        let (before, first) = (tables::before(self.table), self.first);
        progress(&format!(
            "{name}: its rows are in the partition {before}, up to the start of {first}"
        ));
        Ok(())
    }

    /// Statements in one transaction that has locked the table, repeated if another one has a lock for long.
    async fn change(&self, step: Step) -> Result<()> {
        let name = self.table.name();
        let (timeout, calm) = CALM_LOCK;
        for _ in 0..ATTEMPTS {
            let transaction = self.db.begin_transaction().await?;
            let inner = transaction.inner();
            let changed = async {
                inner.execute_unprepared(timeout).await?;
                inner.execute_unprepared(&format!("LOCK TABLE {name} IN {calm} MODE")).await?;
                inner.execute_unprepared(LOCK_TIMEOUT).await?;
                inner.execute_unprepared(&format!("LOCK TABLE {name}")).await?;
                match step {
                    Step::Check => self.add_check(&inner).await,
                    Step::Switch => self.switch(&inner).await,
                }
            };
            let changed = changed.await;
            match transaction.end(changed).await.map_err(Fault::into_error) {
                Err(error) if error.is_lock_timeout() || error.is_conflict() => sleep(PAUSE).await,
                changed => return changed,
            }
        }
        let message = format!(
            "a transaction of another program uses {name}: repeat the command when it has ended (pg_stat_activity \
             shows it)"
        );
        Err(Error::NotReady(message))
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
        let mut new = vec![tables::before(self.table)];
        new.extend(self.later_tables().into_iter().map(|(name, _)| name));
        let existing = format!(
            "SELECT 'the table ' || name || ' exists' FROM unnest(ARRAY['{}']) AS name \
             WHERE to_regclass(name) IS NOT NULL",
            new.join("', '")
        );
        found.extend(texts(connection, &existing).await?);
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
        self.db.set_up_writer(&format!("DROP INDEX CONCURRENTLY IF EXISTS {index}")).await?;
        let build = format!("CREATE INDEX CONCURRENTLY {index} ON {name} ({ID})");
        self.db.set_up_writer(&build).await
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
        if !has_valid_check(connection, parent).await? {
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
                // NULL without any id changes nothing.
                format!(
                    "SELECT setval(pg_get_serial_sequence('{parent}', '{ID}'), \
                     pg_sequence_last_value('{old}_ids'))"
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
             OR refclassid = CAST('pg_type' AS regclass) AND refobjid = this.reltype) \
             AND NOT EXISTS (SELECT FROM pg_constraint WHERE classid = CAST('pg_constraint' AS regclass) \
             AND oid = objid AND conrelid = this.oid)"
        ),
    ]);
    selects.join(" UNION ALL ")
}

async fn has_valid_check(connection: &impl ConnectionTrait, table: &str) -> Result<bool> {
    let sql = format!(
        "SELECT 'yes' FROM pg_constraint WHERE conrelid = to_regclass('{table}') AND conname = '{CHECK}' \
         AND convalidated"
    );
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

fn rename_indexes(table: &str) -> String {
    let new = "left(CAST(relname AS TEXT), 55) || '_before'";
    of_indexes(
        &format!("format('ALTER INDEX %s RENAME TO %I', CAST(indexrelid AS regclass), {new})"),
        table,
    )
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

/// The tables with the CHECK of a command that has ended.
pub async fn abandoned(db: &Database) -> Result<Vec<LogTable>> {
    if db.dialect() != Dialect::Postgres {
        return Ok(vec![]);
    }
    let [calls, errors] = LogTable::ALL.map(LogTable::name);
    let lock = Lock::Conversion.name(Dialect::Postgres);
    let sql = format!(
        "SELECT CAST(relname AS TEXT) FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid \
         WHERE conname = '{CHECK}' AND conrelid IN (to_regclass('{calls}'), to_regclass('{errors}')) \
         AND NOT EXISTS (SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = database \
         AND datname = current_database() WHERE locktype = 'advisory' AND objsubid = 1 \
         AND (CAST(classid AS BIGINT) << 32) + CAST(objid AS BIGINT) = {lock})"
    );
    let found = inspect::texts(db, sql).await?;
    Ok(LogTable::ALL
        .into_iter()
        .filter(|table| found.iter().any(|it| it == table.name()))
        .collect())
}

/// Drops the CHECKs of a command that has ended.
pub async fn drop_abandoned(db: &Database) -> Result<()> {
    let lock = Lock::Conversion.name(Dialect::Postgres);
    for table in abandoned(db).await?.into_iter().map(LogTable::name) {
        // Not that of a command that has started since.
        let sql = format!(
            "DO $$ BEGIN IF NOT pg_try_advisory_xact_lock({lock}) THEN \
             RAISE EXCEPTION 'a conversion runs' USING ERRCODE = 'lock_not_available'; END IF; \
             ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {CHECK}; END $$"
        );
        change(db, &[sql]).await?;
        tracing::warn!(table, "dropped the CHECK {CHECK} of a conversion that was interrupted");
    }
    Ok(())
}
