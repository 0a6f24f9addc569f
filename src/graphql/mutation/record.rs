//! `recordCalls`, `recordErrors`.

use async_graphql::{Context, Object};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::domain::access::AccessScope;
use crate::domain::record::{CallRecord, ErrorRecord};
use crate::graphql::error::{Failure, Result};
use crate::graphql::scope::{Scope, scope};
use crate::graphql::types::record::{
    CallErrorInput, CallInput, ErrorLogInput, RecordCallsInput, RecordCallsPayload,
    RecordErrorsInput, RecordErrorsPayload,
};
use crate::ingest::recorder::Receipt;
use crate::store::idempotency::Claim;
use crate::store::write::Batch;

/// The longest idempotency key, in characters.
const MAX_KEY: usize = 255;

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
        for (index, call) in input.calls.into_iter().enumerate() {
            add_call(scope, &mut batch, index, call).await?;
        }
        let receipt = record(scope, "recordCalls", batch, input.idempotency_key).await?;
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
        for error in input.errors {
            batch.errors.push(error_record(scope, error).await?);
        }
        let receipt = record(scope, "recordErrors", batch, input.idempotency_key).await?;
        Ok(RecordErrorsPayload { ids: receipt.recorded.error_ids, duplicate: receipt.duplicate })
    }
}

/// The scope of a request that may record, and not more at once than the server takes.
fn recording<'a>(ctx: &Context<'a>, rows: usize) -> Result<&'a Scope> {
    let scope = scope(ctx);
    scope.require(AccessScope::Record)?;
    let most = scope.config().max_record_batch as usize;
    if rows > most {
        let message = format!("one mutation records at most {most} rows, not {rows}");
        return Err(Failure::bad_input("input", message));
    }
    Ok(scope)
}

async fn add_call(scope: &Scope, batch: &mut Batch, index: usize, call: CallInput) -> Result<()> {
    let record = CallRecord {
        timestamp: call.timestamp.map_or(scope.now, |at| at.0),
        key: key(scope, call.key).await?,
        model: call.model,
        status_code: call.status_code,
        latency_ms: call.latency_ms,
    };
    if let Some(CallErrorInput { error_type, error_code, message, request }) = call.error {
        if record.is_success() {
            let message = format!("calls[{index}]: a call that succeeded has no `error`");
            return Err(Failure::bad_input("input", message));
        }
        // The very time, key and code of the call, so that nothing else matches it better.
        batch.errors.push(ErrorRecord {
            timestamp: record.timestamp,
            key: record.key.clone(),
            model: record.model.clone(),
            error_type,
            error_code: error_code.or(record.status_code),
            message,
            request: request.map(|json| json.0),
        });
    }
    batch.calls.push(record);
    Ok(())
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
    idempotency_key: Option<String>,
) -> Result<Receipt> {
    if let Some(key) = idempotency_key {
        batch.claim = Some(claim(scope, what, &batch, &key)?);
    }
    Ok(scope.services.recorder.record(batch).await?)
}

/// A key belongs to its caller, and stands for what is recorded under it. A time that the caller
/// left out is the server's, which differs from try to try, and so does not count.
fn claim(scope: &Scope, what: &str, batch: &Batch, key: &str) -> Result<Claim> {
    if key.is_empty() || key.chars().count() > MAX_KEY {
        let message = format!("an idempotency key has 1 to {MAX_KEY} characters");
        return Err(Failure::bad_input("idempotencyKey", message));
    }
    let digest = |text: String| URL_SAFE_NO_PAD.encode(Sha256::digest(text.as_bytes()));
    let now = scope.now;
    let mut content = batch.clone();
    let calls = content.calls.iter_mut().map(|call| &mut call.timestamp);
    let errors = content.errors.iter_mut().map(|error| &mut error.timestamp);
    calls.chain(errors).filter(|at| **at == now).for_each(|at| *at = Default::default());
    Ok(Claim {
        digest: digest(format!("{}\n{what}\n{key}", scope.caller.name)),
        content: digest(format!("{:?}\n{:?}", content.calls, content.errors)),
    })
}
