//! Waits for a condition instead of for a time.

use std::time::{Duration, Instant};

/// Below the limit of a test, so that the message says what was missing.
const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks: a test leaves the processor to the server that it waits for.
const PAUSE: Duration = Duration::from_millis(5);

/// Returns once `holds` returns true, and fails when it does not within a minute.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    found(what, async || holds().await.then_some(())).await;
}

/// Returns the first value that `find` finds, and fails when it finds none within a minute.
pub async fn found<T>(what: &str, mut find: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = find().await {
            return value;
        }
        assert!(began.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}
