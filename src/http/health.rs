//! Whether the server lives, and whether it can answer.

use axum::extract::State;
use axum::http::StatusCode;

use super::router::AppState;

/// The process runs.
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// The database answers; 503 while it does not.
pub(super) async fn ready(State(state): State<AppState>) -> (StatusCode, &'static str) {
    match state.services.db.ping().await {
        Ok(()) => (StatusCode::OK, "ready\n"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the database is out of reach\n"),
    }
}
