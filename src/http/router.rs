//! The routes.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::response::Redirect;
use axum::routing::get;
use axum::{Extension, Router};
use tower_http::catch_panic::CatchPanicLayer;

use super::context::{self, RequestContext};
use super::request_log::{self, RequestLog};
use super::{graphql, health, metrics, page, problem};
use crate::clock::Clock;
use crate::graphql::schema::CallscopeSchema;
use crate::graphql::scope::{Asking, Services};

/// What the handlers share.
#[derive(Clone)]
pub struct AppState {
    pub schema: CallscopeSchema,
    pub services: Services,
    pub clock: Clock,
    pub timeout: Duration,
    pub sdl: Arc<str>,
}

impl AppState {
    /// A request that came now.
    pub(super) fn asking(&self, context: &RequestContext) -> Asking {
        Asking {
            services: self.services.clone(),
            now: self.clock.now(),
            caller: context.caller.clone(),
        }
    }
}

/// The layers run from the last one here to the first.
pub fn router(state: AppState, max_body_bytes: usize) -> Router {
    let log = RequestLog::new(state.services.observer.clone());
    let recent = Arc::new(metrics::RecentCalls::default());
    Router::new()
        .route("/graphql", get(graphql::get).post(graphql::post))
        .route("/graphiql", get(page::graphiql))
        .route("/schema.graphql", get(page::schema))
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::get).layer(Extension(recent)))
        .route("/", get(async || Redirect::temporary("/graphiql")))
        .layer(DefaultBodyLimit::max(max_body_bytes))
        .layer(from_fn_with_state(state.clone(), context::attach))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(from_fn_with_state(log, request_log::record))
        .with_state(state)
}
