//! Metrics of background jobs: which jobs run, and their panics.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// After this many panics in a row a job counts as unhealthy until it has recovered.
const MANY_PANICS: u32 = 3;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabels {
    job: &'static str,
}

#[derive(Debug, Default)]
pub struct JobMetrics {
    running: Family<JobLabels, Gauge>,
    panics: Family<JobLabels, Counter>,
    problems: Mutex<BTreeMap<&'static str, JobProblem>>,
}

/// Why a job is unhealthy.
#[derive(Clone, Debug)]
enum JobProblem {
    /// It panicked and is not restarted yet.
    Down,
    /// It panicked several times in a row; unhealthy until this instant.
    Failing(Instant),
    /// It runs and refuses its work for this reason.
    Refusing(String),
    /// It works, and has found this.
    Warning(String),
}

/// A supervised job, until this is dropped.
pub struct RunningJob<'a> {
    metrics: &'a JobMetrics,
    name: &'static str,
}

/// An unhealthy job, with the message for `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnhealthyJob {
    pub name: &'static str,
    pub problem: String,
}

impl JobMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Background jobs that run, 0 while a job that panicked is not restarted";
        registry.register("job_running", help, self.running.clone());
        registry.register("job_panics", "Panics of background jobs", self.panics.clone());
    }

    /// Registers a running job.
    pub fn start(&self, name: &'static str) -> RunningJob<'_> {
        self.running.get_or_create(&JobLabels { job: name }).inc();
        // Created at the start, so that an increase from 0 is visible.
        drop(self.panics.get_or_create(&JobLabels { job: name }));
        RunningJob { metrics: self, name }
    }

    /// Sets the reason why a job refuses its work; `None` if it works.
    pub fn set_refusing(&self, name: &'static str, reason: Option<String>) {
        match reason {
            Some(reason) => self.problems().insert(name, JobProblem::Refusing(reason)),
            None => self.problems().remove(name),
        };
    }

    /// Sets the warning of a job that works; `None` if nothing is wrong.
    pub fn set_warning(&self, name: &'static str, warning: Option<String>) {
        let mut problems = self.problems();
        if let None | Some(JobProblem::Warning(_)) = problems.get(name) {
            match warning {
                Some(warning) => problems.insert(name, JobProblem::Warning(warning)),
                None => problems.remove(name),
            };
        }
    }

    /// The unhealthy jobs.
    pub fn unhealthy(&self) -> Vec<UnhealthyJob> {
        let now = Instant::now();
        let mut problems = self.problems();
        problems
            .retain(|_, problem| !matches!(problem, JobProblem::Failing(until) if *until <= now));
        let problem = |(name, problem): (&&'static str, &JobProblem)| UnhealthyJob {
            name,
            problem: match problem {
                JobProblem::Down => "is not running".to_owned(),
                JobProblem::Failing(_) => "panics repeatedly".to_owned(),
                JobProblem::Refusing(reason) => format!("refuses to run: {reason}"),
                JobProblem::Warning(warning) => warning.clone(),
            },
        };
        problems.iter().map(problem).collect()
    }

    fn problems(&self) -> MutexGuard<'_, BTreeMap<&'static str, JobProblem>> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gauge(&self, job: &'static str) -> Gauge {
        self.running.get_or_create(&JobLabels { job }).clone()
    }
}

impl RunningJob<'_> {
    /// Records a panic.
    pub fn panicked(&self) {
        self.metrics.panics.get_or_create(&JobLabels { job: self.name }).inc();
        self.metrics.gauge(self.name).dec();
        self.metrics.problems().insert(self.name, JobProblem::Down);
    }

    /// Records a restart after this many panics in a row. The job has recovered after `recovery`.
    pub fn restarted(&self, panics: u32, recovery: Duration) {
        self.metrics.gauge(self.name).inc();
        let mut problems = self.metrics.problems();
        match panics >= MANY_PANICS {
            true => problems.insert(self.name, JobProblem::Failing(Instant::now() + recovery)),
            false => problems.remove(self.name),
        };
    }
}

impl Drop for RunningJob<'_> {
    fn drop(&mut self) {
        let down = matches!(self.metrics.problems().remove(self.name), Some(JobProblem::Down));
        if !down {
            self.metrics.gauge(self.name).dec();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unhealthy_jobs_are_listed() {
        let metrics = JobMetrics::default();
        let job = metrics.start("work");
        let problems =
            || metrics.unhealthy().into_iter().map(|job| job.problem).collect::<Vec<_>>();
        assert!(problems().is_empty());
        job.panicked();
        assert_eq!((problems(), metrics.gauge("work").get()), (vec!["is not running".into()], 0));
        job.restarted(1, Duration::from_secs(60));
        assert_eq!((problems(), metrics.gauge("work").get()), (vec![], 1));
        job.panicked();
        job.restarted(MANY_PANICS, Duration::from_secs(60));
        assert_eq!(problems(), ["panics repeatedly"]);
        job.restarted(MANY_PANICS, Duration::ZERO);
        assert!(problems().is_empty(), "it has recovered");
        metrics.set_refusing("work", Some("why".into()));
        assert_eq!(problems(), ["refuses to run: why"]);
        metrics.set_warning("work", Some("what".into()));
        assert_eq!(problems(), ["refuses to run: why"]);
        metrics.set_refusing("work", None);
        assert!(problems().is_empty());
        metrics.set_warning("work", Some("what".into()));
        assert_eq!(problems(), ["what"]);
        metrics.set_warning("work", None);
        assert!(problems().is_empty());
    }
}
