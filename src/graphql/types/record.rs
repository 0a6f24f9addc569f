//! Inputs and payloads of the recording mutations.

use async_graphql::{Context, InputObject, Json, Object};

use super::call::Call;
use super::error_log::ErrorLog;
use crate::graphql::error::Result;
use crate::graphql::loader::call::CallOf;
use crate::graphql::loader::error_log::ErrorLogOf;
use crate::graphql::scalar::DateTime;
use crate::graphql::scope::{count_list, read_scope};

/// Calls to record.
#[derive(InputObject)]
pub struct RecordCallsInput {
    /// The calls; at most `serverInfo.limits.maxRecordBatch`.
    pub calls: Vec<CallInput>,
    /// A client-chosen text of 1 to 255 characters, unique for each batch. Sending the same key again
    /// records nothing and returns the first response, also after a crash or on another server; with other
    /// calls it is an error. The default is derived from the HTTP header `Idempotency-Key`, separately for
    /// each field.
    pub idempotency_key: Option<String>,
}

/// A call to record.
#[derive(InputObject)]
pub struct CallInput {
    /// When the call was sent; now by default.
    pub timestamp: Option<DateTime>,
    /// The key of the call, up to 100 characters, or the `ApiKey` id of an existing key.
    pub key: Option<String>,
    /// The model that was called, up to 100 characters.
    pub model: Option<String>,
    /// The HTTP status of the provider's response; omit it without a response.
    pub status_code: Option<i32>,
    /// The duration of the call in milliseconds.
    pub latency_ms: Option<i32>,
    /// The error of a failed call, recorded as an error log that matches the call.
    pub error: Option<CallErrorInput>,
}

/// The error of a failed call. Time, key and model are taken from the call.
#[derive(InputObject)]
pub struct CallErrorInput {
    /// The component of the gateway that failed, up to 50 characters.
    pub error_type: Option<String>,
    /// The status code of the failure; the status code of the call by default.
    pub error_code: Option<i32>,
    /// The provider's error message.
    pub message: Option<String>,
    /// The request that failed.
    pub request: Option<Json<serde_json::Value>>,
}

/// Error logs to record.
#[derive(InputObject)]
pub struct RecordErrorsInput {
    /// The error logs; at most `serverInfo.limits.maxRecordBatch`.
    pub errors: Vec<ErrorLogInput>,
    /// A client-chosen text of 1 to 255 characters, unique for each batch. Sending the same key again
    /// records nothing and returns the first response, also after a crash or on another server; with other
    /// error logs it is an error. The default is derived from the HTTP header `Idempotency-Key`, separately
    /// for each field.
    pub idempotency_key: Option<String>,
}

/// An error log to record.
#[derive(InputObject)]
pub struct ErrorLogInput {
    /// When the failure occurred; now by default.
    pub timestamp: Option<DateTime>,
    /// The key of the failed call, up to 100 characters, or the `ApiKey` id of an existing key.
    pub key: Option<String>,
    /// The model that was called, up to 100 characters.
    pub model: Option<String>,
    /// The component of the gateway that failed, up to 50 characters.
    pub error_type: Option<String>,
    /// The status code of the failure.
    pub error_code: Option<i32>,
    /// The provider's error message.
    pub message: Option<String>,
    /// The request that failed.
    pub request: Option<Json<serde_json::Value>>,
}

/// The result of `recordCalls`.
pub struct RecordCallsPayload {
    pub ids: Vec<i64>,
    pub duplicate: bool,
}

/// The result of `recordCalls`.
#[Object]
impl RecordCallsPayload {
    /// The number of recorded calls; for a duplicate, that of the first request.
    async fn recorded(&self) -> i32 {
        i32::try_from(self.ids.len()).unwrap_or(i32::MAX)
    }

    /// Whether the idempotency key was used before: this request recorded nothing.
    async fn duplicate(&self) -> bool {
        self.duplicate
    }

    /// The stored calls in the order of the input; for a duplicate, those of the first request that still
    /// exist. Requires the scope READ.
    async fn calls(&self, ctx: &Context<'_>) -> Result<Vec<Call>> {
        let wanted = self.ids.iter().map(|id| CallOf(*id));
        let rows = read_scope(ctx)?.loader().load_many(wanted.clone()).await?;
        count_list(ctx, &self.ids, |_| 0)?;
        Ok(wanted.filter_map(|id| rows.get(&id).cloned().map(Call)).collect())
    }
}

/// The result of `recordErrors`.
pub struct RecordErrorsPayload {
    pub ids: Vec<i64>,
    pub duplicate: bool,
}

/// The result of `recordErrors`.
#[Object]
impl RecordErrorsPayload {
    /// The number of recorded error logs; for a duplicate, that of the first request.
    async fn recorded(&self) -> i32 {
        i32::try_from(self.ids.len()).unwrap_or(i32::MAX)
    }

    /// Whether the idempotency key was used before: this request recorded nothing.
    async fn duplicate(&self) -> bool {
        self.duplicate
    }

    /// The stored error logs in the order of the input; for a duplicate, those of the first request that
    /// still exist. Requires the scope READ.
    async fn error_logs(&self, ctx: &Context<'_>) -> Result<Vec<ErrorLog>> {
        let wanted = self.ids.iter().map(|id| ErrorLogOf(*id));
        let rows = read_scope(ctx)?.loader().load_many(wanted.clone()).await?;
        count_list(ctx, &self.ids, |_| 0)?;
        Ok(wanted.filter_map(|id| rows.get(&id).cloned().map(ErrorLog)).collect())
    }
}
