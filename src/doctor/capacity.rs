//! Capacity: connections and disk space.

use super::Finding;
use crate::config::DatabaseConfig;
use crate::store::{Database, demo, inspect};

/// Free space that indexes and SQLite's write-ahead log need at least.
const MIN_FREE_BYTES: u64 = 1 << 30;

pub(super) async fn check(db: &Database, config: &DatabaseConfig) -> Vec<Finding> {
    let size = match inspect::bytes(db).await {
        Ok(bytes) => bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
        Err(error) => return vec![Finding::failed("size", &error)],
    };
    let mut findings = vec![Finding::ok("size", format!("{} of database", megabytes(size)))];
    match inspect::connections(db).await {
        Ok(Some((most, open))) => {
            findings.push(connections(most, open, config.database_connections.into()));
        }
        Ok(None) => {}
        Err(error) => findings.push(Finding::failed("connections", &error)),
    }
    if let Ok(Some(file)) = demo::sqlite_file(config)
        && let Some(free) = free_bytes(&file)
    {
        findings.push(disk(free, size));
    }
    findings
}

fn connections(most: i64, open: i64, wanted: i64) -> Finding {
    let found =
        format!("callscope uses up to {wanted}; the server accepts {most}, {open} are open");
    if wanted + open > most {
        let advice = "lower --database-connections or raise max_connections of the database server; \
                      otherwise requests fail with DATABASE_UNAVAILABLE";
        return Finding::error("connections", found, advice);
    }
    Finding::ok("connections", found)
}

/// Indexes may need half of the size of the tables.
fn disk(free: u64, size: u64) -> Finding {
    let found = format!("{} free", megabytes(free));
    if free < MIN_FREE_BYTES.max(size / 2) {
        let advice = "free disk space for indexes and SQLite's write-ahead log: on a full disk the \
                      gateway cannot write either";
        return Finding::warning("disk", found, advice);
    }
    Finding::ok("disk", found)
}

#[cfg(unix)]
fn free_bytes(file: &std::path::Path) -> Option<u64> {
    let found = rustix::fs::statvfs(file).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(not(unix))]
fn free_bytes(_: &std::path::Path) -> Option<u64> {
    None
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn the_disk_has_space_for_indexes() {
        let gigabytes = |count: u64| count << 30;
        assert_eq!(disk(gigabytes(2), gigabytes(1)).level, Level::Ok);
        assert_eq!(disk(gigabytes(2), gigabytes(5)).level, Level::Warning);
        assert_eq!(disk(1000, 0).level, Level::Warning);
    }

    #[test]
    fn connections_are_within_the_limit() {
        assert_eq!(connections(100, 20, 4).level, Level::Ok);
        assert_eq!(connections(100, 98, 4).level, Level::Error);
    }
}
