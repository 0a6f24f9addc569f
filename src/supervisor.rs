//! Runs background jobs. A panic of a job is logged and counted, and the job is restarted with its state.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep};

use crate::observe::Observer;

/// The first and the longest pause after a panic.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(10);
/// A job that ran for this long has recovered.
const RECOVERED: Duration = Duration::from_secs(60);

/// A job that is restarted after a panic. Its fields outlive the panic.
pub trait Job: Send {
    /// The name in the log, in the metrics and in `/readyz`.
    fn name(&self) -> &'static str;

    /// Runs until the job is done. Called again after a panic.
    fn run(&mut self) -> impl Future<Output = ()> + Send;

    /// Whether a job that panicked is not restarted, because the server stops.
    fn is_stopping(&self) -> bool {
        false
    }
}

/// Runs `job` until it returns, and again after each panic.
pub async fn supervise(observer: Arc<Observer>, mut job: impl Job) {
    let name = job.name();
    let running = observer.metrics.jobs.start(name);
    let mut panics = 0_u32;
    loop {
        let started = Instant::now();
        let Err(payload) = AssertUnwindSafe(job.run()).catch_unwind().await else { return };
        panics = if started.elapsed() < RECOVERED { panics.saturating_add(1) } else { 1 };
        running.panicked();
        let backoff = backoff(panics, rand::random::<f64>());
        let (text, retry_ms) = (text(&*payload), backoff.as_millis());
        tracing::error!(
            job = name,
            panics,
            text,
            retry_ms,
            "a background job panicked; restarting"
        );
        if job.is_stopping() {
            return;
        }
        sleep(backoff).await;
        running.restarted(panics, RECOVERED);
    }
}

/// Doubles with each panic in a row; `random` in 0 to 1 spreads the restarts of several servers.
fn backoff(panics: u32, random: f64) -> Duration {
    let doubled = FIRST_BACKOFF.saturating_mul(2_u32.saturating_pow(panics.saturating_sub(1)));
    doubled.min(LAST_BACKOFF).mul_f64(0.5 + random / 2.0)
}

/// The text of a panic if it is a constant: a formatted text may contain data.
fn text(payload: &(dyn Any + Send)) -> Option<&'static str> {
    payload.downcast_ref::<&'static str>().copied()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use prometheus_client::registry::Registry;

    use super::*;

    struct Fragile {
        runs: Arc<AtomicU32>,
        panics: u32,
    }

    impl Job for Fragile {
        fn name(&self) -> &'static str {
            "fragile"
        }

        async fn run(&mut self) {
            tokio::task::yield_now().await;
            assert!(self.runs.fetch_add(1, Ordering::Relaxed) >= self.panics, "injected");
        }
    }

    #[tokio::test]
    async fn a_job_is_restarted_after_a_panic() {
        let (observer, runs) = (Arc::new(Observer::default()), Arc::new(AtomicU32::new(0)));
        supervise(observer.clone(), Fragile { runs: runs.clone(), panics: 3 }).await;
        assert_eq!(runs.load(Ordering::Relaxed), 4);
        let text = observer.metrics.encode(&Registry::default()).unwrap();
        assert!(text.contains("job_panics_total{job=\"fragile\"} 3\n"), "{text}");
        // The job has returned.
        assert!(text.contains("job_running{job=\"fragile\"} 0\n"), "{text}");
    }

    #[test]
    fn pauses_grow_up_to_a_bound() {
        assert_eq!(backoff(1, 1.0), FIRST_BACKOFF);
        assert_eq!(backoff(1, 0.0), FIRST_BACKOFF / 2);
        assert_eq!(backoff(2, 1.0), FIRST_BACKOFF * 2);
        assert_eq!(backoff(u32::MAX, 1.0), LAST_BACKOFF);
    }
}
