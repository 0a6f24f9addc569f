//! The databases that are measured: SQLite, and those of servers whose URLs are in the environment.

use callscope::config::DatabaseConfig;
use callscope::store::connect;
use sea_orm::sqlx::sqlite::SqliteSynchronous;
use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseBackend, DatabaseConnection};
use tempfile::TempDir;

use super::{data, settings};

/// The database on each server; it is dropped after the run.
const NAME: &str = "callscope_bench";

const SERVERS: [(&str, &str); 2] = [
    (Engine::NAMES[1], "CALLSCOPE_TEST_POSTGRES_URL"),
    (Engine::NAMES[2], "CALLSCOPE_TEST_MARIADB_URL"),
];

pub struct Engine {
    pub name: &'static str,
    /// The URL of a server; `None` for SQLite.
    server: Option<String>,
}

pub struct Database {
    pub url: String,
    server: Option<String>,
    _folder: Option<TempDir>,
}

impl Engine {
    pub const NAMES: [&str; 3] = ["SQLite", "PostgreSQL", "MariaDB"];

    /// SQLite, and the servers whose URLs are set.
    pub fn all() -> Vec<Self> {
        let mut engines = vec![Self { name: Self::NAMES[0], server: None }];
        for (name, variable) in SERVERS {
            match std::env::var(variable) {
                Ok(server) => engines.push(Self { name, server: Some(server) }),
                Err(_) => println!("{name}: not measured, {variable} is not set"),
            }
        }
        engines
    }

    /// A database with empty tables.
    pub async fn create(&self) -> anyhow::Result<Database> {
        let (url, folder) = match &self.server {
            None => {
                // Not in a folder in memory.
                let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
                (format!("sqlite://{}", folder.path().join("calls.db").display()), Some(folder))
            }
            Some(server) => {
                run(server, &format!("DROP DATABASE IF EXISTS {NAME}")).await?;
                run(server, &format!("CREATE DATABASE {NAME}")).await?;
                let mut url = reqwest::Url::parse(server)?;
                url.set_path(NAME);
                (url.into(), None)
            }
        };
        connect::migrate(&settings::<DatabaseConfig>(&["--database-url", &url])).await?;
        Ok(Database { url, server: self.server.clone(), _folder: folder })
    }

    /// A database with the calls of `data`. The file of SQLite is kept for the next run.
    pub async fn filled(&self, calls: u64, step_micros: i64) -> anyhow::Result<Database> {
        if self.server.is_none() {
            let file = data::sqlite_with(calls, step_micros).await?;
            let url = format!("sqlite://{}", file.display());
            return Ok(Database { url, server: None, _folder: None });
        }
        eprintln!("{}: making {calls} calls", self.name);
        let database = self.create().await?;
        let connection = database.connect().await?;
        data::insert(calls, step_micros, async |sql| {
            connection.execute_unprepared(&sql).await?;
            Ok(())
        })
        .await?;
        // The server does this itself within minutes.
        let analyze = match connection.get_database_backend() {
            DatabaseBackend::Postgres => "VACUUM ANALYZE",
            _ => "ANALYZE TABLE t_request_log, t_error_logs",
        };
        connection.execute_unprepared(analyze).await?;
        connection.close().await?;
        Ok(database)
    }
}

impl Database {
    /// A connection with the page cache and durability of the server's own.
    pub async fn connect(&self) -> anyhow::Result<DatabaseConnection> {
        let mut options = ConnectOptions::new(&self.url);
        options.max_connections(1).sqlx_logging(false).map_sqlx_sqlite_opts(|sqlite| {
            sqlite.synchronous(SqliteSynchronous::Full).pragma("cache_size", "-16384")
        });
        Ok(sea_orm::Database::connect(options).await?)
    }

    pub async fn drop(self) -> anyhow::Result<()> {
        match &self.server {
            Some(server) => run(server, &format!("DROP DATABASE {NAME}")).await,
            None => Ok(()),
        }
    }
}

async fn run(server: &str, sql: &str) -> anyhow::Result<()> {
    let connection = sea_orm::Database::connect(server).await?;
    connection.execute_unprepared(sql).await?;
    Ok(connection.close().await?)
}
