//! Whether the server lives, and whether it can answer.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;

use super::router::AppState;

/// How long the database may take to answer at all.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// The process runs.
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// The database answers; 503 while it does not.
pub(super) async fn ready(State(state): State<AppState>) -> (StatusCode, &'static str) {
    match tokio::time::timeout(PATIENCE, state.services.db.ping()).await {
        Ok(Ok(())) => (StatusCode::OK, "ready\n"),
        Ok(Err(_)) | Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the database is out of reach\n"),
    }
}
