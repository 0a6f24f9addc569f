//! `callscope audit`: prints the audit log of revealed keys and deletions.

use clap::Args;

use crate::config::DatabaseConfig;
use crate::store::deletion_log::Ending;
use crate::store::{Database, audit};

#[derive(Args, Debug)]
pub struct AuditArgs {
    /// Number of latest entries to print
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
            let outcome = outcome(&entry);
            let audit::AuditRow { at, caller, address, action, subject, .. } = entry;
            println!("{at}  {caller}  {address}  {action}  {subject}{outcome}");
        }
        Ok(())
    })
}

/// The outcome of a deletion, appended to its line.
fn outcome(entry: &audit::AuditRow) -> String {
    match &entry.ending {
        Some(Ending { outcome, calls, error_logs, .. }) => {
            let outcome = outcome.name();
            format!("  {outcome}: {calls} calls and {error_logs} error logs deleted")
        }
        None if entry.is_deletion() => {
            "  outcome unknown: in progress, or the process was killed".to_owned()
        }
        None => String::new(),
    }
}
