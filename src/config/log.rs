//! The filter and format of the log.

use clap::{Args, ValueEnum};

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Log")]
pub struct LogConfig {
    /// The log filter, as tracing directives: info, debug, callscope=debug,sqlx=info
    #[arg(
        long,
        env,
        value_name = "FILTER",
        default_value = "info,sea_orm_migration=warn",
        global = true
    )]
    pub log: String,

    /// The format of log lines: text, json, or auto (text on a terminal, otherwise json)
    #[arg(
        long,
        env,
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
