//! `callscope migrate`: creates missing tables and indexes.

use anyhow::ensure;
use clap::{Args, ValueEnum};

use crate::clock::Clock;
use crate::config::DatabaseConfig;
use crate::domain::month::Month;
use crate::store::partition::NewPartitions;
use crate::store::schema::{self, NewTables};
use crate::store::zone::StorageZone;

#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct MigrateArgs {
    /// Create the tables of a new PostgreSQL database with a partition for each month, which retention drops as a
    /// whole
    #[arg(long, value_name = "INTERVAL")]
    partition_by: Option<PartitionBy>,

    /// The first month with a partition, for a database that gets older calls by an import [default: the
    /// current month]
    #[arg(long, value_name = "YYYY-MM", requires = "partition_by")]
    partitions_since: Option<Month>,

    /// Create the tables of a new Citus database with shards on its workers, distributed by the API key
    #[arg(long, conflicts_with = "partition_by")]
    citus: bool,

    #[command(flatten)]
    database: DatabaseConfig,
}

const AFTER_HELP: &str = "\
For each index, the log shows the rows of the table, the expected time and the progress. On PostgreSQL,
MySQL and MariaDB the gateway can write during the build. On SQLite its writes wait, or fail with
\"database is locked\", while one index is built: choose a quiet hour. An interrupted build starts again.";

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PartitionBy {
    Month,
}

pub fn run(args: MigrateArgs) -> anyhow::Result<()> {
    super::block_on(async {
        let interrupt = async {
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let zone = StorageZone(args.database.storage_time_zone);
        let now = Month::of(zone.to_stored(Clock::System.now()));
        let since = args.partitions_since.unwrap_or(now);
        let tables = match args.partition_by {
            Some(PartitionBy::Month) => NewTables::Partitions(NewPartitions { since, now }),
            None if args.citus => NewTables::Shards,
            None => NewTables::Plain,
        };
        let done = schema::migrate_until(&args.database, tables, interrupt).await?;
        ensure!(done, "interrupted: run `callscope migrate` again to build the remaining indexes");
        Ok(())
    })
}
