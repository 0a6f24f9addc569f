//! `callscope_tokens`: who may ask what. A token itself is never stored, only its digest.

use chrono::{DateTime, SecondsFormat, Utc};
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{ConnectionTrait, SqlErr};

use super::database::Database;
use super::rows::columns;
use super::transaction::Fault;
use crate::error::{Error, Result};

const TABLE: &str = "callscope_tokens";

/// A token as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// The part of the token that finds it again; no secret.
    pub id: String,
    pub name: String,
    /// SHA-256 of the whole token, in hexadecimal digits.
    pub digest: String,
    /// The names of its scopes, with commas between them.
    pub scopes: String,
    pub created_at: String,
    pub expires_at: Option<String>,
    pub revoked_at: Option<String>,
}

type Columns = (String, String, String, String, String, Option<String>, Option<String>);

const COLUMNS: [&str; 7] =
    ["id", "name", "digest", "scopes", "created_at", "expires_at", "revoked_at"];

/// Every token that was ever made, the oldest first. None in a database that is opened read-only and
/// was never served otherwise.
pub async fn list(db: &Database) -> Result<Vec<TokenRow>> {
    if db.is_read_only() && !db.has_table(TABLE).await? {
        return Ok(vec![]);
    }
    let mut select = Query::select();
    let width = columns(&mut select, COLUMNS.map(Expr::col));
    select.from(TABLE).order_by("created_at", sea_orm::Order::Asc);
    let rows = db.fetch::<Columns>("token_list", &select, width).await?;
    let token = |(id, name, digest, scopes, created_at, expires_at, revoked_at): Columns| {
        TokenRow { id, name, digest, scopes, created_at, expires_at, revoked_at }
    };
    Ok(rows.into_iter().map(token).collect())
}

/// Stores a new token; its name must be new, too, also among revoked ones.
pub async fn insert(db: &Database, token: &TokenRow) -> Result<()> {
    let insert = Query::insert()
        .into_table(TABLE)
        .columns(COLUMNS)
        .values_panic([
            token.id.clone().into(),
            token.name.clone().into(),
            token.digest.clone().into(),
            token.scopes.clone().into(),
            token.created_at.clone().into(),
            token.expires_at.clone().into(),
            token.revoked_at.clone().into(),
        ])
        .take();
    let transaction = db.begin().await?;
    let inserted = transaction.inner().execute(&insert).await;
    let inserted = inserted.map(|_| ()).map_err(|error| match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => Error::bad_input(
            "name",
            format!("there is a token named `{}` already, or there was", token.name),
        ),
        _ => error.into(),
    });
    transaction.end(inserted).await.map_err(Fault::into_error)
}

/// Ends a token for good; `false` where there is none of that name that still holds.
pub async fn revoke(db: &Database, name: &str, now: DateTime<Utc>) -> Result<bool> {
    let update = Query::update()
        .table(TABLE)
        .value("revoked_at", time_text(now))
        .and_where(Expr::col("name").eq(name))
        .and_where(Expr::col("revoked_at").is_null())
        .take();
    Ok(db.execute("token_revoke", &update).await? > 0)
}

/// A time as our own tables keep it.
pub fn time_text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}
