//! `recordCalls`, `recordErrors`.

use async_graphql::{Context, Object};

use super::permission::mutation_scope;
use crate::domain::record::{CallRecord, ErrorRecord, Record, request_text};
use crate::graphql::error::{Failure, Result};
use crate::graphql::request_key::RequestKey;
use crate::graphql::scope::Scope;
use crate::graphql::types::record::{
    CallErrorInput, CallInput, ErrorLogInput, RecordCallsInput, RecordCallsPayload,
    RecordErrorsInput, RecordErrorsPayload,
};
use crate::ingest::chunk::Chunk;
use crate::ingest::claim::{check_key, claim};
use crate::ingest::recorder::Receipt;
use crate::ingest::row::{CallError, Row};

#[derive(Default)]
pub struct RecordMutation;

#[Object]
impl RecordMutation {
    /// Records calls, all of them or none. Requires the scope RECORD. The response is sent after the commit.
    /// The error of an invalid input names its index and field.
    async fn record_calls(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The calls, and an idempotency key.")] input: RecordCallsInput,
    ) -> Result<RecordCallsPayload> {
        let scope = record_scope(ctx, input.calls.len())?;
        let key = idempotency_key(ctx, input.idempotency_key)?;
        let mut chunk = Chunk::new(key.is_some());
        for (index, call) in input.calls.into_iter().enumerate() {
            let added = chunk.add_unchecked(call_row(scope, call).await?);
            added.map_err(|reason| {
                Failure::bad_input("input", format!("calls[{index}]: {reason}"))
            })?;
        }
        let receipt = record(scope, "recordCalls", chunk, key).await?;
        Ok(RecordCallsPayload { ids: receipt.recorded.call_ids, duplicate: receipt.duplicate })
    }

    /// Records error logs, all of them or none, for failed calls that are recorded separately. Requires the
    /// scope RECORD. The response is sent after the commit. The error of an invalid input names its index
    /// and field.
    async fn record_errors(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The error logs, and an idempotency key.")] input: RecordErrorsInput,
    ) -> Result<RecordErrorsPayload> {
        let scope = record_scope(ctx, input.errors.len())?;
        let key = idempotency_key(ctx, input.idempotency_key)?;
        let mut chunk = Chunk::new(key.is_some());
        for error in input.errors {
            let added = chunk.add_unchecked(error_row(scope, error).await?);
            added.map_err(|reason| Failure::bad_input("input", reason))?;
        }
        let receipt = record(scope, "recordErrors", chunk, key).await?;
        Ok(RecordErrorsPayload { ids: receipt.recorded.error_ids, duplicate: receipt.duplicate })
    }
}

/// The scope of a request that may record. Rejects more rows than the batch limit.
fn record_scope<'a>(ctx: &Context<'a>, rows: usize) -> Result<&'a Scope> {
    let scope = mutation_scope(ctx)?;
    let most = scope.config().max_record_batch as usize;
    if rows > most {
        let message = format!("one mutation records at most {most} rows, not {rows}");
        return Err(Failure::bad_input("input", message));
    }
    Ok(scope)
}

async fn call_row(scope: &Scope, call: CallInput) -> Result<Row> {
    let record = CallRecord {
        timestamp: call.timestamp.map_or(scope.now, |at| at.0),
        key: key(scope, call.key).await?,
        model: call.model,
        status_code: call.status_code,
        latency_ms: call.latency_ms,
    };
    let timed = call.timestamp.is_some();
    Ok(Row { error: call.error.map(Into::into), timed, ..Record::Call(record).into() })
}

impl From<CallErrorInput> for CallError {
    fn from(input: CallErrorInput) -> Self {
        let CallErrorInput { error_type, error_code, message, request } = input;
        let request = request.and_then(|json| request_text(&json.0));
        Self { error_type, error_code, message, request }
    }
}

async fn error_row(scope: &Scope, error: ErrorLogInput) -> Result<Row> {
    let record = ErrorRecord {
        timestamp: error.timestamp.map_or(scope.now, |at| at.0),
        key: key(scope, error.key).await?,
        model: error.model,
        error_type: error.error_type,
        error_code: error.error_code,
        message: error.message,
        request: error.request.and_then(|json| request_text(&json.0)),
    };
    Ok(Row { timed: error.timestamp.is_some(), ..Record::Error(record).into() })
}

async fn key(scope: &Scope, text: Option<String>) -> Result<Option<String>> {
    Ok(match text {
        Some(text) => Some(scope.resolve_key(&text).await?.to_string()),
        None => None,
    })
}

async fn record(scope: &Scope, what: &str, chunk: Chunk, key: Option<String>) -> Result<Receipt> {
    let Chunk { mut batch, content, .. } = chunk;
    batch.claim = key.zip(content).map(|(key, content)| claim(&scope.caller, what, &key, content));
    Ok(scope.services.recorder.record(batch).await?)
}

/// The idempotency key of the field, or else of the request.
fn idempotency_key(ctx: &Context<'_>, key: Option<String>) -> Result<Option<String>> {
    if let Some(key) = &key {
        check_key(key)?;
    }
    let of_request = || {
        let field = ctx.field();
        let name = field.alias().unwrap_or_else(|| field.name());
        ctx.data_opt::<RequestKey>().map(|key| key.of_field(name))
    };
    Ok(key.or_else(of_request))
}
