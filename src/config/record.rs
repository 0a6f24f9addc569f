//! Settings for recording calls through the server.

use chrono::TimeDelta;
use clap::Args;
use clap::builder::NonEmptyStringValueParser as NonEmpty;

use super::u32_in;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Recording")]
pub struct RecordConfig {
    /// Hours for which an idempotency key is stored; a later retry records again
    #[arg(long, env, value_name = "H", default_value_t = 24, value_parser = u32_in(1..=8760))]
    pub idempotency_hours: u32,

    /// The attribute of a span or its resource with the API key of the call, or the id of a known
    /// key
    // No convention defines it, and a key must not be recorded by accident.
    #[arg(
        long,
        env,
        value_name = "NAME",
        default_value = "callscope.key",
        value_parser = NonEmpty::new()
    )]
    pub otlp_key_attribute: String,
}

impl RecordConfig {
    pub fn idempotency(&self) -> TimeDelta {
        TimeDelta::hours(self.idempotency_hours.into())
    }
}
