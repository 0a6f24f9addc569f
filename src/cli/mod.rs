//! The command line: one file per command.

mod audit;
mod classify;
pub mod demo;
mod doctor;
mod export;
mod health;
mod import;
mod log;
mod migrate;
mod partition;
mod prune;
mod rollup;
mod schema;
mod serve;
mod token;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::app::Config;
use crate::config::secret_file::is_secret;
use crate::config::{LogConfig, effective, file};

/// A GraphQL API server over the call log of an LLM gateway.
///
/// Attach it to the database that a gateway such as gemini-balance writes, or let programs record
/// their calls through it. `serve` is the default command: `callscope --listen 0.0.0.0:8000`.
#[derive(Debug, Parser)]
#[command(name = "callscope", version, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    log: LogConfig,

    /// The configuration file [default: callscope.toml in the working directory, if it exists]
    #[arg(long, env, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
Every setting is a flag (--listen), an environment variable (CALLSCOPE_LISTEN) and a line of the
configuration file (listen = \"127.0.0.1:8000\"), in this order of precedence. A secret can also be read
from a separate file, named by a variable such as CALLSCOPE_ID_KEY_FILE.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the GraphQL API (the default command)
    Serve(Config),
    /// Import calls and error logs from files or another database
    Import(import::ImportArgs),
    /// Write calls or error logs to a file that `import` reads
    Export(export::ExportArgs),
    /// Delete old calls and error logs, and free their disk space
    Prune(prune::PruneArgs),
    /// Show, rebuild or verify the rollups, from which statistics of long windows are computed
    Rollup(rollup::RollupArgs),
    /// Create missing tables and indexes, then exit
    Migrate(migrate::MigrateArgs),
    /// Convert the tables of a PostgreSQL database to monthly partitions; list, create, detach, attach and move these
    Partition(partition::PartitionArgs),
    /// Check configuration, database, indexes, permissions and clocks, and print advice
    Doctor(doctor::DoctorArgs),
    /// Check whether the server on this machine is ready; for container health checks
    Health(health::HealthArgs),
    /// Print the GraphQL schema (SDL), to generate clients from
    Schema,
    /// Print why a call failed and what to do about it, from the provider's text on standard input
    Classify(classify::ClassifyArgs),
    /// Create, list and revoke bearer tokens
    Token(token::TokenArgs),
    /// Print the audit log of revealed keys and deletions
    Audit(audit::AuditArgs),
    /// Serve a month of generated traffic, with new calls every second
    Demo(demo::DemoArgs),
}

/// Runs the command of `args` (the program name first) and the environment.
pub fn run(
    args: Vec<OsString>,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> ExitCode {
    let args = with_command(args);
    let environment: BTreeMap<String, OsString> =
        environment.filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect();
    let file::Configured { mut command, origins } =
        match file::with_defaults(Cli::command(), &args, &environment) {
            Ok(configured) => configured,
            Err(error) => {
                eprintln!("callscope: {error}");
                return ExitCode::from(2);
            }
        };
    let found = match command.try_get_matches_from_mut(args) {
        Ok(found) => found,
        Err(error) => without_secrets(error, &command).exit(),
    };
    let cli = match Cli::from_arg_matches(&found) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let log = match log::start(&cli.log) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("callscope: {error}");
            return ExitCode::from(2);
        }
    };
    let outcome = match cli.command {
        Command::Serve(config) => serve::run(config),
        Command::Import(args) => import::run(args),
        Command::Export(args) => export::run(args),
        Command::Prune(args) => prune::run(args),
        Command::Rollup(args) => rollup::run(args),
        Command::Migrate(args) => migrate::run(args),
        Command::Partition(args) => partition::run(args),
        Command::Doctor(args) => {
            doctor::run(args, &effective::settings(&command, &found, &origins))
        }
        Command::Health(args) => health::run(&args),
        Command::Schema => schema::run(),
        Command::Classify(args) => classify::run(&args),
        Command::Token(args) => token::run(args),
        Command::Audit(args) => audit::run(args),
        Command::Demo(args) => demo::run(args),
    };
    // Flushes the log before the lines below.
    drop(log);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let causes = causes(&error);
            eprintln!("callscope: {causes}");
            if causes.contains("readonly") || causes.contains("read-only transaction") {
                eprintln!("callscope: to serve a database that cannot be written, use --read-only");
            }
            ExitCode::FAILURE
        }
    }
}

/// Removes the invalid value of a secret setting from clap's error.
fn without_secrets(mut error: clap::Error, command: &clap::Command) -> clap::Error {
    let named = error.get(ContextKind::InvalidArg).map(ToString::to_string).unwrap_or_default();
    let named = named.split_whitespace().next().unwrap_or_default().trim_start_matches('-');
    let is_named = |arg: &clap::Arg| arg.get_long() == Some(named) && is_secret(arg);
    if file::every_arg(command).any(is_named) {
        error.insert(ContextKind::InvalidValue, ContextValue::String("…".to_owned()));
    }
    error
}

/// An error and its causes, without the repetitions of database drivers.
fn causes(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| {
        match text.contains(&cause) {
            true => text,
            false if text.is_empty() => cause,
            false => format!("{text}: {cause}"),
        }
    })
}

/// Runs an asynchronous command.
fn block_on<T>(task: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(task)
}

/// Sets `stop` on ctrl-c.
async fn stop_on_interrupt(stop: Arc<AtomicBool>) {
    if tokio::signal::ctrl_c().await.is_ok() {
        stop.store(true, Ordering::Relaxed);
    }
}

/// Adds `serve` if no command is given.
fn with_command(mut args: Vec<OsString>) -> Vec<OsString> {
    let top_level = ["-h", "--help", "-V", "--version", "help"];
    let named = args.get(1).and_then(|arg| arg.to_str()).is_some_and(|arg| {
        top_level.contains(&arg) || Cli::command().find_subcommand(arg).is_some()
    });
    if !named {
        args.insert(1.min(args.len()), "serve".into());
    }
    args
}
