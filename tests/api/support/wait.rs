//! Waits for a condition or a result instead of a fixed time.

use std::time::{Duration, Instant};

/// Shorter than the limit of a test, so that the message names the missing condition.
const LIMIT: Duration = Duration::from_secs(60);
/// Between two checks, the test leaves the processor to the server.
const PAUSE: Duration = Duration::from_millis(5);

/// The result of `future`, which fails the test if it is not there within a minute.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let limited = tokio::time::timeout(LIMIT, future);
    limited.await.unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"))
}

/// Returns once `holds` returns true, and fails if that takes more than a minute.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    found(what, async || holds().await.then_some(())).await;
}

/// Returns the first value that `find` returns, and fails after a minute without one.
pub async fn found<T>(what: &str, mut find: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = find().await {
            return value;
        }
        assert!(started.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}
