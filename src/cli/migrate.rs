//! `callscope migrate`.

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
The log says for each index how many rows the table has, how long the build is expected to take and how
far it is. On PostgreSQL, MySQL and MariaDB the gateway goes on writing. On SQLite its writes wait, or
fail with \"database is locked\", for as long as one index takes: choose a quiet hour. What was interrupted
is built again.";

pub fn run(args: MigrateArgs) -> anyhow::Result<()> {
    super::block_on(async {
        let interrupt = async {
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let done = schema::migrate_until(&args.database, interrupt).await?;
        ensure!(
            done,
            "interrupted: run `callscope migrate` again to build the indexes that are left"
        );
        Ok(())
    })
}
