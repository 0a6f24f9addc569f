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
    /// The state and result of a deletion of this caller, by the `deletionId` of its mutation. Also
    /// available after the connection was closed or lost. Null if no deletion with this id has started.
    /// Requires the scope DELETE.
    async fn deletion(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The `deletionId` of the mutation.")] id: ID,
    ) -> Option<Result<Deletion>> {
        find(ctx, id).await.transpose()
    }
}

async fn find(ctx: &Context<'_>, id: ID) -> Result<Option<Deletion>> {
    let scope = scope(ctx);
    scope.require(AccessScope::Delete)?;
    check_deletion_id("id", &id)?;
    // A read-only server deletes nothing, and the table may be missing.
    if scope.db().is_read_only() {
        return Ok(None);
    }
    let row = deletion_log::find(scope.db(), &scope.caller.name, &id).await?;
    Ok(row.map(|row| Deletion::new(id, &row)))
}
