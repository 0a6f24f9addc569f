//! The routes.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use axum::{Extension, Router};
use tokio::sync::watch;
use tower_http::catch_panic::CatchPanicLayer;

use super::admission::Admission;
use super::callers::Callers;
use super::context::{self, Door, RequestContext};
use super::documents::Documents;
use super::hosts::{self, Hosts};
use super::parser::Parser;
use super::read::ReadLimits;
use super::request_log::{self, RequestLog};
use super::subscriptions::Subscriptions;
use super::{
    assets, compress, cors, graphql, health, ingest, metrics, page, problem, session, socket,
    stream,
};
use crate::access::TokenDirectory;
use crate::clock::Clock;
use crate::graphql::answer::{AnswerLimits, AnswerSize};
use crate::graphql::schema::CallscopeSchema;
use crate::graphql::scope::{Asking, Services};
use crate::ingest::intake::Intake;

/// What the handlers share. Each layer of each request holds it, so it is one pointer.
#[derive(Clone)]
pub struct AppState(Arc<AppParts>);

impl From<AppParts> for AppState {
    fn from(shared: AppParts) -> Self {
        Self(Arc::new(shared))
    }
}

impl Deref for AppState {
    type Target = AppParts;

    fn deref(&self) -> &AppParts {
        &self.0
    }
}

/// The parts of [`AppState`].
pub struct AppParts {
    pub schema: CallscopeSchema,
    pub parser: Parser,
    pub admission: Arc<Admission>,
    pub subscriptions: Arc<Subscriptions>,
    pub callers: Arc<Callers>,
    /// Becomes true once the server stops.
    pub stopping: watch::Receiver<bool>,
    pub services: Services,
    pub answers: AnswerLimits,
    pub intake: Arc<Intake>,
    pub otlp_key_attribute: Arc<str>,
    pub tokens: Arc<TokenDirectory>,
    pub clock: Clock,
    pub timeout: Duration,
    /// What a client may take to go on with what it began.
    pub client_timeout: Duration,
    pub sdl: Bytes,
    pub read: ReadLimits,
    pub documents: Arc<Documents>,
    pub hosts: Hosts,
    pub cors_origins: Arc<[String]>,
}

impl AppState {
    /// A request that came now, and what counts its answer.
    pub(super) fn asking(&self, context: &RequestContext, answer: &Arc<AnswerSize>) -> Asking {
        Asking {
            answer: Arc::clone(answer),
            services: self.services.clone(),
            now: self.clock.now(),
            caller: context.caller.clone(),
            address: context.address,
        }
    }

    /// Ends once the server stops.
    pub(super) fn stopped(&self) -> impl Future<Output = ()> + use<> {
        let mut stopping = self.stopping.clone();
        async move {
            // An error means that nobody is left who could tell, which is an end as well.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        }
    }
}

/// Of layers that stand in one tuple the first runs first. They are few tuples: each is a box that
/// every request goes through.
pub fn router(state: AppState) -> Router {
    let log = RequestLog::new(state.services.observer.clone());
    let recent = Arc::new(metrics::RecentCalls::default());
    let door = |checks_host, counts| {
        let door = Door { state: state.clone(), checks_host, counts };
        from_fn_with_state(door, context::enter)
    };
    let reading = (compress::layer(), DefaultBodyLimit::max(state.read.body_bytes));
    let api = Router::new()
        .route("/graphql", get(graphql::get).post(graphql::post))
        .route("/graphql/stream", get(stream::get).post(stream::post))
        .route("/ingest/calls", post(ingest::calls))
        .route("/ingest/errors", post(ingest::errors))
        .route("/session", get(session::show).post(session::begin).delete(session::end))
        .route("/schema.graphql", get(page::schema))
        .layer((door(true, true), reading.clone()));
    // It refuses in its own words those that come too often.
    let traces =
        Router::new().route("/v1/traces", post(ingest::traces)).layer((door(true, false), reading));
    let socket = Router::new().route("/graphql/ws", get(socket::get)).layer(door(true, true));
    // Its handler checks the Host.
    let metrics = Router::new()
        .route("/metrics", get(metrics::get))
        .layer((door(false, false), Extension(recent)));
    // The page is the same for everybody, also for whoever has to sign in first.
    let check_host = from_fn_with_state(state.hosts.clone(), hosts::check);
    let page = assets::routes().route("/graphiql", get(page::graphiql)).layer(check_host);
    // What has no route goes the way of the last of them.
    let routes = metrics.merge(page).merge(socket).merge(traces).merge(api);
    // Around those that refuse, so that a page may read why it was refused.
    let routes = match cors::layer(&state.cors_origins) {
        Some(cors) => routes.layer(cors),
        None => routes,
    };
    routes
        // Health checks use the address and no token. The answers hold no data, so the Host is not
        // checked.
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .layer((
            from_fn_with_state(log, request_log::record),
            CatchPanicLayer::custom(problem::panicked),
        ))
        .with_state(state)
}
