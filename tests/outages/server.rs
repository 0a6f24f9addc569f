//! A PostgreSQL or MariaDB server that belongs to one test, on a free port. Root runs it
//! as the user of its package, because both servers refuse to run as root.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::RngExt;
use sea_orm::SqlxError;
use sea_orm::sqlx::{
    AssertSqlSafe, Connection, MySqlConnection, PgConnection, query_scalar, raw_sql,
};
use tempfile::TempDir;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Postgres,
    MariaDb,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MariaDb => "mariadb",
        }
    }

    /// The system user that root runs it as.
    fn user(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MariaDb => "mysql",
        }
    }
}

pub struct Server {
    pub kind: Kind,
    folder: TempDir,
    port: u16,
    /// Threads that each wait for a process to end.
    ends: Mutex<Vec<JoinHandle<()>>>,
}

impl Server {
    /// A fresh server with the user `app`, without administrator rights, and the user's database; or the reason
    /// why it cannot start.
    pub fn start(kind: Kind) -> Result<Self, String> {
        for name in programs(kind) {
            if find(name).is_none() {
                return Err(format!(
                    "{name} is not here: apt-get install postgresql mariadb-server"
                ));
            }
        }
        let folder =
            tempfile::Builder::new().prefix("callscope-outages.").tempdir().expect("a folder");
        change_owner(folder.path(), kind);
        let mut server = Self { kind, folder, port: 0, ends: Mutex::default() };
        let data = server.data();
        match kind {
            Kind::Postgres => server.run(
                "initdb",
                &[
                    "-D",
                    &data,
                    "-U",
                    "postgres",
                    "-A",
                    "trust",
                    "-E",
                    "UTF8",
                    "--locale=C",
                    "--no-sync",
                ],
            ),
            Kind::MariaDb => {
                let users = "CREATE DATABASE IF NOT EXISTS logs; \
                    CREATE USER IF NOT EXISTS 'admin'@'127.0.0.1'; GRANT ALL ON *.* TO 'admin'@'127.0.0.1'; \
                    CREATE USER IF NOT EXISTS 'app'@'127.0.0.1'; GRANT ALL ON logs.* TO 'app'@'127.0.0.1';\n";
                // One statement per line, which is how the server reads them.
                std::fs::write(server.path("init.sql"), users.replace("; ", ";\n"))
                    .expect("writes");
                let folder = format!("--datadir={data}");
                let log = "--innodb-log-file-size=16M";
                let root = "--auth-root-authentication-method=normal";
                server.run(
                    "mariadb-install-db",
                    &["--no-defaults", &folder, "--skip-test-db", root, "--skip-name-resolve", log],
                );
            }
        }
        server.start_on_a_free_port();
        if kind == Kind::Postgres {
            let sql = ["CREATE ROLE app LOGIN", "CREATE DATABASE logs OWNER app"];
            sql.iter().for_each(|sql| server.run_sql(sql));
        }
        Ok(server)
    }

