//! The server itself.

use async_graphql::SimpleObject;

use crate::config::GraphqlConfig;
use crate::graphql::scalar::{DateTime, Duration, TimeZone};

/// What this server is and what it allows.
#[derive(SimpleObject)]
pub struct ServerInfo {
    /// The version of Callscope.
    pub version: &'static str,
    /// The kind of the database: `SQLite`, `PostgreSQL` or `MySQL`, which MariaDB counts as.
    pub database: &'static str,
    /// The server's clock, which is the default of every `asOf`.
    pub now: DateTime,
    /// The zone of calendar months and series buckets where a query names none.
    pub time_zone: TimeZone,
    /// What a request may not exceed.
    pub limits: ServerLimits,
}

/// What a request may not exceed; more is an error, never a shorter answer.
#[derive(SimpleObject)]
pub struct ServerLimits {
    /// The largest `first` or `last` of a list.
    max_page_size: i32,
    /// The items of a list where neither is given.
    default_page_size: i32,
    /// How deep fields may nest.
    max_depth: i32,
    /// How many fields a query may select in all.
    max_complexity: i32,
    /// How many aliases a query may use.
    max_aliases: i32,
    /// How long a request may take.
    timeout: Duration,
    /// How many calls or errors one mutation may record.
    max_record_batch: i32,
}

impl From<&GraphqlConfig> for ServerLimits {
    fn from(config: &GraphqlConfig) -> Self {
        let int = |limit: u32| i32::try_from(limit).unwrap_or(i32::MAX);
        let timeout = i64::try_from(config.timeout_seconds).unwrap_or(i64::MAX / 1000);
        Self {
            max_page_size: int(config.max_page_size),
            default_page_size: int(config.default_page_size.min(config.max_page_size)),
            max_depth: int(config.max_depth),
            max_complexity: int(config.max_complexity),
            max_aliases: int(config.max_aliases),
            timeout: Duration(chrono::TimeDelta::seconds(timeout)),
            max_record_batch: int(config.max_record_batch),
        }
    }
}
