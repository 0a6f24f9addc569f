//! Standbys that answer queries.

use std::time::Duration;

use clap::Args;

use super::{Secret, u64_in};

#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Database")]
pub struct ReplicaConfig {
    /// A streaming standby of the PostgreSQL database, which then answers queries; repeat it for several, or
    /// separate them by spaces. Mutations, subscriptions and background jobs use the primary, and so do the queries
    /// of a client until a standby has what it wrote
    #[arg(
        long,
        env,
        value_name = "URL",
        value_delimiter = ' ',
        value_parser = parse_replica_url,
        hide_env_values = true
    )]
    pub read_database_url: Vec<Secret>,

    /// Standbys that are further behind than these seconds answer no queries
    #[arg(long, env, value_name = "S", default_value_t = 5, value_parser = u64_in(1..=300))]
    pub max_replica_lag: u64,
}

impl ReplicaConfig {
    pub fn max_lag(&self) -> Duration {
        Duration::from_secs(self.max_replica_lag)
    }
}

fn parse_replica_url(url: &str) -> Result<Secret, String> {
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err("the URL of a standby starts with postgres://".to_owned());
    }
    let host = url.split('?').next().and_then(|url| url.rsplit('@').next()).unwrap_or(url);
    match host.contains(',') {
        true => Err("the URL of a standby has one host: repeat the setting for others".to_owned()),
        false => Ok(Secret::new(url)),
    }
}
