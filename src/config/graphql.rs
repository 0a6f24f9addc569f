//! The limits of one GraphQL request; `serverInfo.limits` tells them to clients.

use chrono_tz::Tz;
use clap::Args;

use super::parse_time_zone;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "GraphQL")]
pub struct GraphqlConfig {
    /// The IANA time zone of calendar months and series buckets where a query names none
    #[arg(
        long,
        env = "CALLSCOPE_TIME_ZONE",
        value_name = "ZONE",
        default_value = "UTC",
        value_parser = parse_time_zone
    )]
    pub time_zone: Tz,

    /// Items of a list where neither `first` nor `last` is given
    #[arg(
        long,
        env = "CALLSCOPE_DEFAULT_PAGE_SIZE",
        value_name = "N",
        default_value_t = 50,
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    pub default_page_size: u32,

    /// The largest `first` or `last`
    #[arg(
        long,
        env = "CALLSCOPE_MAX_PAGE_SIZE",
        value_name = "N",
        default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    pub max_page_size: u32,

    /// The longest document, in bytes
    #[arg(
        long,
        env = "CALLSCOPE_MAX_DOCUMENT_BYTES",
        value_name = "BYTES",
        default_value_t = 65_536,
        value_parser = clap::value_parser!(u32).range(256..=1_048_576)
    )]
    pub max_document_bytes: u32,

    /// How many tokens (names, values, brackets) a document may have
    #[arg(
        long,
        env = "CALLSCOPE_MAX_TOKENS",
        value_name = "N",
        default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(10..=100_000)
    )]
    pub max_tokens: u32,

    /// How deep the brackets of a document may nest, those of fragments counted where they are spread
    // No more than the parser takes of selections, and its stack of values.
    #[arg(
        long,
        env = "CALLSCOPE_MAX_NESTING",
        value_name = "N",
        default_value_t = 50,
        value_parser = clap::value_parser!(u32).range(4..=64)
    )]
    pub max_nesting: u32,

    /// How many selections the operations and fragments of a document may have in all, each
    /// fragment counted wherever it is spread
    #[arg(
        long,
        env = "CALLSCOPE_MAX_EXPANDED_SELECTIONS",
        value_name = "N",
        default_value_t = 5000,
        value_parser = clap::value_parser!(u32).range(10..=100_000)
    )]
    pub max_expanded_selections: u32,

    /// How deep the fields of a query may nest
    #[arg(
        long,
        env = "CALLSCOPE_MAX_DEPTH",
        value_name = "N",
        default_value_t = 16,
        value_parser = clap::value_parser!(u32).range(1..=64)
    )]
    pub max_depth: u32,

    /// How much a query may cost, in units of 0.4 µs of a processor: 1 for each field of each item of a
    /// list, and for each SQL statement a number that grows with the rows that it is estimated to read
    #[arg(
        long,
        env = "CALLSCOPE_MAX_COMPLEXITY",
        value_name = "N",
        default_value_t = 20_000_000,
        value_parser = clap::value_parser!(u32).range(1..=2_000_000_000)
    )]
    pub max_complexity: u32,

    /// How many aliases a query may use
    #[arg(
        long,
        env = "CALLSCOPE_MAX_ALIASES",
        value_name = "N",
        default_value_t = 50,
        value_parser = clap::value_parser!(u32).range(0..=10_000)
    )]
    pub max_aliases: u32,

    /// How many fields a query may have at its root
    #[arg(
        long,
        env = "CALLSCOPE_MAX_ROOT_FIELDS",
        value_name = "N",
        default_value_t = 50,
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    pub max_root_fields: u32,

    /// How many directives a document may have in all
    #[arg(
        long,
        env = "CALLSCOPE_MAX_DIRECTIVES",
        value_name = "N",
        default_value_t = 50,
        value_parser = clap::value_parser!(u32).range(0..=10_000)
    )]
    pub max_directives: u32,

    /// Whether clients may ask for the schema: by introspection, at /schema.graphql and by the hints of
    /// errors
    #[arg(
        long,
        env = "CALLSCOPE_INTROSPECTION",
        value_name = "BOOL",
        default_value_t = true,
        action = clap::ArgAction::Set
    )]
    pub introspection: bool,

    /// Seconds after which a request is given up with TIMEOUT
    #[arg(
        long,
        env = "CALLSCOPE_TIMEOUT_SECONDS",
        value_name = "S",
        default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    pub timeout_seconds: u64,

    /// How many calls or errors one mutation may record
    #[arg(
        long,
        env = "CALLSCOPE_MAX_RECORD_BATCH",
        value_name = "N",
        default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    pub max_record_batch: u32,
}
