//! The database and how it is opened.

use chrono_tz::Tz;
use clap::Args;

use super::{Secret, parse_time_zone, u32_in, u64_in};

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Database")]
pub struct DatabaseConfig {
    /// The database to serve: sqlite://FILE, postgres://USER:PASSWORD@HOST/NAME or
    /// mysql://USER:PASSWORD@HOST/NAME (MariaDB too). DATABASE_URL is read as well. With several hosts,
    /// separated by commas, connections use the first that fits ?target_session_attrs=, by default read-write,
    /// and any with --read-only
    #[arg(
        long,
        env,
        value_name = "URL",
        default_value = "sqlite://callscope.db",
        value_parser = parse_database_url,
        hide_env_values = true
    )]
    pub database_url: Secret,

    /// Open the database read-only: create no tables or indexes, record nothing
    #[arg(long, env)]
    pub read_only: bool,

    /// The IANA time zone of the naive times in the tables. Responses are in UTC
    #[arg(long, env, value_name = "ZONE", default_value = "UTC", value_parser = parse_time_zone)]
    pub storage_time_zone: Tz,

    /// Connections for queries. With two or more, one is reserved for cheap queries. Health checks use a
    /// separate one. So do writes: one connection on SQLite, the same number again on PostgreSQL and
    /// MySQL, opened on demand
    #[arg(long, env, value_name = "N", default_value_t = 4, value_parser = u32_in(1..=256))]
    pub database_connections: u32,

    /// Seconds to wait for a free connection before a request fails: with SERVER_BUSY if the database
    /// still answers other requests, otherwise with DATABASE_UNAVAILABLE
    #[arg(long, env, value_name = "S", default_value_t = 5, value_parser = u64_in(1..=300))]
    pub database_wait_seconds: u64,

    /// Seconds of database time per minute and token, or address without one. Above it, a caller's
    /// statements use one connection at a time and yield to those of other callers. 0 is no limit
    #[arg(long, env, value_name = "S", default_value_t = 30, value_parser = u32_in(0..=3600))]
    pub max_database_seconds_per_minute: u32,

    /// The start waits for builds of indexes with an estimate below this, in seconds. Otherwise the server
    /// starts without the index. PostgreSQL and MySQL then build it in the background. On SQLite a build
    /// blocks the gateway's writes, so that only `callscope migrate` builds it. A second is about 500,000
    /// calls; 0 builds none
    #[arg(long, env, value_name = "S", default_value_t = 1, value_parser = u64_in(0..=3600))]
    pub index_build_seconds: u64,

    /// Fold calls into rollups, so that statistics of long windows take milliseconds for any number of
    /// calls, and include deleted calls
    #[arg(long, env, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub rollups: bool,

    /// With fewer calls than this, statistics are computed from single calls, with exact percentiles
    #[arg(long, env, value_name = "N", default_value_t = 50_000, value_parser = u64_in(0..=1_000_000_000))]
    pub rollup_from_calls: u64,

    /// Use an index of the texts of error logs for searches (`contains`). On SQLite the server keeps one, with
    /// about half of the size of the texts, and `false` deletes it; all servers of a file need the same value.
    /// On PostgreSQL it uses callscope_error_logs_text if that index exists
    #[arg(long, env, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub text_index: bool,

    /// Keep the failure class of each error log in a separate table, for filters and groups by class.
    /// Otherwise such a query first classifies the error logs that it needs, at most 1,000
    #[arg(long, env, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub failure_classes: bool,

    /// The secret for the hashes that are the ids of API keys, at least 16 characters. By default a
    /// random one in the table callscope_settings; required with --read-only if that table has none
    #[arg(long, env, value_name = "SECRET", hide_env_values = true)]
    pub id_key: Option<Secret>,
}

/// Accepts the URLs of the three databases, and mariadb:// as mysql://.
fn parse_database_url(url: &str) -> Result<Secret, String> {
    let known = ["sqlite:", "postgres://", "postgresql://", "mysql://"];
    match url.strip_prefix("mariadb://") {
        Some(rest) => Ok(Secret::new(format!("mysql://{rest}"))),
        None if known.iter().any(|scheme| url.starts_with(scheme)) => Ok(Secret::new(url)),
        None => Err("a database URL starts with sqlite://, postgres:// or mysql://".to_owned()),
    }
}
