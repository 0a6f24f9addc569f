//! The databases of the tests. Each test gets a copy of one that is
//! migrated once per run: a copy costs from a hundredth (SQLite) to two thirds (PostgreSQL) of a
//! migration.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use callscope::config::DatabaseConfig;
use callscope::domain::table::LogTable;
use callscope::store::Database;
use callscope::store::partition::{NewPartitions, moved};
use callscope::store::schema::{NewTables, migrate_until};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::database::{Kind, TestDatabase, url_of};
use super::eventually;
use super::rows::MOVED_MONTHS;

/// The content of a test's database at its start.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    Empty,
    Migrated,
}

pub struct Servers {
    /// The SQLite files of this run.
    folder: TempDir,
    postgres: Option<String>,
    mariadb: Option<String>,
    /// The server for old months of PostgreSQL.
    old_months: Option<String>,
    /// With Citus in place of a single PostgreSQL server, its servers, the coordinator first.
    citus: Vec<String>,
    /// The prefix of this run's databases; other runs may share the servers.
    run: String,
    next: AtomicU64,
    templates: [OnceLock<String>; 3],
}

/// The content of a variable that is not empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Servers {
    pub fn from_environment() -> Self {
        let url = |kind: Kind| variable(kind.variable()?);
        let citus = variable("CALLSCOPE_TEST_CITUS_URLS").unwrap_or_default();
        let citus: Vec<String> = citus.split_whitespace().map(str::to_owned).collect();
        Self {
            folder: tempfile::tempdir().expect("a temporary folder for SQLite files"),
            postgres: citus.first().cloned().or_else(|| url(Kind::Postgres)),
            mariadb: url(Kind::MariaDb),
            old_months: variable("CALLSCOPE_TEST_POSTGRES_OLD_MONTHS_URL"),
            citus,
            run: format!("callscope_test_{:08x}", rand::random::<u32>()),
            next: AtomicU64::new(0),
            templates: Default::default(),
        }
    }

    /// Why databases of this kind are unavailable.
    pub fn lack(&self, kind: Kind) -> Option<String> {
        let variable = kind.variable()?;
        self.admin_url(kind).is_none().then(|| format!("{variable} is not set"))
    }

    fn admin_url(&self, kind: Kind) -> Option<&str> {
        match kind {
            Kind::Sqlite => None,
            Kind::Postgres => self.postgres.as_deref(),
            Kind::MariaDb => self.mariadb.as_deref(),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.db"))
    }

    pub fn url(&self, kind: Kind, name: &str) -> String {
        let Some(admin) = self.admin_url(kind) else {
            return format!("sqlite://{}", self.file(name).display());
        };
        url_of(admin, name)
    }

    /// Whether the tables of the tests have partitions.
    fn has_partitions(&self, kind: Kind) -> bool {
        let partitions = variable("CALLSCOPE_TEST_POSTGRES_PARTITIONS").is_some();
        kind == Kind::Postgres && (partitions || self.old_months.is_some())
    }

    pub fn has_moved_months(&self) -> bool {
        self.old_months.is_some()
    }

    /// The server for old months, if the tests on databases of this kind have one.
    fn old_months(&self, kind: Kind) -> Option<TestDatabase> {
        let url = self.old_months.clone().filter(|_| kind == Kind::Postgres)?;
        Some(TestDatabase::new(kind, url))
    }

    /// The database of a test.
    pub fn database(&self, kind: Kind, schema: Schema, name: &str) -> TestDatabase {
        let database = TestDatabase::new(kind, self.url(kind, name));
        match schema {
            Schema::Migrated if self.old_months(kind).is_some() => database.with_moved_months(),
            _ => database,
        }
    }

    fn admin(&self, kind: Kind) -> TestDatabase {
        TestDatabase::new(kind, self.admin_url(kind).unwrap_or_default().to_owned())
    }

    /// Creates a database for one test and returns its name.
    pub fn create(&self, runtime: &Runtime, kind: Kind, schema: Schema) -> String {
        let name = format!("{}_{}", self.run, self.next.fetch_add(1, Ordering::Relaxed));
        let template = match schema {
            Schema::Empty => None,
            // A copy would have no shards.
            Schema::Migrated if self.has_shards(kind) => None,
            Schema::Migrated => {
                Some(self.templates[kind as usize].get_or_init(|| self.template(runtime, kind)))
            }
        };
        runtime.block_on(async {
            self.copy(kind, template, &name).await;
            if self.has_shards(kind) {
                self.add_workers(&name).await;
                if schema == Schema::Migrated {
                    let config = TestDatabase::new(kind, self.url(kind, &name)).config();
                    let migrated =
                        migrate_until(&config, NewTables::Shards, std::future::pending());
                    migrated.await.expect("migrates");
                }
            }
        });
        name
    }

    fn has_shards(&self, kind: Kind) -> bool {
        kind == Kind::Postgres && !self.citus.is_empty()
    }

    /// Makes a database one of Citus.
    async fn add_workers(&self, name: &str) {
        let mut add = vec![];
        for (number, server) in self.citus.iter().enumerate() {
            if number > 0 {
                let admin = TestDatabase::new(Kind::Postgres, server.clone());
                admin.execute(&format!("CREATE DATABASE {name}")).await;
                admin.close().await;
            }
            let database = TestDatabase::new(Kind::Postgres, url_of(server, name));
            database.execute("CREATE EXTENSION citus").await;
            let url = reqwest::Url::parse(server).expect("the URL of a server");
            let (host, port) = (url.host_str().expect("a host"), url.port().expect("a port"));
            let function = ["citus_set_coordinator_host", "citus_add_node"][number.min(1)];
            add.push(format!("SELECT {function}('{host}', {port})"));
            database.close().await;
        }
        let coordinator = TestDatabase::new(Kind::Postgres, self.url(Kind::Postgres, name));
        for add in add {
            // The first connection between two servers sometimes fails.
            eventually("a server of the cluster", async || {
                coordinator.try_query(&add).await.is_ok()
            })
            .await;
        }
        coordinator.close().await;
    }

    fn template(&self, runtime: &Runtime, kind: Kind) -> String {
        let name = format!("{}_template", self.run);
        runtime.block_on(async {
            self.copy(kind, None, &name).await;
            let database = TestDatabase::new(kind, self.url(kind, &name));
            let now = "2026-03".parse().expect("a month");
            let partitions = NewPartitions { since: "2026-01".parse().expect("a month"), now };
            let tables = match self.has_partitions(kind) {
                true => NewTables::Partitions(partitions),
                false => NewTables::Plain,
            };
            let config = database.config();
            let done = migrate_until(&config, tables, std::future::pending()).await;
            done.expect("migrates");
            if let Some(old) = self.old_months(kind) {
                move_months(&database, &old).await;
            }
        });
        name
    }

    async fn copy(&self, kind: Kind, template: Option<&String>, name: &str) {
        match kind {
            Kind::Sqlite => match template {
                Some(template) => {
                    std::fs::copy(self.file(template), self.file(name)).expect("copies the file");
                }
                // SQLite treats an empty file as an empty database.
                None => std::fs::write(self.file(name), "").expect("creates the file"),
            },
            Kind::Postgres => {
                let source = template.map_or("template0", String::as_str);
                // The default strategy logs every page: 200 ms in place of 15.
                let sql = format!("CREATE DATABASE {name} TEMPLATE {source} STRATEGY file_copy");
                for server in [Some(self.admin(kind)), self.old_months(kind)].iter().flatten() {
                    server.execute(&sql).await;
                    server.close().await;
                }
                if template.is_some() && self.old_months(kind).is_some() {
                    let database = TestDatabase::new(kind, self.url(kind, name));
                    let use_own = format!("ALTER SERVER archive OPTIONS (SET dbname '{name}')");
                    database.execute(&use_own).await;
                    database.close().await;
                }
            }
            Kind::MariaDb => {
                let admin = self.admin(kind);
                admin.execute(&format!("CREATE DATABASE {name}")).await;
                if let Some(template) = template {
                    let tables = admin.query(&format!("SHOW TABLES FROM {template}")).await;
                    let copies: Vec<String> = tables
                        .iter()
                        .filter_map(|row| row[0].as_str())
                        .map(|table| {
                            format!(
                                "CREATE TABLE {name}.{table} LIKE {template}.{table}; \
                                 INSERT INTO {name}.{table} SELECT * FROM {template}.{table}"
                            )
                        })
                        .collect();
                    admin.execute(&copies.join("; ")).await;
                }
                admin.close().await;
            }
        }
    }

    /// Drops a test's database, even if a connection is still open.
    pub fn drop(&self, kind: Kind, name: &str) {
        if name.is_empty() {
            return;
        }
        let statement = match kind {
            Kind::Sqlite => {
                for suffix in ["", "-wal", "-shm"] {
                    let file = format!("{}{suffix}", self.file(name).display());
                    // Some of these files may not exist.
                    std::fs::remove_file(file).ok();
                }
                return;
            }
            Kind::Postgres => format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
            Kind::MariaDb => format!("DROP DATABASE IF EXISTS {name}"),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let workers = self.citus.iter().skip(1).filter(|_| kind == Kind::Postgres);
            let workers = workers.map(|url| TestDatabase::new(kind, url.clone()));
            let servers = [Some(self.admin(kind)), self.old_months(kind)].into_iter().flatten();
            for server in servers.chain(workers) {
                server.execute(&statement).await;
                server.close().await;
            }
        });
    }

    /// Called at the end of the run.
    pub fn drop_templates(&self) {
        for kind in Kind::ALL {
            if let Some(name) = self.templates[kind as usize].get() {
                self.drop(kind, name);
            }
        }
    }
}

