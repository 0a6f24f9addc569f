//! `callscope partition`: lists and creates the partitions of a PostgreSQL database, detaches and attaches months.

use anyhow::{Result, bail, ensure};
use clap::{Args, Subcommand};
use indicatif::{HumanBytes, HumanCount};

use crate::clock::Clock;
use crate::config::DatabaseConfig;
use crate::domain::table::LogTable;
use crate::store::Database;
use crate::store::partition::{self, Times};

#[derive(Args, Debug)]
pub struct PartitionArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
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
}

pub fn run(args: PartitionArgs) -> Result<()> {
    super::block_on(async {
        let (Command::List { database }
        | Command::Create { database }
        | Command::Detach { database, .. }
        | Command::Attach { database, .. }) = &args.command;
        let db = Database::open(database).await?;
        let done = run_in(&db, &args.command).await;
        db.close().await?;
        done
    })
}

async fn run_in(db: &Database, command: &Command) -> Result<()> {
    ensure!(
        db.has_partitions(),
        "the tables of this database have no partitions of Callscope: docs/SCALING.md"
    );
    match command {
        Command::List { .. } => print(db).await,
        Command::Create { .. } => {
            let left_out = partition::create_ahead(db, Clock::System.now(), None).await?;
            left_out.map_or(Ok(()), |left_out| bail!(left_out))
        }
        Command::Detach { name, .. } => Ok(partition::detach(db, name, Clock::System.now()).await?),
        Command::Attach { name, .. } => Ok(partition::attach(db, name).await?),
    }
}

async fn print(db: &Database) -> Result<()> {
    for table in LogTable::ALL {
        for part in partition::list(db, table).await? {
            let times = match part.times {
                Times::Range(None, until) => format!("before {}", until.date()),
                Times::Range(Some(since), until) => format!("{} to {}", since.date(), until.date()),
                Times::Default => "all others".to_owned(),
                Times::Other => "?".to_owned(),
            };
            let (rows, bytes) =
                (HumanCount(part.rows.unsigned_abs()), HumanBytes(part.bytes.unsigned_abs()));
            println!("{:<24} {times:<26} {rows:>14} rows {bytes:>12}", part.name);
        }
    }
    Ok(())
}
