//! Monitoring: the health checks `/healthz` and `/readyz`, and `/metrics` for Prometheus. Metrics are the
//! server's counters and the current state of the database; they work even if the database is unavailable.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use chrono::TimeDelta;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::Mutex;

use super::context::RequestContext;
use super::problem::Problem;
use super::state::AppState;
use crate::domain::access::AccessScope;
use crate::domain::counts::CallCounts;
use crate::domain::window::Window;
use crate::ingest::recorder::RECORDER;
use crate::observe::metrics::PREFIX;
use crate::store::call::CallScope;
use crate::store::call_dimension::CallDimension;
use crate::store::call_group::{self, GroupOrder, GroupQuery};
use crate::store::database::PING_TIMEOUT;

const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Window of the call counts. Counting all calls for each scrape would be too slow.
const WINDOW_MINUTES: i64 = 5;
/// How long the call counts are cached.
const REFRESH: Duration = Duration::from_secs(10);
/// Limit of status codes, far above what occurs.
const MAX_CODES: u32 = 100;

/// The calls of the last minutes by status code, with the time of the count.
#[derive(Debug, Default)]
pub(crate) struct RecentCalls(Mutex<Option<(Instant, Vec<CodeCounts>)>>);

type FloatGauge = Gauge<f64, AtomicU64>;

/// A status code (`none` for calls without one) and its calls.
type CodeCounts = (String, CallCounts);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    status_code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReplicaLabels {
    replica: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolLabels {
    pool: String,
    state: &'static str,
}

/// Liveness: the process runs.
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// Readiness: 200 if the database answers and the recorder works, else 503. Other background jobs that fail
/// are listed but do not change the status.
pub(crate) async fn ready(State(state): State<AppState>) -> (StatusCode, String) {
    match state.services.db.ping().await {
        Ok(()) => jobs(&state),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "database unavailable\n".to_owned()),
    }
}

fn jobs(state: &AppState) -> (StatusCode, String) {
    let unhealthy = state.services.observer.metrics.jobs.unhealthy();
    let records = !state.services.db.is_read_only();
    let is_down = records && unhealthy.iter().any(|job| job.name == RECORDER);
    let (status, mut text) = match is_down {
        true => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned()),
        false => (StatusCode::OK, "ready\n".to_owned()),
    };
    for job in unhealthy {
        text.push_str(&format!("degraded: {} {}\n", job.name, job.problem));
    }
    for replica in state.services.db.replicas().reports() {
        if let Some(problem) = replica.problem {
            text.push_str(&format!("degraded: replica {} {problem}\n", replica.name));
        }
    }
    (status, text)
}

pub(crate) async fn metrics(
    State(state): State<AppState>,
    Extension(context): Extension<RequestContext>,
    Extension(recent): Extension<Arc<RecentCalls>>,
    request: Request,
) -> Result<Response, Problem> {
    // A scraper with a token may use any host name: a page that uses DNS rebinding has no token.
    if context.caller.is_anonymous() {
        state.hosts.check(&request)?;
    }
    context.require_scope(AccessScope::Metrics)?;
    let mut registry = Registry::with_prefix(PREFIX);
    add_build(&mut registry, &state);
    add_pools(&mut registry, &state);
    add_replicas(&mut registry, &state);
    let up = state.services.db.ping().await.is_ok();
    let help = "Whether the database responds and its tables are readable";
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
            gauge.get_or_create(&PoolLabels { pool: pool.name.clone(), state }).set(count.into());
        }
        let gauge: &Family<Vec<(&str, String)>, Gauge> = &most;
        gauge.get_or_create(&vec![("pool", pool.name)]).set(pool.most.into());
    }
    let help = "Open connections to the database";
    registry.register("database_connections", help, connections);
    registry.register("database_connections_max", "Connections that may be opened", most);
    // The pools do not report it: a statement in flight without a connection waits for one.
    let sent = state.services.observer.metrics.statements_in_flight();
    let help = "Statements that wait for a connection, roughly";
    registry.register("database_waiting", help, ConstGauge::new((sent - in_use).max(0)));
}

fn add_replicas(registry: &mut Registry, state: &AppState) {
    let reports = state.services.db.replicas().reports();
    if reports.is_empty() {
        return;
    }
    let (used, lag) =
        (Family::<ReplicaLabels, Gauge>::default(), Family::<_, FloatGauge>::default());
    let (statements, failed) = (Family::<_, Counter>::default(), Family::<_, Counter>::default());
    for report in reports {
        let labels = ReplicaLabels { replica: report.name };
        used.get_or_create(&labels).set(i64::from(report.problem.is_none()));
        if let Some(behind) = report.lag {
            lag.get_or_create(&labels).set(behind.as_secs_f64());
        }
        statements.get_or_create(&labels).inc_by(report.statements);
        failed.get_or_create(&labels).inc_by(report.failed);
    }
    registry.register("replica_used", "Whether a standby answers queries", used);
    let help = "How old the data of a standby is, at most; includes the interval of the checks";
    registry.register_with_unit("replica_lag", help, Unit::Seconds, lag);
    let help = "Statements that were sent to a standby";
    registry.register("replica_statements", help, statements);
    let help = "Statements that failed on a standby, so that the primary answered them";
    registry.register("replica_statements_failed", help, failed);
}

fn add_recent_calls(registry: &mut Registry, calls: Vec<CodeCounts>) {
    let (by_code, failed) = (Family::<CodeLabels, Gauge>::default(), Gauge::<i64>::default());
    for (status_code, counts) in calls {
        failed.inc_by(counts.total - counts.success);
        by_code.get_or_create(&CodeLabels { status_code }).set(counts.total);
    }
    let help = "Calls of the gateway in the last 5 minutes by status code (none: no status code)";
    registry.register("recent_calls", help, by_code);
    let help = "Failed calls of the gateway in the last 5 minutes";
    registry.register("recent_calls_failed", help, failed);
}

impl RecentCalls {
    /// `None` if the database does not respond in time. One statement over a range of the index by time;
    /// concurrent scrapes wait for its result.
    async fn read(&self, state: &AppState) -> Option<Vec<CodeCounts>> {
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
        let calls: Vec<CodeCounts> =
            groups.into_iter().map(|group| (code(group.status_code), group.stats.counts)).collect();
        *last = Some((Instant::now(), calls.clone()));
        Some(calls)
    }
}
