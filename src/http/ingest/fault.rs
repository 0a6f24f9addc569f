//! From what halts a stream to its answer.

use std::time::Duration;

use axum::http::StatusCode;

use super::unpack::UnpackError;
use crate::error::Error;
use crate::http::problem::Problem;
use crate::ingest::intake::Halt;

/// After which another server may be there.
const RETRY: Duration = Duration::from_secs(1);

impl From<axum::Error> for Halt {
    fn from(error: axum::Error) -> Self {
        match UnpackError::of(&error) {
            UnpackError::Unreadable => Self::Unreadable,
            UnpackError::TooDense => Self::TooDense,
        }
    }
}

pub(super) fn problem(halt: &Halt, request_id: &str) -> Problem {
    match halt {
        Halt::Unreadable => {
            let message = "the body ended too early, or is not gzip as its header says";
            Problem::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
        }
        Halt::TooDense => Problem::too_dense(),
        Halt::Stalled(timeout) => {
            let seconds = timeout.as_secs();
            let message = format!(
                "no row arrived within {seconds} s: end a stream that has no more rows and start \
                 another one later; the first `lines` lines are recorded, resend the rest"
            );
            Problem::new(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", message)
        }
        Halt::Stopping => {
            let message = "the server stops; what it tells to be recorded is, send the rest again";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, Error::Busy.code(), message)
                .retry_after(RETRY)
        }
        // Each row was checked before, so that this is the key, which stands for something else.
        Halt::Failed(error @ Error::BadInput { .. }) => {
            Problem::new(StatusCode::CONFLICT, error.code(), error.to_string())
        }
        Halt::Failed(error) => Problem::of(error, request_id),
    }
}