    pub fn url(&self) -> String {
        match self.kind {
            Kind::Postgres => format!("postgres://app@127.0.0.1:{}/logs", self.port),
            Kind::MariaDb => format!("mysql://app@127.0.0.1:{}/logs", self.port),
        }
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The same database by another address.
    pub fn url_at(&self, address: SocketAddr) -> String {
        self.url().replace(&self.address().to_string(), &address.to_string())
    }

    pub fn admin_url(&self) -> String {
        match self.kind {
            Kind::Postgres => format!("postgres://postgres@127.0.0.1:{}/postgres", self.port),
            Kind::MariaDb => format!("mysql://admin@127.0.0.1:{}/mysql", self.port),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn data(&self) -> String {
        self.path("data").display().to_string()
    }

    /// Another program may take a free port before the server binds it: then the server ends, and another
    /// port is tried.
    fn start_on_a_free_port(&mut self) {
        let since = Instant::now();
        while !self.answers() {
            if !self.is_running() {
                self.port = free_port();
                self.spawn();
            }
            self.wait_to_start(since);
        }
    }

    /// Starts it on its port, with its data, and waits until it answers.
    pub fn start_again(&self) {
        let since = Instant::now();
        while !self.answers() {
            if !self.is_running() {
                // A killed server holds its port and its memory for a short time.
                self.spawn();
            }
            self.wait_to_start(since);
        }
    }

    fn wait_to_start(&self, since: Instant) {
        let late = since.elapsed() > Duration::from_secs(60);
        assert!(!late, "{} did not start: {}", self.kind.name(), self.log());
        std::thread::sleep(Duration::from_millis(100));
    }

    fn spawn(&self) {
        let data = self.data();
        let log = File::options().create(true).append(true).open(self.path("log")).expect("a log");
        let port = self.port.to_string();
        let mut command = match self.kind {
            Kind::Postgres => {
                let mut command = self.command("postgres");
                command.args(["-D", &data, "-p", &port, "-c", "listen_addresses=127.0.0.1"]);
                command.args(["-c", "unix_socket_directories=", "-c", "shared_buffers=16MB"]);
                command
            }
            Kind::MariaDb => {
                let mut command = self.command("mariadbd");
                command.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve"]);
                command.arg(format!("--datadir={data}")).arg(format!("--port={port}"));
                command.arg(format!("--socket={}", self.path("socket").display()));
                command.arg(format!("--pid-file={}", self.path("pid").display()));
                command.arg(format!("--init-file={}", self.path("init.sql").display()));
                command.args(["--skip-log-bin", "--innodb-log-file-size=16M"]);
                command
            }
        };
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        let mut child = command.spawn().expect("starts");
        // Otherwise it stays a zombie, which still looks like a running process.
        let end = std::thread::spawn(move || drop(child.wait()));
        self.ends.lock().expect("a list").push(end);
        let started = Instant::now();
        while !self.is_running() && started.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn pid(&self) -> Option<String> {
        let file = match self.kind {
            Kind::Postgres => self.path("data").join("postmaster.pid"),
            Kind::MariaDb => self.path("pid"),
        };
        Some(std::fs::read_to_string(file).ok()?.lines().next()?.trim().to_owned())
    }

    fn is_running(&self) -> bool {
        self.pid().is_some_and(|pid| Path::new("/proc").join(pid).exists())
    }

    /// Whether this server, rather than another one, answers on its port.
    fn answers(&self) -> bool {
        let url = self.admin_url();
        let folder: Result<String, SqlxError> = block_on(async {
            match self.kind {
                Kind::Postgres => {
                    let mut admin = PgConnection::connect(&url).await?;
                    query_scalar("SHOW data_directory").fetch_one(&mut admin).await
                }
                Kind::MariaDb => {
                    let mut admin = MySqlConnection::connect(&url).await?;
                    query_scalar("SELECT @@datadir").fetch_one(&mut admin).await
                }
            }
        });
        folder.is_ok_and(|folder| folder.trim_end_matches('/') == self.data())
    }

    /// As its package does it, without waiting for clients.
    pub fn stop(&mut self) {
        // PostgreSQL's fast shutdown; TERM for MariaDB.
        self.signal(if self.kind == Kind::Postgres { "INT" } else { "TERM" });
        self.await_end();
    }

    pub fn kill(&mut self) {
        self.signal_all("KILL");
        self.await_end();
    }

    fn await_end(&self) {
        let started = Instant::now();
        while self.is_running() {
            assert!(started.elapsed() < Duration::from_secs(60), "did not stop: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, name: &str) {
        if let Some(pid) = self.pid() {
            send(name, &pid);
        }
    }

    /// Sends a signal to the server and, with PostgreSQL, to the processes of its connections.
    pub fn signal_all(&self, name: &str) {
        let Some(pid) = self.pid() else { return };
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        send(name, &pid);
        for child in children.unwrap_or_default().split_whitespace() {
            send(name, child);
        }
    }

    /// Forbids new connections of the user, and ends the current ones.
    pub async fn allow_no_connection(&self) -> Option<MySqlConnection> {
        match self.kind {
            Kind::Postgres => {
                let end =
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'";
                self.sql("ALTER ROLE app CONNECTION LIMIT 0").await;
                self.sql(end).await;
                None
            }
            Kind::MariaDb => {
                self.sql("ALTER USER 'app'@'127.0.0.1' WITH MAX_USER_CONNECTIONS 1").await;
                self.sql("KILL USER 'app'@'127.0.0.1'").await;
                let started = Instant::now();
                // The test takes the only connection before another client does.
                loop {
                    match MySqlConnection::connect(&self.url()).await {
                        Ok(connection) => return Some(connection),
                        Err(_) => self.sql("KILL USER 'app'@'127.0.0.1'").await,
                    }
                    assert!(
                        started.elapsed() < Duration::from_secs(30),
                        "the only connection is not available"
                    );
                }
            }
        }
    }

    pub async fn allow_connections(&self, held: Option<MySqlConnection>) {
        match self.kind {
            Kind::Postgres => self.sql("ALTER ROLE app CONNECTION LIMIT -1").await,
            Kind::MariaDb => {
                self.sql("ALTER USER 'app'@'127.0.0.1' WITH MAX_USER_CONNECTIONS 0").await;
            }
        }
        if let Some(held) = held {
            held.close().await.expect("closes");
        }
    }

    pub async fn sql(&self, sql: &str) {
        let sql = raw_sql(AssertSqlSafe(sql));
        match self.kind {
            Kind::Postgres => {
                let mut admin = PgConnection::connect(&self.admin_url()).await.expect("connects");
                sql.execute(&mut admin).await.expect("runs");
            }
            Kind::MariaDb => {
                let mut admin =
                    MySqlConnection::connect(&self.admin_url()).await.expect("connects");
                sql.execute(&mut admin).await.expect("runs");
            }
        }
    }

    /// Runs a statement as the user of the application.
    pub async fn execute(&self, sql: &str) {
        let sql = raw_sql(AssertSqlSafe(sql));
        match self.kind {
            Kind::Postgres => {
                let mut user = PgConnection::connect(&self.url()).await.expect("connects");
                sql.execute(&mut user).await.expect("runs");
            }
            Kind::MariaDb => {
                let mut user = MySqlConnection::connect(&self.url()).await.expect("connects");
                sql.execute(&mut user).await.expect("runs");
            }
        }
    }

    /// Waits until a session builds an index.
    pub async fn await_index_build(&self) {
        let start = Instant::now();
        let sql = match self.kind {
            Kind::Postgres => "SELECT COUNT(*) FROM pg_stat_progress_create_index",
            Kind::MariaDb => {
                "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'CREATE INDEX%' \
                 AND state NOT LIKE 'Waiting%'"
            }
        };
        loop {
            let count: i64 = match self.kind {
                Kind::Postgres => {
                    let mut user = PgConnection::connect(&self.url()).await.expect("connects");
                    query_scalar(sql).fetch_one(&mut user).await.expect("answers")
                }
                Kind::MariaDb => {
                    let mut user = MySqlConnection::connect(&self.url()).await.expect("connects");
                    query_scalar(sql).fetch_one(&mut user).await.expect("answers")
                }
            };
            if count > 0 {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "no index is built");
        }
    }

    fn run_sql(&self, sql: &str) {
        block_on(self.sql(sql));
    }

    /// A program of the server, run by its user, from a folder that the user can enter.
    fn command(&self, program: &str) -> Command {
        let path = find(program).expect("found before");
        let mut command = if is_root() {
            // Not runuser: its process stays between, and hangs with a frozen server.
            let mut command = Command::new("setpriv");
            let user = self.kind.user();
            command.args(["--reuid", user, "--regid", user, "--init-groups", "--"]).arg(path);
            command
        } else {
            Command::new(path)
        };
        command.current_dir(self.folder.path());
        command
    }

    fn run(&self, program: &str, args: &[&str]) {
        let output = self.command(program).args(args).output().expect("runs");
        assert!(output.status.success(), "{program}: {output:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal_all("KILL");
        let ends = std::mem::take(&mut *self.ends.lock().unwrap_or_else(PoisonError::into_inner));
        let started = Instant::now();
        while !ends.iter().all(JoinHandle::is_finished) && !std::thread::panicking() {
            let waited = started.elapsed();
            assert!(waited < Duration::from_secs(30), "a process is left behind: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Below the range of ports for outgoing connections, so that the port is still free
/// after the server has stopped.
fn free_port() -> u16 {
    loop {
        let port = rand::rng().random_range(20_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn programs(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Postgres => &["initdb", "postgres"],
        Kind::MariaDb => &["mariadb-install-db", "mariadbd"],
    }
}

/// Looks where `scripts/test-databases` looks: Debian keeps PostgreSQL's programs outside PATH.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    folders.extend(["/usr/sbin".into(), "/usr/libexec".into()]);
    folders.iter().map(|folder| folder.join(program)).find(|file| file.exists())
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id");
    id.stdout.trim_ascii() == b"0"
}

fn change_owner(folder: &Path, kind: Kind) {
    if is_root() {
        let owned = Command::new("chown").arg(kind.user()).arg(folder).status().expect("chown");
        assert!(owned.success(), "the folder changes its owner");
    }
}

fn send(signal: &str, pid: &str) {
    // It may have ended already.
    Command::new("kill").args(["-s", signal, pid]).stderr(Stdio::null()).status().expect("kill");
}

/// Works within a runtime and without one.
fn block_on<T: Send>(future: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        scope.spawn(move || runtime.block_on(future)).join().expect("ends")
    })
}
