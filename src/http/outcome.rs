//! The outcome of a GraphQL request, for the log and the metrics.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use async_graphql::{Response, Value};

/// The outcome of a GraphQL request. A response extension.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// The name of the operation, if it has one.
    pub operation: Option<String>,
    /// `query`, `mutation`, `subscription` or `batch`; empty if no operation ran.
    pub kind: &'static str,
    /// The distinct codes of its errors.
    pub codes: Vec<String>,
    /// The estimated cost, if it was computed.
    pub cost: Option<u64>,
}

impl Outcome {
    /// Adds the error codes of `response`.
    pub fn add_codes(&mut self, response: &Response) {
        for error in &response.errors {
            let code = error.extensions.as_ref().and_then(|extensions| extensions.get("code"));
            if let Some(Value::String(code)) = code {
                self.add_code(code);
            }
        }
    }

    pub fn add_code(&mut self, code: &str) {
        if !self.codes.iter().any(|known| known == code) {
            self.codes.push(code.to_owned());
        }
    }
}

/// The status of a running operation, read by its log line when it ends.
#[derive(Default)]
pub(crate) struct OperationStatus {
    outcome: Mutex<Outcome>,
    completed: AtomicBool,
}

impl OperationStatus {
    pub fn outcome(&self) -> Outcome {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_outcome(&self, outcome: Outcome) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = outcome;
    }

    pub fn add_codes(&self, response: &Response) {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).add_codes(response);
    }

    pub fn add_code(&self, code: &str) {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).add_code(code);
    }

    /// The server or the client has ended the operation.
    pub fn complete(&self) {
        self.completed.store(true, Ordering::Relaxed);
    }

    /// False if the client disconnected before the end.
    pub fn is_completed(&self) -> bool {
        self.completed.load(Ordering::Relaxed)
    }
}
