//! The database of a test, with a connection that bypasses the server.

use std::sync::atomic::{AtomicUsize, Ordering};

use callscope::config::{DatabaseConfig, ReplicaConfig};
use sea_orm::sqlx::mysql::MySqlConnectOptions;
use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::sqlx::sqlite::SqliteConnectOptions;
use sea_orm::sqlx::{
    AssertSqlSafe, Column, ConnectOptions, Connection, MySqlConnection, PgConnection, Row,
    SqliteConnection, TypeInfo, ValueRef, raw_sql,
};
use serde_json::Value;
use tokio::sync::Mutex;

use super::rows::{self, Insert};
use super::settings;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
    MariaDb,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Sqlite, Self::Postgres, Self::MariaDb];

    /// The name in test names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::MariaDb => "mariadb",
        }
    }

    pub fn label(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
            Self::MariaDb => "MariaDB",
        }
    }

    /// The environment variable with the URL of a user with the right to create databases.
    pub fn variable(self) -> Option<&'static str> {
        match self {
            Self::Sqlite => None,
            Self::Postgres => Some("CALLSCOPE_TEST_POSTGRES_URL"),
            Self::MariaDb => Some("CALLSCOPE_TEST_MARIADB_URL"),
        }
    }
}

/// The rows that were moved to another server.
pub static MOVED_ROWS: AtomicUsize = AtomicUsize::new(0);

/// The variable with the URL of a standby that answers queries.
pub const STANDBY: &str = "CALLSCOPE_TEST_POSTGRES_STANDBY_URL";

/// The database of one test; it is dropped when the test ends.
pub struct TestDatabase {
    kind: Kind,
    url: String,
    raw: Mutex<Option<Raw>>,
    /// Months are on another server.
    has_moved_months: bool,
}

/// The URL of a database on the server of another URL.
pub(super) fn url_of(server: &str, name: &str) -> String {
    let mut url = reqwest::Url::parse(server).expect("the URL of a test server");
    url.set_path(name);
    url.into()
}

/// The connection of `execute` and `query`.
enum Raw {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
    MariaDb(MySqlConnection),
}

impl TestDatabase {
    /// The database at `url`; its creator drops it.
    pub fn new(kind: Kind, url: String) -> Self {
        Self { kind, url, raw: Mutex::new(None), has_moved_months: false }
    }

    /// Most rows of old times that the test inserts are moved to another server.
    pub(super) fn with_moved_months(self) -> Self {
        Self { has_moved_months: true, ..self }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its name on its server.
    pub(super) fn name(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or_default()
    }

    /// The default settings on this database, with few connections: many tests share one server. Statements wait
    /// long for a connection, because a busy machine is slow. Jobs are off, because they send statements, which
    /// many tests count.
    pub fn config(&self) -> DatabaseConfig {
        let few = ["--database-connections", "2", "--database-wait-seconds", "30"];
        let off = ["--rollups", "--text-index", "--failure-classes"].map(|job| [job, "false"]);
        settings(&[&["--database-url", &self.url], &few[..], &off.concat()].concat())
    }

    /// The standby that answers queries, if there is one.
    pub fn standby(&self) -> ReplicaConfig {
        let url = std::env::var(STANDBY).ok();
        match url.filter(|_| self.kind == Kind::Postgres) {
            Some(url) => settings(&["--read-database-url", &url_of(&url, self.name())]),
            None => settings(&[]),
        }
    }

    /// Runs one or more statements, separated by semicolons.
    pub async fn execute(&self, sql: &str) {
        self.query(sql).await;
    }

    /// The rows of a statement: integers and decimals as numbers, booleans in the database's form
    /// (a number except in PostgreSQL), NULL as null, everything else as the database's text.
    pub async fn query(&self, sql: &str) -> Vec<Vec<Value>> {
        self.try_query(sql).await.unwrap_or_else(|error| panic!("{error}, in {}", cut(sql)))
    }

    /// The same, for a statement that may fail.
    pub async fn try_query(&self, sql: &str) -> Result<Vec<Vec<Value>>, sea_orm::SqlxError> {
        let mut raw = self.raw.lock().await;
        if raw.is_none() {
            *raw = Some(Raw::open(self.kind, &self.url).await.expect("connects"));
        }
        match raw.as_mut() {
            Some(raw) => raw.query(sql).await,
            None => Ok(Vec::new()),
        }
    }

    /// The only value of the only row.
    pub async fn value(&self, sql: &str) -> Value {
        let rows = self.query(sql).await;
        assert!(rows.len() == 1 && rows[0].len() == 1, "one value, not {rows:?}, of {}", cut(sql));
        rows[0][0].clone()
    }

    /// The source of a statement that reads a table, with its rows in moved months.
    pub fn all_rows(&self, table: &str) -> String {
        match rows::moved_months(table).filter(|_| self.has_moved_months) {
            Some(moved) => {
                format!("(SELECT * FROM {table} UNION ALL SELECT * FROM {moved}) AS rows")
            }
            None => table.to_owned(),
        }
    }

    /// Deletes rows of a table, also those in moved months.
    pub async fn delete(&self, table: &str, condition: &str) {
        let moved = rows::moved_months(table).filter(|_| self.has_moved_months);
        for table in [Some(table), moved].into_iter().flatten() {
            self.execute(&format!("DELETE FROM {table} WHERE {condition}")).await;
        }
    }

    /// How many rows a table has.
    pub async fn count(&self, table: &str) -> u64 {
        let rows = self.all_rows(table);
        self.value(&format!("SELECT COUNT(*) FROM {rows}")).await.as_u64().expect("a number")
    }

    /// The ids of a table, in order.
    pub async fn ids(&self, table: &str) -> Vec<i64> {
        let rows = self.all_rows(table);
        let rows = self.query(&format!("SELECT id FROM {rows} ORDER BY id")).await;
        rows.iter().map(|row| row[0].as_i64().expect("an id")).collect()
    }

    /// Inserts rows as a gateway does, in their order, without the server's write path.
    pub async fn insert<T: Insert>(&self, rows: &[T]) {
        rows.iter().for_each(rows::forbid_logging);
        self.insert_unwatched(rows).await;
    }

    /// The same for rows without secrets, or with texts too large to search the log for.
    pub async fn insert_unwatched<T: Insert>(&self, rows: &[T]) {
        let mut statements = rows::inserts(rows, self.kind);
        if self.has_moved_months {
            statements.push(rows::to_moved_months::<T>());
            // One transaction.
            let moved = self.query(&statements.join("; ")).await.len();
            MOVED_ROWS.fetch_add(moved, Ordering::Relaxed);
            return;
        }
        for statement in statements {
            self.execute(&statement).await;
        }
    }

    /// Closes the connection of `execute` and `query`; the next of them opens another.
    pub async fn close(&self) {
        let closed = match self.raw.lock().await.take() {
            Some(Raw::Sqlite(connection)) => connection.close().await,
            Some(Raw::Postgres(connection)) => connection.close().await,
            Some(Raw::MariaDb(connection)) => connection.close().await,
            None => Ok(()),
        };
        closed.expect("closes");
    }
}

impl Raw {
    async fn open(kind: Kind, url: &str) -> Result<Self, sea_orm::SqlxError> {
        // These statements contain the values, and the log is searched for them (`logs`).
        Ok(match kind {
            Kind::Sqlite => {
                let options = url.parse::<SqliteConnectOptions>()?.disable_statement_logging();
                Self::Sqlite(SqliteConnection::connect_with(&options).await?)
            }
            Kind::Postgres => {
                let options = url.parse::<PgConnectOptions>()?.disable_statement_logging();
                Self::Postgres(PgConnection::connect_with(&options).await?)
            }
            Kind::MariaDb => {
                let options = url.parse::<MySqlConnectOptions>()?.disable_statement_logging();
                Self::MariaDb(MySqlConnection::connect_with(&options).await?)
            }
        })
    }

