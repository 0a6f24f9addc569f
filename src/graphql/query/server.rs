//! `serverInfo`.

use async_graphql::{Context, Object};

use crate::graphql::scalar::{DateTime, TimeZone};
use crate::graphql::scope::scope;
use crate::graphql::types::server_info::{ServerInfo, ServerLimits};

#[derive(Default)]
pub struct ServerQuery;

#[Object]
impl ServerQuery {
    /// What this server is and what it allows.
    async fn server_info(&self, ctx: &Context<'_>) -> ServerInfo {
        let scope = scope(ctx);
        ServerInfo {
            version: env!("CARGO_PKG_VERSION"),
            database: scope.db().dialect().name(),
            now: DateTime(scope.now),
            time_zone: TimeZone(scope.config().time_zone),
            limits: ServerLimits::new(scope.config(), &scope.services.server),
        }
    }
}
