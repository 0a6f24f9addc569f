//! `node`, `nodes`: objects by their global ids.

use async_graphql::{Context, ID, Object};

use super::{api_key, diagnosis};
use crate::domain::excerpt::excerpt;
use crate::graphql::error::{Failure, Result};
use crate::graphql::id::NodeId;
use crate::graphql::loader::call::CallOf;
use crate::graphql::loader::error_log::ErrorLogOf;
use crate::graphql::scope::{Scope, count_list, read_scope};
use crate::graphql::types::call::Call;
use crate::graphql::types::error_log::ErrorLog;
use crate::graphql::types::node::Node;

#[derive(Default)]
pub struct NodeQuery;

#[Object]
impl NodeQuery {
    /// The call, error log, key or diagnosis with this global id; null if it no longer exists.
    async fn node(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The `id` of a call, an error log, a key or a diagnosis.")] id: ID,
    ) -> Option<Result<Node>> {
        let found = async { find(read_scope(ctx)?, "id", &id).await };
        found.await.transpose()
    }

    /// The calls, error logs, keys and diagnoses with these global ids, in the same order; null for each that
    /// no longer exists.
    async fn nodes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The ids; at most `serverInfo.limits.maxPageSize`.")] ids: Vec<ID>,
    ) -> Result<Vec<Option<Node>>> {
        let scope = read_scope(ctx)?;
        let most = scope.config().max_page_size as usize;
        if ids.len() > most {
            let message = format!("`ids` has {} ids, at most {most} are allowed", ids.len());
            return Err(Failure::bad_input("ids", message));
        }
        count_list(ctx, &ids, |_| 0)?;
        let found = ids.iter().map(|id| find(scope, "ids", id));
        futures_util::future::try_join_all(found).await
    }
}

async fn find(scope: &Scope, argument: &'static str, id: &str) -> Result<Option<Node>> {
    let loader = scope.loader();
    Ok(match NodeId::parse(id) {
        Some(NodeId::Call(id)) => loader.load_one(CallOf(id)).await?.map(Call).map(Node::Call),
        Some(NodeId::ErrorLog(id)) => {
            loader.load_one(ErrorLogOf(id)).await?.map(ErrorLog).map(Node::ErrorLog)
        }
        Some(NodeId::ApiKey(id)) => api_key::find(scope, &id).await?.map(Node::ApiKey),
        Some(NodeId::Diagnosis(name)) => diagnosis::find(scope, &name).await?.map(Node::Diagnosis),
        None => {
            let message = format!("`{}` is not an id of this server", excerpt(id));
            return Err(Failure::bad_input(argument, message));
        }
    })
}
