//! The background jobs of the server: which run, and how often each panicked.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// After so many panics in a row a job counts as down until it has recovered.
const MANY_PANICS: u32 = 3;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabels {
    job: &'static str,
}

#[derive(Debug, Default)]
pub struct JobMetrics {
    running: Family<JobLabels, Gauge>,
    panics: Family<JobLabels, Counter>,
    troubles: Mutex<BTreeMap<&'static str, Trouble>>,
}

/// Why a job does not do its work.
#[derive(Clone, Debug)]
enum Trouble {
    /// It panicked and is not started again yet.
    Down,
    /// It panicked several times in a row; down until this instant.
    Failing(Instant),
    /// It runs, and refuses its work for this reason.
    Refusing(String),
}

/// A job that is supervised, until it is dropped.
pub struct RunningJob<'a> {
    metrics: &'a JobMetrics,
    name: &'static str,
}

/// A job that does not do its work, in the words of `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TroubledJob {
    pub name: &'static str,
    pub trouble: String,
}

impl JobMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Background jobs that run, 0 while a job that panicked is not restarted";
        registry.register("job_running", help, self.running.clone());
        registry.register("job_panics", "Panics of background jobs", self.panics.clone());
    }

    /// A job runs from now on.
    pub fn start(&self, name: &'static str) -> RunningJob<'_> {
        self.running.get_or_create(&JobLabels { job: name }).inc();
        // From the start, so that an increase is seen.
        drop(self.panics.get_or_create(&JobLabels { job: name }));
        RunningJob { metrics: self, name }
    }

    /// A job refuses its work for a reason; none: it does its work.
    pub fn set_refusing(&self, name: &'static str, reason: Option<String>) {
        match reason {
            Some(reason) => self.troubles().insert(name, Trouble::Refusing(reason)),
            None => self.troubles().remove(name),
        };
    }

    /// The jobs that do not do their work.
    pub fn troubled(&self) -> Vec<TroubledJob> {
        let now = Instant::now();
        let mut troubles = self.troubles();
        troubles.retain(|_, trouble| !matches!(trouble, Trouble::Failing(until) if *until <= now));
        let trouble = |(name, trouble): (&&'static str, &Trouble)| TroubledJob {
            name,
            trouble: match trouble {
                Trouble::Down => "is not running".to_owned(),
                Trouble::Failing(_) => "fails again and again".to_owned(),
                Trouble::Refusing(reason) => format!("refuses to run: {reason}"),
            },
        };
        troubles.iter().map(trouble).collect()
    }

    fn troubles(&self) -> MutexGuard<'_, BTreeMap<&'static str, Trouble>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gauge(&self, job: &'static str) -> Gauge {
        self.running.get_or_create(&JobLabels { job }).clone()
    }
}

impl RunningJob<'_> {
    /// It panicked.
    pub fn panicked(&self) {
        self.metrics.panics.get_or_create(&JobLabels { job: self.name }).inc();
        self.metrics.gauge(self.name).dec();
        self.metrics.troubles().insert(self.name, Trouble::Down);
    }

    /// It runs again after so many panics in a row, and has recovered after `recovery`.
    pub fn restarted(&self, panics: u32, recovery: Duration) {
        self.metrics.gauge(self.name).inc();
        let mut troubles = self.metrics.troubles();
        match panics >= MANY_PANICS {
            true => troubles.insert(self.name, Trouble::Failing(Instant::now() + recovery)),
            false => troubles.remove(self.name),
        };
    }
}

impl Drop for RunningJob<'_> {
    fn drop(&mut self) {
        let down = matches!(self.metrics.troubles().remove(self.name), Some(Trouble::Down));
        if !down {
            self.metrics.gauge(self.name).dec();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_in_trouble_is_named() {
        let metrics = JobMetrics::default();
        let job = metrics.start("work");
        let troubles = || metrics.troubled().into_iter().map(|job| job.trouble).collect::<Vec<_>>();
        assert!(troubles().is_empty());
        job.panicked();
        assert_eq!((troubles(), metrics.gauge("work").get()), (vec!["is not running".into()], 0));
        job.restarted(1, Duration::from_secs(60));
        assert_eq!((troubles(), metrics.gauge("work").get()), (vec![], 1));
        job.panicked();
        job.restarted(MANY_PANICS, Duration::from_secs(60));
        assert_eq!(troubles(), ["fails again and again"]);
        job.restarted(MANY_PANICS, Duration::ZERO);
        assert!(troubles().is_empty(), "it has recovered");
        metrics.set_refusing("work", Some("why".into()));
        assert_eq!(troubles(), ["refuses to run: why"]);
        metrics.set_refusing("work", None);
        assert!(troubles().is_empty());
    }
}
