//! Releases the space of deleted rows.

use std::time::Instant;

use super::{Pace, StopCheck};
use crate::error::Result;
use crate::store::{Database, space};

/// Releases space without a rewrite, a few pages at a time; returns by how many bytes the database shrank.
/// Only a SQLite file that Callscope created or rewrote can shrink.
pub async fn release_space(db: &Database, mut pace: Pace, stopped: StopCheck<'_>) -> Result<u64> {
    let mut left = space::releasable_pages(db).await?;
    if left == 0 {
        return Ok(0);
    }
    let before = space::measure(db).await?.bytes;
    while left > 0 && !stopped() {
        let start = Instant::now();
        space::release(db, pace.batch()).await?;
        left = left.saturating_sub(pace.batch().into());
        pace.pause(start.elapsed()).await;
    }
    space::checkpoint(db, false).await?;
    Ok(before.saturating_sub(space::measure(db).await?.bytes))
}

/// Whether the database releases space without a rewrite; always true for PostgreSQL and MySQL.
pub async fn releases_space(db: &Database) -> Result<bool> {
    space::releases_pages(db).await
}

/// Rewrites the tables without free space, with no time limit; returns by how many bytes the database
/// shrank.
pub async fn rewrite(db: &Database) -> Result<u64> {
    let before = space::measure(db).await?.bytes;
    space::rewrite(db).await?;
    space::checkpoint(db, true).await?;
    Ok(before.saturating_sub(space::measure(db).await?.bytes))
}
