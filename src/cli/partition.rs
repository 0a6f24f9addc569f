//! `callscope partition`: converts the tables of a PostgreSQL database, lists and creates their partitions, detaches,
//! attaches and moves months.

use anyhow::{Result, bail, ensure};
use clap::{Args, Subcommand};
use indicatif::{HumanBytes, HumanCount};

use super::serve::stop_signal;
use crate::clock::Clock;
use crate::config::DatabaseConfig;
use crate::domain::table::LogTable;
use crate::store::partition::{self, Times, convert, moved};
use crate::store::{Database, classification};

#[derive(Args, Debug)]
pub struct PartitionArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Turn existing tables into tables with a partition for each month while the gateway writes. No row is copied: the
    /// existing table becomes the first partition. If it is interrupted, repeat it: it continues
    #[command(after_help = CONVERT_HELP)]
    Convert {
        #[command(flatten)]
        database: DatabaseConfig,
    },
    /// Print the partitions, with their times, estimated rows and sizes
    List {
        #[command(flatten)]
        database: DatabaseConfig,
    },
    /// Create the partitions of the current month and of three later ones. Rows of these months in the default
    /// partition are moved, and writers wait meanwhile
    Create {
        #[command(flatten)]
        database: DatabaseConfig,
    },
    /// Remove a month from its table, and keep it as a separate table, for an archive
    Detach {
        /// The partition: t_request_log_2026_12
        name: String,

        #[command(flatten)]
        database: DatabaseConfig,
    },
    /// Add a detached month to its table again
    Attach {
        /// The partition: t_request_log_2026_12
        name: String,

        #[command(flatten)]
        database: DatabaseConfig,
    },
    /// Move the rows of a month to another PostgreSQL server, compare them, and keep the month readable. If it is
    /// interrupted, repeat it: it continues
    Move {
        /// The partition: t_request_log_2026_12
        name: String,

        /// The other server, as CREATE SERVER of postgres_fdw names it
        #[arg(long, value_name = "SERVER")]
        to: String,

        #[command(flatten)]
        database: DatabaseConfig,
    },
}

const CONVERT_HELP: &str = "\
While PostgreSQL checks the times of all rows, which takes about a second per million, it refuses rows without a
time, and those of a month that starts in 32 days or later. Writers wait while each table is replaced, which is short.
Callscope servers need no restart. See docs/SCALING.md for what is refused.";

pub fn run(args: PartitionArgs) -> Result<()> {
    super::block_on(async {
        let (Command::Convert { database }
        | Command::List { database }
        | Command::Create { database }
        | Command::Detach { database, .. }
        | Command::Attach { database, .. }
        | Command::Move { database, .. }) = &args.command;
        let db = Database::open(database).await?;
        let done = run_in(&db, &args.command).await;
        db.close().await?;
        done
    })
}

async fn run_in(db: &Database, command: &Command) -> Result<()> {
    ensure!(
        db.has_partitions() || matches!(command, Command::Convert { .. }),
        "the tables of this database have no partitions of Callscope: `callscope partition convert` adds them"
    );
    match command {
        Command::Convert { .. } => convert(db).await,
        Command::List { .. } => print(db).await,
        Command::Create { .. } => {
            let left_out = partition::create_ahead(db, Clock::System.now(), None).await?;
            left_out.map_or(Ok(()), |left_out| bail!(left_out))
        }
        Command::Detach { name, .. } => Ok(partition::detach(db, name, Clock::System.now()).await?),
        Command::Attach { name, .. } => {
            partition::attach(db, name).await?;
            if db.keeps_failure_classes() {
                classification::add_all(db).await?;
            }
            Ok(())
        }
        Command::Move { name, to, .. } => {
            let progress = |rows| println!("{name}: {} rows are copied", HumanCount(rows));
            moved::move_month(db, name, to, Clock::System.now(), &progress).await?;
            println!("{name} is on {to}");
            Ok(())
        }
    }
}

async fn convert(db: &Database) -> Result<()> {
    let progress = |step: &str| println!("{step}");
    let done = convert::convert(db, Clock::System.now(), stop_signal(), &progress).await?;
    ensure!(done, "interrupted: run `callscope partition convert` again to continue");
    println!("both tables have a partition for each month: `callscope partition list`");
    Ok(())
}

async fn print(db: &Database) -> Result<()> {
    for table in LogTable::ALL {
        let mut parts = partition::list(db, table).await?;
        parts.splice(0..0, partition::moved_months(db, table).await?);
        for part in parts {
            let times = match part.times {
                Times::Range(None, until) => format!("before {}", until.date()),
                Times::Range(Some(since), until) => format!("{} to {}", since.date(), until.date()),
                Times::Default => "all others".to_owned(),
                Times::Other => "?".to_owned(),
            };
            let size = match part.server {
                Some(server) => {
                    let rows = HumanCount(part.rows.unsigned_abs());
                    format!("{rows:>14} rows on server {server}")
                }
                None => {
                    let rows = HumanCount(part.rows.unsigned_abs());
                    format!("{rows:>14} rows {:>12}", HumanBytes(part.bytes.unsigned_abs()))
                }
            };
            println!("{:<24} {times:<26} {size}", part.name);
        }
    }
    Ok(())
}
