//! The configuration: one file per section, one struct field per setting. A setting is a flag, an
//! environment variable and a line of `callscope.toml`, in that order of precedence. The variable of a
//! field with `env` is `CALLSCOPE_` and its name (`config::file` adds the prefix): `max_depth` is
//! `CALLSCOPE_MAX_DEPTH`.

pub mod access;
pub mod database;
pub mod effective;
pub mod file;
pub mod graphql;
pub mod http;
pub mod keep;
pub mod log;
pub mod memory;
pub mod observe;
pub mod record;
pub mod replica;
pub mod secret_file;
pub mod server;

pub use access::AccessConfig;
pub use database::DatabaseConfig;
pub use graphql::GraphqlConfig;
pub use http::HttpConfig;
pub use keep::KeepConfig;
pub use log::{LogConfig, LogFormat};
pub use memory::{MemoryConfig, MemoryShares};
pub use observe::ObserveConfig;
pub use record::RecordConfig;
pub use replica::ReplicaConfig;
pub use server::ServerConfig;

use std::ops::RangeInclusive;

use clap::builder::{RangedI64ValueParser, RangedU64ValueParser};

/// A value that is never printed, such as a database URL or a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value. Never log it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

impl std::str::FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(value: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(value))
    }
}

fn u32_in(range: RangeInclusive<i64>) -> RangedI64ValueParser<u32> {
    RangedI64ValueParser::new().range(range)
}

fn u64_in(range: RangeInclusive<u64>) -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(range)
}

/// An IANA zone name, `UTC` or `Asia/Shanghai`.
pub(crate) fn parse_time_zone(name: &str) -> Result<chrono_tz::Tz, String> {
    name.parse().map_err(|_| format!("`{name}` is not an IANA time zone such as Asia/Shanghai"))
}
