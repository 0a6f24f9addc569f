//! Metrics of the tails.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TableLabels {
    table: &'static str,
}

#[derive(Debug, Default)]
pub struct TailMetrics {
    rows: Family<TableLabels, Counter>,
    missed: Family<TableLabels, Counter>,
    errors: Family<TableLabels, Counter>,
    gaps: Family<TableLabels, Gauge>,
    gaps_dropped: Family<TableLabels, Counter>,
    notified: Counter,
}

impl TailMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Rows of a table that its tail read for subscribers";
        registry.register("tail_rows", help, self.rows.clone());
        let help = "Rows that slow subscribers missed, summed over all subscribers";
        registry.register("tail_rows_missed", help, self.missed.clone());
        let help = "Failed reads of a tail";
        registry.register("tail_errors", help, self.errors.clone());
        let help = "Ranges of unused ids that the tail checks for late rows";
        registry.register("tail_gaps", help, self.gaps.clone());
        let help = "Ranges of unused ids that were dropped early because there were too many";
        registry.register("tail_gaps_dropped", help, self.gaps_dropped.clone());
        let help = "Notifications received from other servers of the database";
        registry.register("tail_notifications", help, self.notified.clone());
    }

    pub fn found(&self, table: &'static str, rows: usize) {
        self.rows.get_or_create(&TableLabels { table }).inc_by(rows as u64);
    }

    pub fn missed(&self, table: &'static str, rows: u64) {
        self.missed.get_or_create(&TableLabels { table }).inc_by(rows);
    }

    pub fn failed(&self, table: &'static str) {
        self.errors.get_or_create(&TableLabels { table }).inc();
    }

    pub fn set_gaps(&self, table: &'static str, gaps: usize) {
        let gaps = i64::try_from(gaps).unwrap_or(i64::MAX);
        self.gaps.get_or_create(&TableLabels { table }).set(gaps);
    }

    pub fn dropped_gaps(&self, table: &'static str, gaps: u64) {
        self.gaps_dropped.get_or_create(&TableLabels { table }).inc_by(gaps);
    }

    pub fn notified(&self) {
        self.notified.inc();
    }
}
