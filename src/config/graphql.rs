//! The limits of one GraphQL request, which `serverInfo.limits` returns.

use chrono_tz::Tz;
use clap::Args;

use super::{parse_time_zone, u32_in, u64_in};

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "GraphQL")]
pub struct GraphqlConfig {
    /// The default IANA time zone of calendar months and series buckets
    #[arg(long, env, value_name = "ZONE", default_value = "UTC", value_parser = parse_time_zone)]
    pub time_zone: Tz,

    /// Items of a list without `first` and `last`
    #[arg(long, env, value_name = "N", default_value_t = 50, value_parser = u32_in(1..=100_000))]
    pub default_page_size: u32,

    /// The largest `first` or `last`
    #[arg(long, env, value_name = "N", default_value_t = 1000, value_parser = u32_in(1..=100_000))]
    pub max_page_size: u32,

    /// The maximum size of a document, in bytes
    #[arg(
        long,
        env,
        value_name = "BYTES",
        default_value_t = 65_536,
        value_parser = u32_in(256..=1_048_576)
    )]
    pub max_document_bytes: u32,

    /// The maximum of tokens (names, values, brackets) in a document
    #[arg(
        long,
        env,
        value_name = "N",
        default_value_t = 10_000,
        value_parser = u32_in(10..=100_000)
    )]
    pub max_tokens: u32,

    /// The maximum nesting of brackets in a document, with fragments expanded
    // At most what the parser accepts for selections, and its stack allows for values.
    #[arg(long, env, value_name = "N", default_value_t = 50, value_parser = u32_in(4..=64))]
    pub max_nesting: u32,

    /// The maximum of selections in a document; the selections of a fragment count each time that it is
    /// spread
    #[arg(long, env, value_name = "N", default_value_t = 5000, value_parser = u32_in(10..=100_000))]
    pub max_expanded_selections: u32,

    /// The maximum nesting of fields in a query
    #[arg(long, env, value_name = "N", default_value_t = 16, value_parser = u32_in(1..=64))]
    pub max_depth: u32,

    /// The maximum cost of a query, in units of 0.4 µs of processor time: 1 per field and item of a list,
    /// and for each SQL statement a cost that grows with its estimated rows
    #[arg(
        long,
        env,
        value_name = "N",
        default_value_t = 20_000_000,
        value_parser = u32_in(1..=2_000_000_000)
    )]
    pub max_complexity: u32,

    /// The maximum of aliases in a query
    #[arg(long, env, value_name = "N", default_value_t = 50, value_parser = u32_in(0..=10_000))]
    pub max_aliases: u32,

    /// The maximum of root fields in a query
    #[arg(long, env, value_name = "N", default_value_t = 50, value_parser = u32_in(1..=10_000))]
    pub max_root_fields: u32,

    /// The maximum of directives in a document
    #[arg(long, env, value_name = "N", default_value_t = 50, value_parser = u32_in(0..=10_000))]
    pub max_directives: u32,

    /// Whether clients can read the schema: by introspection, at /schema.graphql and in the suggestions of
    /// error messages
    #[arg(long, env, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub introspection: bool,

    /// Seconds until a request fails with TIMEOUT
    #[arg(long, env, value_name = "S", default_value_t = 30, value_parser = u64_in(1..=3600))]
    pub timeout_seconds: u64,

    /// The maximum of calls or error logs in one mutation
    #[arg(long, env, value_name = "N", default_value_t = 1000, value_parser = u32_in(1..=100_000))]
    pub max_record_batch: u32,
}
