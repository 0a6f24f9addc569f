//! `callscope_settings`: settings that the servers of one database share.

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query};

use super::database::Database;
use super::rows::VALUE;
use crate::error::Result;

pub(super) const TABLE: &str = "callscope_settings";

/// The value of a setting; None if it was never set.
pub async fn find(db: &Database, name: &str) -> Result<Option<String>> {
    let mut select = Query::select();
    select.expr_as(Expr::col("value"), VALUE).from(TABLE).and_where(Expr::col("name").eq(name));
    Ok(db.fetch_values("setting.find", &select).await?.pop())
}

/// Sets a setting unless it has a value, and returns its value. If two servers do this at once, both get
/// the value of the first.
pub async fn find_or_insert(db: &Database, name: &str, value: &str) -> Result<String> {
    if let Some(found) = find(db, name).await? {
        return Ok(found);
    }
    let insert = Query::insert()
        .into_table(TABLE)
        .columns(["name", "value"])
        .values_panic([name.into(), value.into()])
        .on_conflict(OnConflict::column("name").do_nothing_on(["name"]).to_owned())
        .take();
    db.execute("setting_insert", &insert).await?;
    Ok(find(db, name).await?.unwrap_or_else(|| value.to_owned()))
}
