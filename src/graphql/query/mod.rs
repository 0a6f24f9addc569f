//! The root fields: one file per topic. A resolver checks its arguments, then asks a loader or the
//! store; it holds no SQL and no rule.

pub mod api_key;
pub mod call;
pub mod deletion;
pub mod error_log;
pub mod node;
pub mod server;
pub mod usage;

use async_graphql::MergedObject;

/// What can be asked about the calls and error logs of a gateway. All but `serverInfo`, `viewer` and
/// `deletion` need a token with the scope READ, unless the server lets everybody read.
#[derive(MergedObject, Default)]
pub struct Query(
    usage::UsageQuery,
    call::CallQuery,
    error_log::ErrorLogQuery,
    api_key::ApiKeyQuery,
    deletion::DeletionQuery,
    node::NodeQuery,
    server::ServerQuery,
);
