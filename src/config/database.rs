//! Where the calls are stored and how the database is opened.

use chrono_tz::Tz;
use clap::Args;

use super::{Secret, parse_time_zone};

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Database")]
pub struct DatabaseConfig {
    /// The database to serve: sqlite://FILE, postgres://USER:PASSWORD@HOST/NAME or
    /// mysql://USER:PASSWORD@HOST/NAME (MariaDB too). DATABASE_URL is read as well
    #[arg(
        long,
        env = "CALLSCOPE_DATABASE_URL",
        value_name = "URL",
        default_value = "sqlite://callscope.db",
        value_parser = parse_database_url,
        hide_env_values = true
    )]
    pub database_url: Secret,

    /// Serve the database as it is: create no table, add no index, write nothing
    #[arg(long, env = "CALLSCOPE_READ_ONLY")]
    pub read_only: bool,

    /// The IANA time zone of the naive times in the tables; what leaves the server is UTC
    #[arg(
        long,
        env = "CALLSCOPE_STORAGE_TIME_ZONE",
        value_name = "ZONE",
        default_value = "UTC",
        value_parser = parse_time_zone
    )]
    pub storage_time_zone: Tz,

    /// Connections that answer queries. Of two or more, one is kept for cheap queries; a health check has
    /// its own. What writes has its own: one for SQLite, as many again for
    /// PostgreSQL and MySQL, opened when there is something to write
    #[arg(
        long,
        env = "CALLSCOPE_DATABASE_CONNECTIONS",
        value_name = "N",
        default_value_t = 4,
        value_parser = clap::value_parser!(u32).range(1..=256)
    )]
    pub database_connections: u32,

    /// Seconds to wait for a free connection before a request fails: with SERVER_BUSY where the database
    /// answers others meanwhile, with DATABASE_UNAVAILABLE otherwise
    #[arg(
        long,
        env = "CALLSCOPE_DATABASE_WAIT_SECONDS",
        value_name = "S",
        default_value_t = 5,
        value_parser = clap::value_parser!(u64).range(1..=300)
    )]
    pub database_wait_seconds: u64,

    /// Seconds of database time that a token, or an address without one, may use in a minute before its
    /// statements have one connection at a time and yield to those of other callers. 0 is no limit
    #[arg(
        long,
        env = "CALLSCOPE_MAX_DATABASE_SECONDS_PER_MINUTE",
        value_name = "S",
        default_value_t = 30,
        value_parser = clap::value_parser!(u32).range(0..=3600)
    )]
    pub max_database_seconds_per_minute: u32,

    /// Seconds that the build of an index may take, as estimated, for the start to wait for it. Larger
    /// tables are served at once: PostgreSQL and MySQL build their indexes in the background. SQLite
    /// has no such build and blocks the gateway's writes, so that `callscope migrate` builds them. A
    /// second is about 500,000 calls
    #[arg(
        long,
        env = "CALLSCOPE_INDEX_BUILD_SECONDS",
        value_name = "S",
        default_value_t = 1,
        value_parser = clap::value_parser!(u64).range(0..=3600)
    )]
    pub index_build_seconds: u64,

    /// The secret from which ApiKey ids are made, at least 16 characters. Without it one is made at
    /// random and kept in the table callscope_settings; a database opened with --read-only that has
    /// none needs it
    #[arg(long, env = "CALLSCOPE_ID_KEY", value_name = "SECRET", hide_env_values = true)]
    pub id_key: Option<Secret>,
}

/// Takes the URLs of the three databases; those of MariaDB by its own name, too.
fn parse_database_url(url: &str) -> Result<Secret, String> {
    let known = ["sqlite:", "postgres://", "postgresql://", "mysql://"];
    match url.strip_prefix("mariadb://") {
        Some(rest) => Ok(Secret::new(format!("mysql://{rest}"))),
        None if known.iter().any(|scheme| url.starts_with(scheme)) => Ok(Secret::new(url)),
        None => Err("a database URL begins with sqlite://, postgres:// or mysql://".to_owned()),
    }
}
