//! `recordCalls`, `recordErrors`.

use async_graphql::{Context, Object};

use super::permission::writing;
use crate::domain::record::{CallRecord, ErrorRecord};
use crate::graphql::error::{Failure, Result};
use crate::graphql::request_key::RequestKey;
use crate::graphql::scope::Scope;
use crate::graphql::types::record::{
    CallErrorInput, CallInput, ErrorLogInput, RecordCallsInput, RecordCallsPayload,
    RecordErrorsInput, RecordErrorsPayload,
};
use crate::ingest::call_error::CallError;
use crate::ingest::claim::{Content, check_key, claim};
use crate::ingest::recorder::Receipt;
use crate::store::write::Batch;

#[derive(Default)]
pub struct RecordMutation;

#[Object]
impl RecordMutation {
    /// Records calls, all of them or none. Needs the scope RECORD. The answer comes when they are
    /// stored for good. An input that cannot be stored is told with its index and field.
    async fn record_calls(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The calls, and the key under which they are recorded once.")]
        input: RecordCallsInput,
    ) -> Result<RecordCallsPayload> {
        let scope = recording(ctx, input.calls.len())?;
        let mut batch = Batch::default();
        let mut key = keyed(ctx, input.idempotency_key)?;
        for call in input.calls.into_iter().enumerate() {
            let content = key.as_mut().map(|(_, content)| content);
            add_call(scope, &mut batch, content, call).await?;
        }
        let receipt = record(scope, "recordCalls", batch, key).await?;
        Ok(RecordCallsPayload { ids: receipt.recorded.call_ids, duplicate: receipt.duplicate })
    }

    /// Records error logs, all of them or none, for failures whose calls are recorded elsewhere. Needs
    /// the scope RECORD. The answer comes when they are stored for good. An input that cannot be
    /// stored is told with its index and field.
    async fn record_errors(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The error logs, and the key under which they are recorded once.")]
        input: RecordErrorsInput,
    ) -> Result<RecordErrorsPayload> {
        let scope = recording(ctx, input.errors.len())?;
        let mut batch = Batch::default();
        let mut key = keyed(ctx, input.idempotency_key)?;
        for error in input.errors {
            let timed = error.timestamp.is_some();
            let error = error_record(scope, error).await?;
            if let Some((_, content)) = &mut key {
                content.add_error(&error, timed);
            }
            batch.errors.push(error);
        }
        let receipt = record(scope, "recordErrors", batch, key).await?;
        Ok(RecordErrorsPayload { ids: receipt.recorded.error_ids, duplicate: receipt.duplicate })
    }
}

/// The scope of a request that may record, and not more at once than the server takes.
fn recording<'a>(ctx: &Context<'a>, rows: usize) -> Result<&'a Scope> {
    let scope = writing(ctx)?;
    let most = scope.config().max_record_batch as usize;
    if rows > most {
        let message = format!("one mutation records at most {most} rows, not {rows}");
        return Err(Failure::bad_input("input", message));
    }
    Ok(scope)
}

async fn add_call(
    scope: &Scope,
    batch: &mut Batch,
    content: Option<&mut Content>,
    (index, call): (usize, CallInput),
) -> Result<()> {
    let timed = call.timestamp.is_some();
    let record = CallRecord {
        timestamp: call.timestamp.map_or(scope.now, |at| at.0),
        key: key(scope, call.key).await?,
        model: call.model,
        status_code: call.status_code,
        latency_ms: call.latency_ms,
    };
    let error = call.error.map(|error| CallError::from(error).into_error_log(&record)).transpose();
    let error =
        error.map_err(|reason| Failure::bad_input("input", format!("calls[{index}]: {reason}")))?;
    if let Some(content) = content {
        content.add_call(&record, timed);
        error.iter().for_each(|error| content.add_error(error, timed));
    }
    batch.errors.extend(error);
    batch.calls.push(record);
    Ok(())
}

impl From<CallErrorInput> for CallError {
    fn from(input: CallErrorInput) -> Self {
        let CallErrorInput { error_type, error_code, message, request } = input;
        Self { error_type, error_code, message, request: request.map(|json| json.0) }
    }
}

async fn error_record(scope: &Scope, error: ErrorLogInput) -> Result<ErrorRecord> {
    Ok(ErrorRecord {
        timestamp: error.timestamp.map_or(scope.now, |at| at.0),
        key: key(scope, error.key).await?,
        model: error.model,
        error_type: error.error_type,
        error_code: error.error_code,
        message: error.message,
        request: error.request.map(|json| json.0),
    })
}

async fn key(scope: &Scope, text: Option<String>) -> Result<Option<String>> {
    Ok(match text {
        Some(text) => Some(scope.resolve_key(&text).await?.to_string()),
        None => None,
    })
}

async fn record(
    scope: &Scope,
    what: &str,
    mut batch: Batch,
    key: Option<(String, Content)>,
) -> Result<Receipt> {
    if let Some((key, content)) = key {
        batch.claim = Some(claim(&scope.caller, what, &key, content));
    }
    Ok(scope.services.recorder.record(batch).await?)
}

/// The key of the field or of the request, and what it will stand for.
fn keyed(ctx: &Context<'_>, key: Option<String>) -> Result<Option<(String, Content)>> {
    if let Some(key) = &key {
        check_key(key)?;
    }
    let of_request = || {
        let field = ctx.field();
        let name = field.alias().unwrap_or_else(|| field.name());
        ctx.data_opt::<RequestKey>().map(|key| key.of_field(name))
    };
    Ok(key.or_else(of_request).map(|key| (key, Content::default())))
}
