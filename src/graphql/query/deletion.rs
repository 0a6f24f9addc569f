//! `deletion`.

use async_graphql::{Context, ID, Object};

use crate::domain::access::AccessScope;
use crate::graphql::error::Result;
use crate::graphql::scope::scope;
use crate::graphql::types::deletion::{Deletion, check_deletion_id};
use crate::store::deletion_log;

#[derive(Default)]
pub struct DeletionQuery;

#[Object]
impl DeletionQuery {
    /// A deletion of the caller's, by the `deletionId` of its mutation: how it ended and what it deleted,
    /// also after the connection was closed or lost. Null where no deletion with this id has started.
    /// Needs the scope DELETE.
    async fn deletion(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The `deletionId` that the mutation was sent with.")] id: ID,
    ) -> Option<Result<Deletion>> {
        find(ctx, id).await.transpose()
    }
}

async fn find(ctx: &Context<'_>, id: ID) -> Result<Option<Deletion>> {
    let scope = scope(ctx);
    scope.require(AccessScope::Delete)?;
    check_deletion_id("id", &id)?;
    // Nothing is deleted there, and the table may be missing.
    if scope.db().is_read_only() {
        return Ok(None);
    }
    let row = deletion_log::find(scope.db(), &scope.caller.name, &id).await?;
    Ok(row.map(|row| Deletion::new(id, &row)))
}
