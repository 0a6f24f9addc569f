//! The request that a task serves, for whatever is told below the HTTP layer: a slow statement names
//! the request that sent it without each function on the way passing it on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use opentelemetry::trace::FutureExt;
use tokio::sync::Semaphore;

tokio::task_local! {
    static CURRENT: Arc<RequestMarks>;
}

/// Makes `work` a part of the current request, whichever task runs it: its statements name the request
/// in the log and belong to its trace.
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

/// What is known of a request, bit by bit.
#[derive(Debug)]
pub struct RequestMarks {
    pub id: Arc<str>,
    operation: OnceLock<String>,
    caller: OnceLock<String>,
    share: OnceLock<Arc<str>>,
    heavy: AtomicBool,
    connections: OnceLock<Arc<Semaphore>>,
}

impl RequestMarks {
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self {
            id: id.into(),
            operation: OnceLock::new(),
            caller: OnceLock::new(),
            share: OnceLock::new(),
            heavy: AtomicBool::new(false),
            connections: OnceLock::new(),
        }
    }

    /// The request that this task serves, if any.
    pub fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }

    /// Serves the request in `work`.
    pub async fn during<T>(self: Arc<Self>, work: impl Future<Output = T>) -> T {
        CURRENT.scope(self, work).await
    }

    /// The name of its operation, the first that is told.
    pub fn set_operation(&self, name: &str) {
        self.operation.get_or_init(|| name.to_owned());
    }

    pub fn operation(&self) -> Option<&str> {
        self.operation.get().map(String::as_str)
    }

    /// The name of who sent it.
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

    /// Whether the operation that runs now reads many rows, by its cost.
    pub fn set_heavy(&self, heavy: bool) {
        self.heavy.store(heavy, Ordering::Relaxed);
    }

    pub fn is_heavy(&self) -> bool {
        self.heavy.load(Ordering::Relaxed)
    }

    /// The database connections that the request may hold at the same time.
    pub fn connections(&self, most: usize) -> &Arc<Semaphore> {
        self.connections.get_or_init(|| Arc::new(Semaphore::new(most)))
    }
}
