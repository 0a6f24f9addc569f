//! Gives back the room of what was deleted.

use std::time::Instant;

use super::{Pace, Stopped};
use crate::error::Result;
use crate::store::{Database, space};

/// Gives back what the database can without a rewrite, a few pages at a time; tells by how many bytes
/// it became smaller. Only a SQLite file that Callscope made, or rewrote, can.
pub async fn give_back(db: &Database, mut pace: Pace, stopped: Stopped<'_>) -> Result<u64> {
    let mut left = space::releasable_pages(db).await?;
    if left == 0 {
        return Ok(0);
    }
    let before = space::measure(db).await?.bytes;
    while left > 0 && !stopped() {
        let began = Instant::now();
        space::release(db, pace.batch()).await?;
        left = left.saturating_sub(pace.batch().into());
        pace.rest(began.elapsed()).await;
    }
    space::checkpoint(db, false).await?;
    Ok(before.saturating_sub(space::measure(db).await?.bytes))
}

/// Whether the database gives back room without a rewrite: for PostgreSQL and MySQL their own matter.
pub async fn is_shrinkable(db: &Database) -> Result<bool> {
    space::gives_back(db).await
}

/// Rewrites the tables without their gaps, which takes as long as it takes; tells by how many bytes
/// the database became smaller.
pub async fn rewrite(db: &Database) -> Result<u64> {
    let before = space::measure(db).await?.bytes;
    space::rewrite(db).await?;
    space::checkpoint(db, true).await?;
    Ok(before.saturating_sub(space::measure(db).await?.bytes))
}
