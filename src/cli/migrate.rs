//! `callscope migrate`: creates missing tables and indexes.

use anyhow::ensure;
use clap::Args;

use crate::config::DatabaseConfig;
use crate::store::schema;

#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct MigrateArgs {
    #[command(flatten)]
    database: DatabaseConfig,
}

const AFTER_HELP: &str = "\
For each index, the log shows the rows of the table, the expected time and the progress. On PostgreSQL,
MySQL and MariaDB the gateway can write during the build. On SQLite its writes wait, or fail with
\"database is locked\", while one index is built: choose a quiet hour. An interrupted build starts again.";

pub fn run(args: MigrateArgs) -> anyhow::Result<()> {
    super::block_on(async {
        let interrupt = async {
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let done = schema::migrate_until(&args.database, interrupt).await?;
        ensure!(done, "interrupted: run `callscope migrate` again to build the remaining indexes");
        Ok(())
    })
}
