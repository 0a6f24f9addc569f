//! Metrics of the rollups.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Debug, Default)]
pub struct RollupMetrics {
    calls: Counter,
    errors: Counter,
    lag: Gauge,
}

impl RollupMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Calls that this server folded into rollups";
        registry.register("rollup_calls", help, self.calls.clone());
        let help = "Failed attempts to fold calls into rollups";
        registry.register("rollup_errors", help, self.errors.clone());
        let help = "Upper bound of the calls that are not folded yet; queries read each of them";
        registry.register("rollup_lag_calls", help, self.lag.clone());
    }

    pub fn folded(&self, calls: usize) {
        self.calls.inc_by(calls as u64);
    }

    pub fn failed(&self) {
        self.errors.inc();
    }

    pub fn set_lag(&self, calls: i64) {
        self.lag.set(calls);
    }
}
