//! `callscope audit`: who was shown which key, who deleted what.

use clap::Args;

use crate::config::DatabaseConfig;
use crate::store::{Database, audit};

#[derive(Args, Debug)]
pub struct AuditArgs {
    /// The last so many entries
    #[arg(long, value_name = "N", default_value_t = 50)]
    last: u64,

    #[command(flatten)]
    database: DatabaseConfig,
}

pub fn run(args: AuditArgs) -> anyhow::Result<()> {
    super::block_on(async {
        let db = Database::open(&args.database).await?;
        let mut entries = audit::list(&db, args.last).await?;
        db.close().await?;
        entries.reverse();
        for entry in entries {
            let audit::AuditRow { at, caller, address, action, subject } = entry;
            println!("{at}  {caller}  {address}  {action}  {subject}");
        }
        Ok(())
    })
}
