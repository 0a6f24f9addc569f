//! Where and how the HTTP server listens.

use std::net::SocketAddr;

use clap::Args;

use super::{HttpConfig, MemoryConfig};

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

    /// The largest request body that is read, in bytes; of a stream of rows, the longest line
    #[arg(
        long,
        env = "CALLSCOPE_MAX_BODY_BYTES",
        value_name = "BYTES",
        default_value_t = 1_048_576,
        value_parser = clap::value_parser!(u64).range(1024..=1_073_741_824)
    )]
    pub max_body_bytes: u64,

    /// How many GraphQL requests are answered at the same time, and how many streams of rows are read
    /// besides; more are refused with 503 at once
    #[arg(
        long,
        env = "CALLSCOPE_MAX_CONCURRENT_REQUESTS",
        value_name = "N",
        default_value_t = 256,
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    pub max_concurrent_requests: u32,

    /// How many requests to /graphql, /ingest, /v1/traces and /session a token, or an address without
    /// one, may send in a minute, all of them at once or not; more are refused with 429. 0 is no limit
    #[arg(
        long,
        env = "CALLSCOPE_MAX_REQUESTS_PER_MINUTE",
        value_name = "N",
        default_value_t = 0,
        value_parser = clap::value_parser!(u32).range(0..=10_000_000)
    )]
    pub max_requests_per_minute: u32,

    /// How many tokens and sessions that are not valid an address may send in a minute; more are refused
    /// with 429. Valid ones always pass. 0 is no limit
    #[arg(
        long,
        env = "CALLSCOPE_MAX_AUTH_FAILURES_PER_MINUTE",
        value_name = "N",
        default_value_t = 60,
        value_parser = clap::value_parser!(u32).range(0..=10_000_000)
    )]
    pub max_auth_failures_per_minute: u32,

    /// How many streams of rows a token, or an address without one, may send at the same time; more are
    /// refused with 429. No more than two thirds of `--max-concurrent-requests`
    #[arg(
        long,
        env = "CALLSCOPE_MAX_STREAMS",
        value_name = "N",
        default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    pub max_streams: u32,

    /// How many subscriptions a token, or an address without one, may have at the same time; more are
    /// refused with 429
    #[arg(
        long,
        env = "CALLSCOPE_MAX_SUBSCRIPTIONS",
        value_name = "N",
        default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(0..=1_000_000)
    )]
    pub max_subscriptions: u32,

    /// How many subscriptions there may be of all together; more are refused with 503
    #[arg(
        long,
        env = "CALLSCOPE_MAX_SUBSCRIPTIONS_IN_ALL",
        value_name = "N",
        default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(0..=1_000_000)
    )]
    pub max_subscriptions_in_all: u32,

    /// The longest time between two looks at a table that somebody follows, in milliseconds; what this
    /// server stores itself is seen at once
    #[arg(
        long,
        env = "CALLSCOPE_FOLLOW_POLL_MS",
        value_name = "MS",
        default_value_t = 500,
        value_parser = clap::value_parser!(u64).range(50..=60_000)
    )]
    pub follow_poll_ms: u64,

    /// How many of the latest rows of a table are kept for those who follow it; who reads so slowly
    /// that these do not suffice misses rows, and is told how many
    #[arg(
        long,
        env = "CALLSCOPE_FOLLOW_ROWS",
        value_name = "N",
        default_value_t = 4096,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    pub follow_rows: u32,

    /// Take the client's address from X-Forwarded-For (its last one) and TLS from X-Forwarded-Proto: only
    /// behind a proxy that sets both
    #[arg(long, env = "CALLSCOPE_TRUST_FORWARDED_FOR")]
    pub trust_forwarded_for: bool,

    #[command(flatten)]
    pub http: HttpConfig,

    #[command(flatten)]
    pub memory: MemoryConfig,
}
