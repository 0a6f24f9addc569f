//! `/metrics`, for Prometheus: what was counted, and what the database is like at this moment. It
//! answers also while the database does not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use chrono::TimeDelta;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::sync::Mutex;

use super::context::RequestContext;
use super::problem::Problem;
use super::router::AppState;
use crate::domain::access::AccessScope;
use crate::domain::counts::CallCounts;
use crate::domain::window::Window;
use crate::observe::metrics::PREFIX;
use crate::store::call::CallScope;
use crate::store::call_group::{self, CallDimension, GroupOrder, GroupQuery};
use crate::store::database::PING_TIMEOUT;

const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Of the table itself only the last minutes are told: all of its calls would have to be counted
/// anew each time.
const WINDOW_MINUTES: i64 = 5;
/// How long the counts of these minutes hold, however many ask.
const REFRESH: Duration = Duration::from_secs(10);
/// Status codes that are told: far more than there are.
const MAX_CODES: u32 = 100;

/// The calls of the last minutes by status code, and when they were counted.
#[derive(Debug, Default)]
pub(super) struct RecentCalls(Mutex<Option<(Instant, Vec<CallsOf>)>>);

/// A status code, `none` where there is none, and the calls that have it.
type CallsOf = (String, CallCounts);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    status_code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolLabels {
    pool: &'static str,
    state: &'static str,
}

pub(super) async fn get(
    State(state): State<AppState>,
    Extension(context): Extension<RequestContext>,
    Extension(recent): Extension<Arc<RecentCalls>>,
    request: Request,
) -> Result<Response, Problem> {
    // A scraper with a token may use any name: a web page that rebinds a name has no token.
    if context.caller.is_anonymous() {
        state.hosts.check(&request)?;
    }
    if !context.caller.scopes.has(AccessScope::Metrics) {
        return Err(match context.caller.is_anonymous() {
            true => Problem::unauthenticated(),
            false => {
                let message = "metrics need a token with the scope METRICS";
                Problem::new(StatusCode::FORBIDDEN, "FORBIDDEN", message)
            }
        });
    }
    let mut registry = Registry::with_prefix(PREFIX);
    add_build(&mut registry, &state);
    add_pools(&mut registry, &state);
    let up = state.services.db.ping().await.is_ok();
    let help = "Whether the database answers, and its tables can be read";
    registry.register("database_up", help, ConstGauge::new(i64::from(up)));
    if up && let Some(calls) = recent.read(&state).await {
        add_recent_calls(&mut registry, calls);
    }
    let text = state.services.observer.metrics.encode(&registry);
    let text = text.map_err(|_| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "internal error")
    })?;
    Ok(([(CONTENT_TYPE, MEDIA_TYPE)], text).into_response())
}

fn add_build(registry: &mut Registry, state: &AppState) {
    let database = state.services.db.dialect().name();
    let labels = [("version", env!("CARGO_PKG_VERSION")), ("database", database)].to_vec();
    registry.register("build", "The version, and the kind of the database", Info::new(labels));
}

fn add_pools(registry: &mut Registry, state: &AppState) {
    let db = &state.services.db;
    let (connections, most) = (Family::default(), Family::default());
    let mut in_use = 0;
    for pool in db.pools() {
        let used = pool.open.saturating_sub(pool.idle);
        in_use += i64::from(used);
        for (state, count) in [("idle", pool.idle), ("used", used)] {
            let gauge: &Family<PoolLabels, Gauge> = &connections;
            gauge.get_or_create(&PoolLabels { pool: pool.name, state }).set(count.into());
        }
        let gauge: &Family<Vec<(&str, &str)>, Gauge> = &most;
        gauge.get_or_create(&vec![("pool", pool.name)]).set(pool.most.into());
    }
    let help = "Open connections to the database";
    registry.register("database_connections", help, connections);
    registry.register("database_connections_max", "Connections that may be opened", most);
    // The pools do not tell: what was sent and has no connection waits for one.
    let sent = state.services.observer.metrics.statements_in_flight();
    let help = "Statements that wait for a connection, roughly";
    registry.register("database_waiting", help, ConstGauge::new((sent - in_use).max(0)));
}

fn add_recent_calls(registry: &mut Registry, calls: Vec<CallsOf>) {
    let (by_code, failed) = (Family::<CodeLabels, Gauge>::default(), Gauge::<i64>::default());
    for (status_code, counts) in calls {
        failed.inc_by(counts.total - counts.success);
        by_code.get_or_create(&CodeLabels { status_code }).set(counts.total);
    }
    let help = "Calls of the gateway in the last 5 minutes by status code, none where it has none";
    registry.register("recent_calls", help, by_code);
    let help = "Those of these calls that failed";
    registry.register("recent_calls_failed", help, failed);
}

impl RecentCalls {
    /// Nothing where the database does not tell in time. One statement, a range of the index by
    /// time; those who ask meanwhile wait for its answer.
    async fn read(&self, state: &AppState) -> Option<Vec<CallsOf>> {
        let mut last = self.0.lock().await;
        if let Some((read, calls)) = &*last
            && read.elapsed() < REFRESH
        {
            return Some(calls.clone());
        }
        let window = Window::last(TimeDelta::minutes(WINDOW_MINUTES), state.clock.now())?;
        let query = GroupQuery {
            scope: CallScope::of(window),
            by: vec![CallDimension::StatusCode],
            order: GroupOrder::Total,
            limit: MAX_CODES,
            latency: false,
        };
        let groups = call_group::groups(&state.services.db, &query);
        let groups = tokio::time::timeout(PING_TIMEOUT, groups).await.ok()?.ok()?;
        let code = |code: Option<i32>| code.map_or("none".to_owned(), |code| code.to_string());
        let calls: Vec<CallsOf> =
            groups.into_iter().map(|group| (code(group.status_code), group.stats.counts)).collect();
        *last = Some((Instant::now(), calls.clone()));
        Some(calls)
    }
}
