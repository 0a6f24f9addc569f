//! The root fields, one file for each topic. A resolver checks its arguments and calls a loader or the
//! store; it contains no SQL and no domain rules.

pub mod api_key;
pub mod call;
pub mod deletion;
pub mod diagnosis;
pub mod error_log;
pub mod node;
pub mod server;
pub mod usability;
pub mod usage;

use async_graphql::MergedObject;

/// Queries over the calls and error logs of a gateway. All fields except `serverInfo`, `viewer` and
/// `deletion` require the scope READ, unless the server allows anonymous reads.
#[derive(MergedObject, Default)]
pub struct Query(
    usage::UsageQuery,
    call::CallQuery,
    error_log::ErrorLogQuery,
    diagnosis::DiagnosisQuery,
    usability::UsabilityQuery,
    api_key::ApiKeyQuery,
    deletion::DeletionQuery,
    node::NodeQuery,
    server::ServerQuery,
);
