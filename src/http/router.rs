//! The routes and their layers.

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use axum::{Extension, Router};
use tower_http::catch_panic::CatchPanicLayer;

use super::middleware::authentication::{ContextLayer, attach_context};
use super::middleware::request_log::{self, RequestLog};
use super::middleware::{compression, cors, hosts};
use super::monitoring::{self, RecentCalls};
use super::state::AppState;
use super::subscription::{sse, websocket};
use super::{assets, graphql, ingest, problem, session};

/// In a tuple of layers the first runs first. Each `layer` call adds a box to every request, so there are
/// few of them.
pub fn router(state: AppState) -> Router {
    let log = RequestLog::new(state.services.observer.clone());
    let recent = Arc::new(RecentCalls::default());
    let context = |check_host, limit_rate| {
        let layer = ContextLayer { state: state.clone(), check_host, limit_rate };
        from_fn_with_state(layer, attach_context)
    };
    let body = (compression(), DefaultBodyLimit::max(state.read.body_bytes));
    let api = Router::new()
        .route("/graphql", get(graphql::get).post(graphql::post))
        .route("/graphql/stream", get(sse::get).post(sse::post))
        .route("/ingest/calls", post(ingest::calls))
        .route("/ingest/errors", post(ingest::errors))
        .route("/session", get(session::show).post(session::start).delete(session::end))
        .route("/schema.graphql", get(assets::schema))
        .layer((context(true, true), body.clone()));
    // The handler applies the rate limit itself, with an error in the format of OTLP.
    let traces =
        Router::new().route("/v1/traces", post(ingest::traces)).layer((context(true, false), body));
    let socket = Router::new().route("/graphql/ws", get(websocket::get)).layer(context(true, true));
    // The handler checks the Host header itself.
    let metrics = Router::new()
        .route("/metrics", get(monitoring::metrics))
        .layer((context(false, false), Extension(recent)));
    // The page needs no authentication: it has the sign-in form.
    let check_host = from_fn_with_state(state.hosts.clone(), hosts::check);
    let page = assets::routes().route("/graphiql", get(assets::graphiql)).layer(check_host);
    // An unknown path gets the layers of the page.
    let routes = metrics.merge(page).merge(socket).merge(traces).merge(api);
    // Outside of the layers that reject requests, so that a page can read the error.
    let routes = match cors(&state.cors_origins) {
        Some(layer) => routes.layer(layer),
        None => routes,
    };
    routes
        // Health checks send an IP address as Host, and no token. Their responses have no data.
        .route("/healthz", get(monitoring::live))
        .route("/readyz", get(monitoring::ready))
        .layer((
            from_fn_with_state(log, request_log::record),
            CatchPanicLayer::custom(problem::panicked),
        ))
        .with_state(state)
}
