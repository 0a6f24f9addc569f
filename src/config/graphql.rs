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

    /// How deep the fields of a query may nest
    #[arg(
        long,
        env = "CALLSCOPE_MAX_DEPTH",
        value_name = "N",
        default_value_t = 16,
        value_parser = clap::value_parser!(u32).range(1..=100)
    )]
    pub max_depth: u32,

    /// How many fields a query may select in all
    #[arg(
        long,
        env = "CALLSCOPE_MAX_COMPLEXITY",
        value_name = "N",
        default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
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
