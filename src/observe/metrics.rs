//! The metrics of `/metrics`. Every label has few values: routes, codes and statements are fixed, and only
//! the first 100 operation names of clients become labels.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::jobs::JobMetrics;
use super::process;
use super::rollup::RollupMetrics;
use super::tail::TailMetrics;

/// The prefix of every name except the process metrics, which have standard names.
pub const PREFIX: &str = "callscope";

/// The most operation names that become labels; others are counted as `other`.
const MAX_OPERATIONS: usize = 100;
const OTHER: &str = "other";

const REQUEST_SECONDS: [f64; 13] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];
const STATEMENT_SECONDS: [f64; 12] =
    [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0];
const BATCH_SIZES: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1000.0, 10_000.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HttpLabels {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: Arc<str>,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    operation: Arc<str>,
    kind: &'static str,
    code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatementLabels {
    statement: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoaderLabels {
    loader: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TableLabels {
    table: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    operations: RwLock<HashSet<Arc<str>>>,
    http_requests: Family<HttpLabels, Counter>,
    http_seconds: Histograms<RouteLabels>,
    http_in_flight: Gauge,
    graphql_requests: Family<OutcomeLabels, Counter>,
    graphql_seconds: Histograms<OperationLabels>,
    sql_seconds: Histograms<StatementLabels>,
    sql_errors: Family<StatementLabels, Counter>,
    sql_rows: Family<StatementLabels, Counter>,
    sql_in_flight: Gauge,
    connection_wait: Histogram,
    batch_sizes: Histograms<LoaderLabels>,
    subscriptions: Gauge,
    subscription_events: Counter,
    pub jobs: JobMetrics,
    pub tail: TailMetrics,
    pub rollup: RollupMetrics,
    retention_rows: Family<TableLabels, Counter>,
    retention_errors: Counter,
    retention_last_run: Gauge,
    retention_refused: Family<ReasonLabels, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            operations: RwLock::default(),
            http_requests: Family::default(),
            http_seconds: Family::new_with_constructor(|| Histogram::new(REQUEST_SECONDS)),
            http_in_flight: Gauge::default(),
            graphql_requests: Family::default(),
            graphql_seconds: Family::new_with_constructor(|| Histogram::new(REQUEST_SECONDS)),
            sql_seconds: Family::new_with_constructor(|| Histogram::new(STATEMENT_SECONDS)),
            sql_errors: Family::default(),
            sql_rows: Family::default(),
            sql_in_flight: Gauge::default(),
            connection_wait: Histogram::new(STATEMENT_SECONDS),
            batch_sizes: Family::new_with_constructor(|| Histogram::new(BATCH_SIZES)),
            subscriptions: Gauge::default(),
            subscription_events: Counter::default(),
            jobs: JobMetrics::default(),
            tail: TailMetrics::default(),
            rollup: RollupMetrics::default(),
            retention_rows: Family::default(),
            retention_errors: Counter::default(),
            retention_last_run: Gauge::default(),
            retention_refused: Family::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        process::register(&mut self.registry);
        let registry = self.registry.sub_registry_with_prefix(PREFIX);
        registry.register("http_requests", "HTTP requests", self.http_requests.clone());
        registry.register_with_unit(
            "http_request_duration",
            "Time until the response to an HTTP request was ready",
            Unit::Seconds,
            self.http_seconds.clone(),
        );
        let help = "HTTP requests in flight";
        registry.register("http_requests_in_flight", help, self.http_in_flight.clone());
        let help =
            "GraphQL requests by operation and the code of the first error, OK without errors";
        registry.register("graphql_requests", help, self.graphql_requests.clone());
        registry.register_with_unit(
            "graphql_request_duration",
            "Time until the response to a GraphQL request was ready",
            Unit::Seconds,
            self.graphql_seconds.clone(),
        );
        registry.register_with_unit(
            "sql_statement_duration",
            "Time until the database answered a statement, including the wait for a connection",
            Unit::Seconds,
            self.sql_seconds.clone(),
        );
        registry.register_with_unit(
            "database_connection_wait",
            "Time that a read statement waited for a connection",
            Unit::Seconds,
            self.connection_wait.clone(),
        );
        registry.register("sql_errors", "Statements that failed", self.sql_errors.clone());
        registry.register("sql_rows", "Rows that statements returned", self.sql_rows.clone());
        let help = "Keys of one loader batch of a request";
        registry.register("loader_batch_size", help, self.batch_sizes.clone());
        registry.register("subscriptions", "Open subscriptions", self.subscriptions.clone());
        let help = "Events sent to subscriptions";
        registry.register("subscription_events", help, self.subscription_events.clone());
        self.jobs.register(registry);
        self.tail.register(registry);
        self.rollup.register(registry);
        let help = "Rows deleted by retention";
        registry.register("retention_removed_rows", help, self.retention_rows.clone());
        let help = "Runs of retention that failed";
        registry.register("retention_errors", help, self.retention_errors.clone());
        registry.register_with_unit(
            "retention_last_run_timestamp",
            "Time of the last run of retention of this server, 0 before the first run",
            Unit::Seconds,
            self.retention_last_run.clone(),
        );
        let help = "1 while retention refuses to delete for this reason";
        registry.register("retention_refused", help, self.retention_refused.clone());
    }

    pub fn request_started(&self) {
        self.http_in_flight.inc();
    }

    /// Status 0 means that the client disconnected.
    pub fn request_ended(&self, route: &str, method: &'static str, status: u16, took: Duration) {
        self.http_in_flight.dec();
        let labels = HttpLabels { route: route.to_owned(), method, status };
        self.http_requests.get_or_create(&labels).inc();
        let labels = RouteLabels { route: route.to_owned() };
        self.http_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    pub fn operation(
        &self,
        operation: Option<&str>,
        kind: &'static str,
        codes: &[String],
        took: Duration,
    ) {
        let operation = self.known(operation.unwrap_or_default());
        let labels = OperationLabels { operation: operation.clone(), kind };
        self.graphql_seconds.get_or_create(&labels).observe(took.as_secs_f64());
        let code = codes.first().map_or("OK", String::as_str).to_owned();
        self.graphql_requests.get_or_create(&OutcomeLabels { operation, kind, code }).inc();
    }

    /// The label of an operation name. Clients choose the names, and the memory of a label is never freed.
    fn known(&self, operation: &str) -> Arc<str> {
        let known = self.operations.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(operation) {
            return known.clone();
        }
        drop(known);
        let mut known = self.operations.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_OPERATIONS && !known.contains(operation) {
            return OTHER.into();
        }
        let name: Arc<str> = operation.into();
        known.insert(name.clone());
        name
    }

    pub fn connection_waited(&self, took: Duration) {
        self.connection_wait.observe(took.as_secs_f64());
    }

    pub(super) fn statement_started(&self) {
        self.sql_in_flight.inc();
    }

    pub(super) fn statement_ended(
        &self,
        statement: &'static str,
        took: Duration,
        rows: Option<u64>,
    ) {
        self.sql_in_flight.dec();
        let labels = StatementLabels { statement };
        self.sql_seconds.get_or_create(&labels).observe(took.as_secs_f64());
        match rows {
            Some(rows) => self.sql_rows.get_or_create(&labels).inc_by(rows),
            None => self.sql_errors.get_or_create(&labels).inc(),
        };
    }

    /// Statements that wait for a connection or for their result.
    pub fn statements_in_flight(&self) -> i64 {
        self.sql_in_flight.get()
    }

    /// Records the number of keys of a loader batch.
    pub fn batch(&self, loader: &'static str, size: usize) {
        self.batch_sizes.get_or_create(&LoaderLabels { loader }).observe(size as f64);
    }

    pub fn subscription_started(&self) {
        self.subscriptions.inc();
    }

    pub fn subscription_ended(&self) {
        self.subscriptions.dec();
    }

    pub fn subscription_event(&self) {
        self.subscription_events.inc();
    }

    /// Counts rows of a table that retention deleted.
    pub fn retention_removed(&self, table: &'static str, rows: u64) {
        self.retention_rows.get_or_create(&TableLabels { table }).inc_by(rows);
    }

    pub fn retention_failed(&self) {
        self.retention_errors.inc();
    }

    pub fn retention_ran(&self, at: DateTime<Utc>) {
        self.retention_last_run.set(at.timestamp());
    }

    /// Sets the reason why retention refuses to delete; `None` if it works.
    pub fn set_retention_refused(&self, reason: Option<&'static str>) {
        self.retention_refused.clear();
        if let Some(reason) = reason {
            self.retention_refused.get_or_create(&ReasonLabels { reason }).set(1);
        }
    }

    /// All metrics and those of `more` as OpenMetrics text.
    pub fn encode(&self, more: &Registry) -> Result<String, std::fmt::Error> {
        let mut text = String::with_capacity(16 * 1024);
        encode_registry(&mut text, &self.registry)?;
        encode_registry(&mut text, more)?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_operation_labels_is_bounded() {
        let metrics = Metrics::default();
        for number in 0..1000 {
            metrics.operation(Some(&format!("name{number}")), "query", &[], Duration::ZERO);
        }
        metrics.operation(Some("name7"), "query", &[], Duration::ZERO);
        let text = metrics.encode(&Registry::default()).unwrap();
        let count = |name: &str| {
            let start = format!("callscope_graphql_requests_total{{operation=\"{name}\"");
            let line = text.lines().find(|line| line.starts_with(&start)).unwrap_or_default();
            line.rsplit(' ').next().unwrap_or_default().to_owned()
        };
        assert_eq!([count("name7"), count("other"), count("name500")], ["2", "900", ""]);
    }
}