    /// Unprepared, so that each database sends text and accepts several statements.
    async fn query(&mut self, sql: &str) -> Result<Vec<Vec<Value>>, sea_orm::SqlxError> {
        let sql = raw_sql(AssertSqlSafe(sql));
        Ok(match self {
            Self::Sqlite(connection) => {
                sql.fetch_all(connection).await?.iter().map(sqlite_values).collect()
            }
            Self::Postgres(connection) => {
                sql.fetch_all(connection).await?.iter().map(text_values).collect()
            }
            Self::MariaDb(connection) => {
                sql.fetch_all(connection).await?.iter().map(text_values).collect()
            }
        })
    }
}

fn sqlite_values(row: &sea_orm::sqlx::sqlite::SqliteRow) -> Vec<Value> {
    let value = |index| {
        let raw = row.try_get_raw(index).expect("a value");
        // The type of the value rather than of the column: SQLite stores any type in each column.
        match raw.type_info().name() {
            _ if raw.is_null() => Value::Null,
            "INTEGER" => row.get_unchecked::<i64, _>(index).into(),
            "REAL" => row.get_unchecked::<f64, _>(index).into(),
            _ => row.get_unchecked::<String, _>(index).into(),
        }
    };
    (0..row.len()).map(value).collect()
}

fn text_values<R>(row: &R) -> Vec<Value>
where
    R: Row,
    usize: sea_orm::sqlx::ColumnIndex<R>,
    String: for<'r> sea_orm::sqlx::Decode<'r, R::Database>,
{
    let value = |column: &<R::Database as sea_orm::sqlx::Database>::Column| {
        let index = column.ordinal();
        if row.try_get_raw(index).expect("a value").is_null() {
            return Value::Null;
        }
        let text: String = row.get_unchecked(index);
        match column.type_info().name() {
            "BOOL" => Value::Bool(text == "t"),
            "BOOLEAN" | "INT2" | "INT4" | "INT8" | "FLOAT4" | "FLOAT8" | "NUMERIC" | "TINYINT"
            | "SMALLINT" | "INT" | "BIGINT" | "INT UNSIGNED" | "BIGINT UNSIGNED" | "DOUBLE"
            | "DECIMAL" => serde_json::from_str(&text).expect("a number"),
            _ => Value::String(text),
        }
    };
    row.columns().iter().map(value).collect()
}

/// The start of a statement, for a message.
fn cut(sql: &str) -> String {
    sql.chars().take(400).collect()
}
