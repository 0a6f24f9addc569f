//! What one connection is doing: whether it answers requests, since when it is idle, and whether it is to
//! be closed.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// Between two looks at a connection that may be idle.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);
/// When a connection that has answered counts as idle. Its next request may be on its way before.
const IDLE_AFTER: Duration = Duration::from_millis(500);
/// The same of HTTP/2, where an answer may still be read, of which only hyper has an account.
const IDLE_AFTER_H2: Duration = Duration::from_secs(5);
/// What an idle HTTP/2 client is given to close a connection that was announced to end.
const H2_GOODBYE: Duration = Duration::from_millis(100);

/// The activity of a connection. Hyper closes one of HTTP/1.1 that stays silent between two requests,
/// but neither one whose protocol is not known yet, nor one of HTTP/2: that could take an answer and never
/// read it, and stay for ever. An answer that is ready must be read in the time of a silence.
pub(super) struct Activity {
    began: Instant,
    running: AtomicUsize,
    is_h2: AtomicBool,
    last: Mutex<Option<Instant>>,
    /// Whether the body of the latest request was left unread. Of HTTP/1.1, one request at a time.
    unread: AtomicBool,
    closing: CancellationToken,
    evicted: AtomicBool,
}

/// A request that is being answered.
pub(super) struct Busy(Arc<Activity>);

impl Activity {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            running: AtomicUsize::new(0),
            is_h2: AtomicBool::new(false),
            last: Mutex::default(),
            unread: AtomicBool::new(false),
            closing: CancellationToken::new(),
            evicted: AtomicBool::new(false),
        })
    }

    pub fn busy(self: &Arc<Self>, is_h2: bool) -> Busy {
        self.is_h2.store(is_h2, Ordering::Relaxed);
        self.running.fetch_add(1, Ordering::Relaxed);
        self.touch();
        Busy(Arc::clone(self))
    }

    fn touch(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn last(&self) -> Option<Instant> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed) > 0
    }

    pub fn set_unread(&self, unread: bool) {
        self.unread.store(unread, Ordering::Relaxed);
    }

    pub fn is_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    /// For how long nothing was asked, where that is long enough to close the connection for another.
    pub fn idle_time(&self) -> Option<Duration> {
        let idle = self.last().unwrap_or(self.began).elapsed();
        let least = if self.is_h2.load(Ordering::Relaxed) { IDLE_AFTER_H2 } else { IDLE_AFTER };
        (!self.is_running() && idle >= least).then_some(idle)
    }

    /// Ends when nothing was asked, or begun to be asked, for so long.
    pub async fn idle_for(&self, patience: Duration) {
        loop {
            let last = self.last();
            let silent = last.unwrap_or(self.began).elapsed();
            let asks = self.is_running();
            // Between two requests of HTTP/1.1 hyper counts the time.
            let counts = last.is_none() || self.is_h2.load(Ordering::Relaxed);
            if !asks && counts && silent >= patience {
                return;
            }
            let wait = if asks || !counts { patience } else { patience.saturating_sub(silent) };
            tokio::time::sleep(wait.max(SHORTEST_WAIT)).await;
        }
    }

    /// Asks the connection to close after the requests that it answers.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// The same of an idle connection whose place another one needs: it does not wait for its client.
    pub fn evict(&self) {
        self.evicted.store(true, Ordering::Relaxed);
        self.close();
    }

    pub fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Ends when the connection is asked to close.
    pub async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// Ends when an evicted connection of HTTP/2, or one without a request, has had its time. Hyper closes
    /// one of HTTP/1.1 itself, after its last answer.
    pub async fn evicted(&self) {
        loop {
            tokio::time::sleep(H2_GOODBYE).await;
            let may_wait = self.last().is_some() && !self.is_h2.load(Ordering::Relaxed);
            if !may_wait && !self.is_running() && self.evicted.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

impl Busy {
    pub fn go_on(&self) {
        self.0.touch();
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.touch();
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}
