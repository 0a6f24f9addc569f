//! Where and how the HTTP server listens.

use std::net::SocketAddr;

use clap::Args;

use super::HttpConfig;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub struct ServerConfig {
    /// The address and port to listen on
    #[arg(
        long,
        env = "CALLSCOPE_LISTEN",
        value_name = "ADDR:PORT",
        default_value = "127.0.0.1:8000"
    )]
    pub listen: SocketAddr,

    /// Seconds that requests in flight are given to finish after SIGTERM or ctrl-c
    #[arg(
        long,
        env = "CALLSCOPE_SHUTDOWN_GRACE_SECONDS",
        value_name = "S",
        default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(0..=3600)
    )]
    pub shutdown_grace_seconds: u64,

    /// The largest request body that is read, in bytes
    #[arg(
        long,
        env = "CALLSCOPE_MAX_BODY_BYTES",
        value_name = "BYTES",
        default_value_t = 1_048_576,
        value_parser = clap::value_parser!(u64).range(1024..=1_073_741_824)
    )]
    pub max_body_bytes: u64,

    #[command(flatten)]
    pub http: HttpConfig,
}