/// Moves months, which are still empty, to the database with the same name on the server of `old`.
async fn move_months(database: &TestDatabase, old: &TestDatabase) {
    let (name, old) = (database.name(), reqwest::Url::parse(old.url()).expect("a URL"));
    let (host, port) = (old.host_str().expect("a host"), old.port().unwrap_or(5432));
    database
        .execute(&format!(
            "CREATE EXTENSION postgres_fdw; CREATE EXTENSION dblink; \
             CREATE SERVER archive FOREIGN DATA WRAPPER postgres_fdw \
             OPTIONS (host '{host}', port '{port}', dbname '{name}', connect_timeout '2', tcp_user_timeout '10000'); \
             CREATE USER MAPPING FOR CURRENT_USER SERVER archive OPTIONS (user '{}')",
            old.username()
        ))
        .await;
    // A move needs both.
    let config = DatabaseConfig { rollups: true, failure_classes: true, ..database.config() };
    let db = Database::open(&config).await.expect("opens");
    let now = "2026-06-01T00:00:00Z".parse().expect("a time");
    for month in MOVED_MONTHS {
        for table in LogTable::ALL {
            let month = format!("{}_{}", table.name(), month.replace('-', "_"));
            moved::move_month(&db, &month, "archive", now, &|_| {}).await.expect("moves");
            // For the rows of the tests.
            let writable = format!("ALTER FOREIGN TABLE {month} OPTIONS (DROP updatable)");
            database.execute(&writable).await;
        }
    }
    db.close().await.expect("closes");
    database.close().await;
}
