//! Whether the server lives, and whether it can answer.

use axum::extract::State;
use axum::http::StatusCode;

use super::router::AppState;
use crate::ingest::recorder::RECORDER;

/// The process runs.
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// The database answers and calls can be recorded; 503 while they are not. A background job that does
/// not work is named, which changes the status only where it is the recorder.
pub(super) async fn ready(State(state): State<AppState>) -> (StatusCode, String) {
    match state.services.db.ping().await {
        Ok(()) => jobs(&state),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the database is out of reach\n".to_owned()),
    }
}

fn jobs(state: &AppState) -> (StatusCode, String) {
    let troubled = state.services.observer.metrics.jobs.troubled();
    let records = !state.services.db.is_read_only();
    let is_down = records && troubled.iter().any(|job| job.name == RECORDER);
    let (status, mut text) = match is_down {
        true => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned()),
        false => (StatusCode::OK, "ready\n".to_owned()),
    };
    for job in troubled {
        text.push_str(&format!("degraded: {} {}\n", job.name, job.trouble));
    }
    (status, text)
}
