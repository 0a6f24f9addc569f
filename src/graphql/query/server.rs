//! `serverInfo`, `viewer`.

use async_graphql::{Context, Object};

use crate::graphql::scalar::{DateTime, TimeZone};
use crate::graphql::scope::scope;
use crate::graphql::types::server_info::{ServerInfo, ServerLimits};
use crate::graphql::types::viewer::{AccessScope, Viewer};

#[derive(Default)]
pub struct ServerQuery;

#[Object]
impl ServerQuery {
    /// The version, database, clock and limits of this server.
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

    /// The caller of the request: the name and the scopes of its token.
    async fn viewer(&self, ctx: &Context<'_>) -> Viewer {
        let caller = &scope(ctx).caller;
        Viewer {
            name: caller.name.clone(),
            scopes: caller.scopes.iter().map(AccessScope::from).collect(),
        }
    }
}
