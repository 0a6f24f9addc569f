//! Slow statement log and traces.

use std::time::Duration;

use clap::Args;

use super::u64_in;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Observability")]
pub struct ObserveConfig {
    /// Milliseconds from which an SQL statement is logged, with its text but without values; 0 disables it
    #[arg(
        long,
        env,
        value_name = "MS",
        default_value_t = 1000,
        value_parser = u64_in(0..=3_600_000)
    )]
    pub slow_query_ms: u64,

    /// The OpenTelemetry collector for traces, by OTLP over HTTP, such as http://127.0.0.1:4318.
    /// OTEL_EXPORTER_OTLP_ENDPOINT is read as well. By default no traces are sent
    #[arg(long, env, value_name = "URL", value_parser = parse_endpoint)]
    pub otlp_endpoint: Option<String>,
}

fn parse_endpoint(url: &str) -> Result<String, String> {
    match ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
        true => Ok(url.to_owned()),
        false => Err("the URL of a collector starts with http:// or https://".to_owned()),
    }
}

impl ObserveConfig {
    pub fn slow_query(&self) -> Option<Duration> {
        (self.slow_query_ms > 0).then(|| Duration::from_millis(self.slow_query_ms))
    }
}
