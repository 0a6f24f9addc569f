//! Retention of calls and error logs.

use chrono::TimeDelta;
use clap::Args;

use crate::domain::duration;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Keeping")]
pub struct KeepConfig {
    /// Retention of calls, such as 90d or P90D. Older ones are deleted permanently. Unlimited by default
    #[arg(long, env, value_name = "DURATION", value_parser = duration::parse_setting)]
    pub keep_calls: Option<TimeDelta>,

    /// Retention of error logs, such as 7d. Older ones are deleted permanently. Unlimited by default
    #[arg(long, env, value_name = "DURATION", value_parser = duration::parse_setting)]
    pub keep_errors: Option<TimeDelta>,

    /// Interval of the deletion of old rows; first run one minute after the start
    #[arg(
        long,
        env,
        value_name = "DURATION",
        default_value = "1h",
        value_parser = duration::parse_setting
    )]
    pub keep_check_every: TimeDelta,

    /// Let --keep-calls and --keep-errors delete from tables that Callscope did not create. They belong to
    /// the gateway, which may need its rows or delete old ones itself
    #[arg(long, env)]
    pub prune_gateway_tables: bool,
}

impl KeepConfig {
    /// Whether a retention is set.
    pub fn is_on(&self) -> bool {
        self.keep_calls.is_some() || self.keep_errors.is_some()
    }
}
