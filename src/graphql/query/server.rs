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

    /// Who asks, by the token of the request, and what that token allows.
    async fn viewer(&self, ctx: &Context<'_>) -> Viewer {
        let caller = &scope(ctx).caller;
        Viewer {
            name: caller.name.clone(),
            scopes: caller.scopes.iter().map(AccessScope::from).collect(),
        }
    }
}
