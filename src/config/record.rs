//! What is recorded through the server.

use chrono::TimeDelta;
use clap::Args;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Recording")]
pub struct RecordConfig {
    /// Hours for which an idempotency key is remembered; a retry that comes later records again
    #[arg(
        long,
        env = "CALLSCOPE_IDEMPOTENCY_HOURS",
        value_name = "H",
        default_value_t = 24,
        value_parser = clap::value_parser!(u32).range(1..=8760)
    )]
    pub idempotency_hours: u32,
}

impl RecordConfig {
    pub fn idempotency(&self) -> TimeDelta {
        TimeDelta::hours(self.idempotency_hours.into())
    }
}
