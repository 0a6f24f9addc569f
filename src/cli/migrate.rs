//! `callscope migrate`.

use clap::Args;

use crate::config::DatabaseConfig;
use crate::store::connect;

#[derive(Args, Debug)]
pub struct MigrateArgs {
    #[command(flatten)]
    database: DatabaseConfig,
}

pub fn run(args: MigrateArgs) -> anyhow::Result<()> {
    super::block_on(async { Ok(connect::migrate(&args.database).await?) })
}
