//! State of one connection: the requests in flight, the idle time and a request to close it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// Shortest interval between two checks of the idle time.
const MIN_WAIT: Duration = Duration::from_millis(10);
/// Idle time after which a connection may be evicted. Before that its next request may be in transit.
const IDLE_AFTER: Duration = Duration::from_millis(500);
/// The same for HTTP/2, where the client may still be reading a response, which only hyper can see.
const IDLE_AFTER_H2: Duration = Duration::from_secs(5);
/// Time between the GOAWAY frame and the close of an idle HTTP/2 connection.
const H2_CLOSE_GRACE: Duration = Duration::from_millis(100);

/// The activity of a connection. Hyper closes an HTTP/1.1 connection that stays idle between two requests,
/// but not a connection without a first request and not an HTTP/2 connection. Those are closed here, so
/// that a client cannot hold a connection for ever by leaving its response unread.
pub(crate) struct Activity {
    opened_at: Instant,
    running: AtomicUsize,
    is_h2: AtomicBool,
    last: Mutex<Option<Instant>>,
    /// Whether the body of the latest HTTP/1.1 request is still unread.
    unread: AtomicBool,
    closing: CancellationToken,
    evicted: AtomicBool,
}

/// Marks the connection as busy while a request is answered.
pub(crate) struct Busy(Arc<Activity>);

impl Activity {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            opened_at: Instant::now(),
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

    /// The idle time; `None` if it is too short to evict the connection.
    pub fn idle_time(&self) -> Option<Duration> {
        let idle = self.last().unwrap_or(self.opened_at).elapsed();
        let min = if self.is_h2.load(Ordering::Relaxed) { IDLE_AFTER_H2 } else { IDLE_AFTER };
        (!self.is_running() && idle >= min).then_some(idle)
    }

    /// Returns once the connection has been idle for `timeout`.
    pub async fn idle_for(&self, timeout: Duration) {
        loop {
            let last = self.last();
            let idle = last.unwrap_or(self.opened_at).elapsed();
            // Hyper has the timer between two HTTP/1.1 requests.
            let is_timed = last.is_none() || self.is_h2.load(Ordering::Relaxed);
            let may_expire = is_timed && !self.is_running();
            if may_expire && idle >= timeout {
                return;
            }
            let wait = if may_expire { timeout.saturating_sub(idle) } else { timeout };
            tokio::time::sleep(wait.max(MIN_WAIT)).await;
        }
    }

    /// Requests a graceful shutdown: the connection closes after its requests in flight.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// Closes an idle connection to make room for another one, without waiting for its client.
    pub fn evict(&self) {
        self.evicted.store(true, Ordering::Relaxed);
        self.close();
    }

    pub fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Returns once a shutdown was requested.
    pub async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// Returns once an evicted HTTP/2 connection, or one without a request, has to be dropped. Hyper closes
    /// an HTTP/1.1 connection itself, after its last response.
    pub async fn evicted(&self) {
        loop {
            tokio::time::sleep(H2_CLOSE_GRACE).await;
            let hyper_closes = self.last().is_some() && !self.is_h2.load(Ordering::Relaxed);
            if !hyper_closes && !self.is_running() && self.evicted.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

impl Busy {
    /// Restarts the idle time: a part of the response was sent.
    pub fn touch(&self) {
        self.0.touch();
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.touch();
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}
