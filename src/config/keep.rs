//! How long calls and error logs are kept.

use chrono::TimeDelta;
use clap::Args;

use crate::domain::duration;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Keeping")]
pub struct KeepConfig {
    /// How long calls are kept, such as 90d or P90D; older ones are deleted for good. For ever by
    /// default
    #[arg(
        long,
        env = "CALLSCOPE_KEEP_CALLS",
        value_name = "DURATION",
        value_parser = duration::parse_setting
    )]
    pub keep_calls: Option<TimeDelta>,

    /// How long error logs are kept, such as 7d; older ones are deleted for good. For ever by default
    #[arg(
        long,
        env = "CALLSCOPE_KEEP_ERRORS",
        value_name = "DURATION",
        value_parser = duration::parse_setting
    )]
    pub keep_errors: Option<TimeDelta>,

    /// How often old rows are looked for; the first time a minute after the start
    #[arg(
        long,
        env = "CALLSCOPE_KEEP_CHECK_EVERY",
        value_name = "DURATION",
        default_value = "1h",
        value_parser = duration::parse_setting
    )]
    pub keep_check_every: TimeDelta,

    /// Let --keep-calls and --keep-errors delete from tables that Callscope found rather than made:
    /// they are the gateway's, which may want its rows, and may delete old ones itself
    #[arg(long, env = "CALLSCOPE_PRUNE_GATEWAY_TABLES")]
    pub prune_gateway_tables: bool,
}

impl KeepConfig {
    /// Whether anything is to be deleted.
    pub fn is_on(&self) -> bool {
        self.keep_calls.is_some() || self.keep_errors.is_some()
    }
}
