//! What is recorded, and what comes back.

use async_graphql::{Context, InputObject, Json, Object};

use super::call::Call;
use super::error_log::ErrorLog;
use crate::graphql::error::Result;
use crate::graphql::loader::call::CallOf;
use crate::graphql::loader::error_log::ErrorLogOf;
use crate::graphql::scalar::DateTime;
use crate::graphql::scope::{count_list, reading};

/// Calls to record.
#[derive(InputObject)]
pub struct RecordCallsInput {
    /// The calls, at most as many as `serverInfo.limits.maxRecordBatch`.
    pub calls: Vec<CallInput>,
    /// A text of your choice, 1 to 255 characters, that is new for each batch. Sent again, it records
    /// nothing and answers as the first time, also after a crash or from another server; with other
    /// calls it is an error. By default that of the HTTP header `Idempotency-Key`, for each field of
    /// its own.
    pub idempotency_key: Option<String>,
}

/// One call that was made.
#[derive(InputObject)]
pub struct CallInput {
    /// When it was sent; now by default.
    pub timestamp: Option<DateTime>,
    /// The key that it was made with, up to 100 characters, or the `ApiKey` id of one that is known.
    pub key: Option<String>,
    /// The model that was called, up to 100 characters.
    pub model: Option<String>,
    /// The HTTP status of the provider's answer; none where no answer came.
    pub status_code: Option<i32>,
    /// How long it took, in milliseconds.
    pub latency_ms: Option<i32>,
    /// What the provider said about a call that failed; recorded with it, so that the two match.
    pub error: Option<CallErrorInput>,
}

/// What the provider said about a failed call. Time, key and model are those of the call.
#[derive(InputObject)]
pub struct CallErrorInput {
    /// The part of the gateway that failed, up to 50 characters.
    pub error_type: Option<String>,
    /// The status code of the failure; by default that of the call.
    pub error_code: Option<i32>,
    /// The provider's own words.
    pub message: Option<String>,
    /// The request that failed.
    pub request: Option<Json<serde_json::Value>>,
}

/// Error logs to record.
#[derive(InputObject)]
pub struct RecordErrorsInput {
    /// The error logs, at most as many as `serverInfo.limits.maxRecordBatch`.
    pub errors: Vec<ErrorLogInput>,
    /// A text of your choice, 1 to 255 characters, that is new for each batch. Sent again, it records
    /// nothing and answers as the first time, also after a crash or from another server; with other
    /// error logs it is an error. By default that of the HTTP header `Idempotency-Key`, for each field of
    /// its own.
    pub idempotency_key: Option<String>,
}

/// One failure.
#[derive(InputObject)]
pub struct ErrorLogInput {
    /// When it was seen; now by default.
    pub timestamp: Option<DateTime>,
    /// The key of the failed call, up to 100 characters, or the `ApiKey` id of one that is known.
    pub key: Option<String>,
    /// The model that was called, up to 100 characters.
    pub model: Option<String>,
    /// The part of the gateway that failed, up to 50 characters.
    pub error_type: Option<String>,
    /// The status code of the failure.
    pub error_code: Option<i32>,
    /// The provider's own words.
    pub message: Option<String>,
    /// The request that failed.
    pub request: Option<Json<serde_json::Value>>,
}

/// What became of calls to record.
pub struct RecordCallsPayload {
    pub ids: Vec<i64>,
    pub duplicate: bool,
}

/// What became of calls to record.
#[Object]
impl RecordCallsPayload {
    /// How many calls were recorded; of a duplicate, the first time.
    async fn recorded(&self) -> i32 {
        i32::try_from(self.ids.len()).unwrap_or(i32::MAX)
    }

    /// Whether the idempotency key was used before, so that nothing was recorded now.
    async fn duplicate(&self) -> bool {
        self.duplicate
    }

    /// The calls as they are stored, in the order of the input; of a duplicate those of the first
    /// time that were not deleted since. Needs the scope READ.
    async fn calls(&self, ctx: &Context<'_>) -> Result<Vec<Call>> {
        let wanted = self.ids.iter().map(|id| CallOf(*id));
        let rows = reading(ctx)?.loader().load_many(wanted.clone()).await?;
        count_list(ctx, &self.ids, |_| 0)?;
        Ok(wanted.filter_map(|id| rows.get(&id).cloned().map(Call)).collect())
    }
}

/// What became of error logs to record.
pub struct RecordErrorsPayload {
    pub ids: Vec<i64>,
    pub duplicate: bool,
}

/// What became of error logs to record.
#[Object]
impl RecordErrorsPayload {
    /// How many error logs were recorded; of a duplicate, the first time.
    async fn recorded(&self) -> i32 {
        i32::try_from(self.ids.len()).unwrap_or(i32::MAX)
    }

    /// Whether the idempotency key was used before, so that nothing was recorded now.
    async fn duplicate(&self) -> bool {
        self.duplicate
    }

    /// The error logs as they are stored, in the order of the input; of a duplicate those of the
    /// first time that were not deleted since. Needs the scope READ.
    async fn error_logs(&self, ctx: &Context<'_>) -> Result<Vec<ErrorLog>> {
        let wanted = self.ids.iter().map(|id| ErrorLogOf(*id));
        let rows = reading(ctx)?.loader().load_many(wanted.clone()).await?;
        count_list(ctx, &self.ids, |_| 0)?;
        Ok(wanted.filter_map(|id| rows.get(&id).cloned().map(ErrorLog)).collect())
    }
}
