//! `callscope_tokens`: tokens and their scopes. Only the digest of a token is stored.

use chrono::{DateTime, SecondsFormat, Utc};
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{ConnectionTrait, SqlErr};

use super::database::Database;
use super::rows::{row, select_own};
use super::transaction::Fault;
use crate::error::{Error, Result};

const TABLE: &str = "callscope_tokens";

row! {
    /// A stored token.
    #[derive(Clone, PartialEq, Eq)]
    pub struct TokenRow {
        /// The public part of the token, used to look it up.
        id: String,
        name: String,
        /// SHA-256 of the whole token, in hexadecimal digits.
        digest: String,
        /// The names of its scopes, separated by commas.
        scopes: String,
        created_at: String,
        expires_at: Option<String>,
        revoked_at: Option<String>,
    }
}

/// Every token, including revoked ones, the oldest first. Empty for a read-only database without the
/// table.
pub async fn list(db: &Database) -> Result<Vec<TokenRow>> {
    if db.is_read_only() && !db.has_table(TABLE).await? {
        return Ok(vec![]);
    }
    let mut select = select_own::<TokenRow>(TABLE);
    select.order_by("created_at", sea_orm::Order::Asc);
    db.fetch("token_list", &select).await
}

/// Stores a new token. Its name must differ from those of all tokens, including revoked ones.
pub async fn insert(db: &Database, token: &TokenRow) -> Result<()> {
    let insert = Query::insert()
        .into_table(TABLE)
        .columns(["id", "name", "digest", "scopes", "created_at", "expires_at", "revoked_at"])
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
    let transaction = db.begin_transaction().await?;
    let inserted = transaction.inner().execute(&insert).await;
    let inserted = inserted.map(|_| ()).map_err(|error| match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => Error::bad_input(
            "name",
            format!("a token named `{}` exists or was revoked: use another name", token.name),
        ),
        _ => error.into(),
    });
    transaction.end(inserted).await.map_err(Fault::into_error)
}

/// Revokes a token; `false` if no valid token has this name.
pub async fn revoke(db: &Database, name: &str, now: DateTime<Utc>) -> Result<bool> {
    let update = Query::update()
        .table(TABLE)
        .value("revoked_at", time_text(now))
        .and_where(Expr::col("name").eq(name))
        .and_where(Expr::col("revoked_at").is_null())
        .take();
    Ok(db.execute("token_revoke", &update).await? > 0)
}

/// The text of a time in Callscope's own tables.
pub fn time_text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}
