//! The address and the request limits of the HTTP server.

use std::net::SocketAddr;

use clap::Args;

use super::{HttpConfig, MemoryConfig, u32_in, u64_in};

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub struct ServerConfig {
    /// The address and port to listen on
    #[arg(long, env, value_name = "ADDR:PORT", default_value = "127.0.0.1:8000")]
    pub listen: SocketAddr,

    /// Seconds for requests in flight to finish after SIGTERM or ctrl-c
    #[arg(long, env, value_name = "S", default_value_t = 30, value_parser = u64_in(0..=3600))]
    pub shutdown_grace_seconds: u64,

    /// The maximum size of a request body, in bytes; for a stream of rows, of a line
    #[arg(
        long,
        env,
        value_name = "BYTES",
        default_value_t = 1_048_576,
        value_parser = u64_in(1024..=1_073_741_824)
    )]
    pub max_body_bytes: u64,

    /// The maximum of concurrent GraphQL requests, and separately of concurrent streams of rows. More are
    /// rejected with 503
    #[arg(long, env, value_name = "N", default_value_t = 256, value_parser = u32_in(1..=100_000))]
    pub max_concurrent_requests: u32,

    /// The maximum of requests per minute to /graphql, /ingest, /v1/traces and /session, per token or
    /// address without one, in bursts or not. More are rejected with 429. 0 is no limit
    #[arg(long, env, value_name = "N", default_value_t = 0, value_parser = u32_in(0..=10_000_000))]
    pub max_requests_per_minute: u32,

    /// The maximum of invalid tokens and sessions per minute and address. More are rejected with 429; valid
    /// ones are always accepted. 0 is no limit
    #[arg(long, env, value_name = "N", default_value_t = 60, value_parser = u32_in(0..=10_000_000))]
    pub max_auth_failures_per_minute: u32,

    /// The maximum of concurrent streams of rows per token, or address without one. More are rejected with
    /// 429. At most two thirds of `--max-concurrent-requests`
    #[arg(long, env, value_name = "N", default_value_t = 64, value_parser = u32_in(1..=100_000))]
    pub max_streams: u32,

    /// The maximum of concurrent subscriptions per token, or address without one. More are rejected with
    /// 429
    #[arg(long, env, value_name = "N", default_value_t = 100, value_parser = u32_in(0..=1_000_000))]
    pub max_subscriptions: u32,

    /// The maximum of concurrent subscriptions of all clients. More are rejected with 503
    #[arg(
        long,
        env,
        value_name = "N",
        default_value_t = 10_000,
        value_parser = u32_in(0..=1_000_000)
    )]
    pub max_subscriptions_in_all: u32,

    /// The maximum poll interval of a table with subscribers, in milliseconds. Rows that this server
    /// stores are seen immediately
    #[arg(long, env, value_name = "MS", default_value_t = 500, value_parser = u64_in(50..=60_000))]
    pub follow_poll_ms: u64,

    /// How many of the latest rows of a table are cached for subscribers. A slower subscriber misses rows
    /// and receives their number
    #[arg(
        long,
        env,
        value_name = "N",
        default_value_t = 4096,
        value_parser = u32_in(1..=1_000_000)
    )]
    pub follow_rows: u32,

    /// Trust X-Forwarded-For (last entry) for the client's address and X-Forwarded-Proto for TLS. Use only
    /// behind a proxy that sets both
    #[arg(long, env)]
    pub trust_forwarded_for: bool,

    #[command(flatten)]
    pub http: HttpConfig,

    #[command(flatten)]
    pub memory: MemoryConfig,
}
