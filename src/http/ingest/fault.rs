//! From what halts a stream to its answer.

use axum::http::StatusCode;

use crate::error::Error;
use crate::http::problem::Problem;
use crate::ingest::intake::Halt;

pub(super) fn problem(halt: &Halt, request_id: &str) -> Problem {
    match halt {
        Halt::Unreadable => {
            let message = "the body ended too early, or is not gzip as its header says";
            Problem::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
        }
        Halt::Stalled => {
            let message = "the rest of a line did not come in time";
            Problem::new(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", message)
        }
        // Each row was checked before, so that this is the key, which stands for something else.
        Halt::Failed(error @ Error::BadInput { .. }) => {
            Problem::new(StatusCode::CONFLICT, error.code(), error.to_string())
        }
        Halt::Failed(error) => Problem::of(error, request_id),
    }
}
