//! The current request of a task. Layers below HTTP read it for logs and traces: a slow statement is logged
//! with the id of its request, without an argument in each function on the way.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use opentelemetry::trace::FutureExt;
use tokio::sync::Semaphore;
use tokio::time::Instant;

tokio::task_local! {
    static CURRENT: Arc<RequestMarks>;
}

/// Attaches the current request to `work`, which may run in another task: its statements are logged with
/// the request id and belong to the trace.
pub fn inherit<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    let marks = RequestMarks::current();
    let work = work.with_current_context();
    async move {
        match marks {
            Some(marks) => marks.during(work).await,
            None => work.await,
        }
    }
}

/// From now on, all statements of the current request read from the primary. Returns whether they read from a
/// replica before.
pub fn read_primary() -> bool {
    RequestMarks::current().is_some_and(|request| request.require_primary())
}

/// From now on, statements of the current request read what was committed before `at`.
pub fn read_after(at: Instant) {
    if let Some(request) = RequestMarks::current() {
        request.require_reads_after(at);
    }
}

/// Why a statistic is not exactly what was requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Warning {
    /// An end of a window was moved to the start of a cell of the rollups.
    WindowRounded,
    /// Deleted calls are not counted.
    DeletedCallsMissing,
}

impl Warning {
    /// Its code in `extensions.warnings`.
    pub fn code(self) -> &'static str {
        match self {
            Self::WindowRounded => "WINDOW_ROUNDED",
            Self::DeletedCallsMissing => "DELETED_CALLS_MISSING",
        }
    }

    pub fn message(self) -> &'static str {
        match self {
            Self::WindowRounded => {
                "a window starts or ends at a time with deleted or moved calls: it was rounded to whole minutes, \
                 hours or days, of which the numbers are kept"
            }
            Self::DeletedCallsMissing => {
                "deleted calls are not counted: their numbers are kept for whole hours and days, and not by \
                 latency"
            }
        }
    }
}

/// Where a request reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Primary,
    AnyReplica,
    /// One of the replicas, by its number.
    Replica(usize),
}

/// Where a request reads, and before which instant everything has to be there. The primary, unless it is set.
#[derive(Debug, Default)]
struct Reads {
    source: Option<Source>,
    after: Option<Instant>,
}

/// The data of a request for logs, traces and scheduling; layers add it step by step.
#[derive(Debug)]
pub struct RequestMarks {
    pub id: Arc<str>,
    operation: OnceLock<String>,
    caller: OnceLock<String>,
    share: OnceLock<Arc<str>>,
    heavy: AtomicBool,
    warnings: Mutex<BTreeSet<Warning>>,
    connections: OnceLock<Arc<Semaphore>>,
    reads: Mutex<Reads>,
}

impl RequestMarks {
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self {
            id: id.into(),
            operation: OnceLock::new(),
            caller: OnceLock::new(),
            share: OnceLock::new(),
            heavy: AtomicBool::new(false),
            warnings: Mutex::default(),
            connections: OnceLock::new(),
            reads: Mutex::default(),
        }
    }

    /// The request that this task serves, if any.
    pub fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }

    /// Runs `work` as part of the request.
    pub async fn during<T>(self: Arc<Self>, work: impl Future<Output = T>) -> T {
        CURRENT.scope(self, work).await
    }

    /// Sets the name of the operation; the first one wins.
    pub fn set_operation(&self, name: &str) {
        self.operation.get_or_init(|| name.to_owned());
    }

    pub fn operation(&self) -> Option<&str> {
        self.operation.get().map(String::as_str)
    }

    /// Sets the name of the caller.
    pub fn set_caller(&self, name: &str) {
        self.caller.get_or_init(|| name.to_owned());
    }

    pub fn caller(&self) -> Option<&str> {
        self.caller.get().map(String::as_str)
    }

    /// The token or address that the database time of the request is charged to.
    pub fn set_share(&self, share: impl Into<Arc<str>>) {
        self.share.get_or_init(|| share.into());
    }

    pub fn share(&self) -> Option<&Arc<str>> {
        self.share.get()
    }

    /// Sets whether the current operation is expensive.
    pub fn set_heavy(&self, heavy: bool) {
        self.heavy.store(heavy, Ordering::Relaxed);
    }

    pub fn is_heavy(&self) -> bool {
        self.heavy.load(Ordering::Relaxed)
    }

    /// Adds a warning to the response.
    pub fn warn(&self, warning: Warning) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).insert(warning);
    }

    /// The warnings since the last call.
    pub fn take_warnings(&self) -> BTreeSet<Warning> {
        std::mem::take(&mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn reads(&self) -> MutexGuard<'_, Reads> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the statements of a query read from a replica.
    pub fn allow_replicas(&self) {
        self.reads().source.get_or_insert(Source::AnyReplica);
    }

    fn require_primary(&self) -> bool {
        matches!(self.reads().source.replace(Source::Primary), Some(Source::Replica(_)))
    }

    fn require_reads_after(&self, at: Instant) {
        let mut reads = self.reads();
        reads.after = reads.after.max(Some(at));
    }

    /// The number of the replica for the next statement; None for the primary. `choose` gets the number of the
    /// last statement and the instant that the data must have. After the primary, no replica is chosen: a
    /// request reads no earlier state than before.
    pub fn replica(
        &self,
        choose: impl FnOnce(Option<usize>, Option<Instant>) -> Option<usize>,
    ) -> Option<usize> {
        let mut reads = self.reads();
        let chosen = match reads.source? {
            Source::Primary => None,
            Source::AnyReplica => choose(None, reads.after),
            Source::Replica(index) => choose(Some(index), reads.after),
        };
        reads.source = Some(chosen.map_or(Source::Primary, Source::Replica));
        chosen
    }

    /// The database connections that the request may hold at the same time.
    pub fn connections(&self, most: usize) -> &Arc<Semaphore> {
        self.connections.get_or_init(|| Arc::new(Semaphore::new(most)))
    }
}
