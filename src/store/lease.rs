//! Leader lease: one server of a database runs a background job. A lease is a row of
//! `callscope_settings`. Because clocks differ, two servers may hold it briefly, so the job must be safe
//! to run twice.

use chrono::{DateTime, Utc};
use sea_orm::sea_query::{Expr, ExprTrait, Query};

use super::database::Database;
use super::setting;
use super::token::time_text;
use crate::error::Result;

/// Takes the lease `name` until `until`, unless another holder has it at `now`. A lease that ends more than twice as
/// late is free: the clock of its holder was wrong.
pub async fn acquire(
    db: &Database,
    name: &str,
    holder: &str,
    (now, until): (DateTime<Utc>, DateTime<Utc>),
) -> Result<bool> {
    let free = format!("{} nobody", time_text(DateTime::UNIX_EPOCH));
    let found = setting::find_or_insert(db, name, &free).await?;
    let (held_until, held_by) = found.split_once(' ').unwrap_or_default();
    let latest = time_text(until + (until - now));
    let is_held = held_until > time_text(now).as_str() && held_until <= latest.as_str();
    if is_held && held_by != holder {
        return Ok(false);
    }
    // Of two servers that read the same value, only one updates it.
    let update = Query::update()
        .table(setting::TABLE)
        .value("value", format!("{} {holder}", time_text(until)))
        .and_where(Expr::col("name").eq(name))
        .and_where(Expr::col("value").eq(&found))
        .take();
    Ok(db.execute("lease_take", &update).await? == 1)
}

/// Releases the lease, if `holder` still has it.
pub async fn release(db: &Database, name: &str, holder: &str) -> Result<()> {
    let update = Query::update()
        .table(setting::TABLE)
        .value("value", format!("{} nobody", time_text(DateTime::UNIX_EPOCH)))
        .and_where(Expr::col("name").eq(name))
        .and_where(Expr::col("value").like(format!("% {holder}")))
        .take();
    db.execute("lease_give_back", &update).await?;
    Ok(())
}
