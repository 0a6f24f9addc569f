//! What the server logs and in which form.

use clap::{Args, ValueEnum};

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Log")]
pub struct LogConfig {
    /// What is logged, as tracing directives: info, debug, callscope=debug,sqlx=info
    #[arg(
        long,
        env = "CALLSCOPE_LOG",
        value_name = "FILTER",
        default_value = "info,sea_orm_migration=warn",
        global = true
    )]
    pub log: String,

    /// The form of a log line: text for people, json for machines, auto for text on a terminal
    #[arg(
        long,
        env = "CALLSCOPE_LOG_FORMAT",
        value_name = "FORM",
        value_enum,
        default_value_t = LogFormat::Auto,
        global = true
    )]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Auto,
    Text,
    Json,
}
