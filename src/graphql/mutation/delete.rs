//! `deleteErrorLogs`, `deleteErrorLogsWhere`, `pruneLogs`. Each writes its audit entry before it deletes. A
//! deletion belongs to its request: dropping the resolver's future stops it.

use async_graphql::{Context, ID, Object, SimpleObject};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::permission::mutation_scope;
use crate::domain::duration;
use crate::domain::failure::FailureClass;
use crate::domain::mask::redact_keys;
use crate::error::Error;
use crate::graphql::error::{Failure, Result};
use crate::graphql::id::NodeId;
use crate::graphql::scalar::{BigInt, Duration};
use crate::graphql::scope::Scope;
use crate::graphql::types::deletion::check_deletion_id;
use crate::graphql::types::error_filter::{ErrorLogFilter, error_scope};
use crate::prune::deletion::{Ended, Rows, TimeLimits};
use crate::prune::{self, Counts, Cutoffs, Pace, guard};
use crate::store::audit::AuditAction;
use crate::store::deletion_log::{DeletionStart, Outcome};
use crate::store::error_log::ErrorScope;

#[derive(Default)]
pub struct DeleteMutation;

/// The result of a deletion.
#[derive(SimpleObject)]
pub struct DeletePayload {
    /// The number of deleted error logs.
    deleted_count: BigInt,
}

/// The result of `pruneLogs`.
#[derive(SimpleObject)]
pub struct PrunePayload {
    /// The number of deleted calls.
    deleted_calls: BigInt,
    /// The number of deleted error logs.
    deleted_error_logs: BigInt,
    /// The number of bytes by which the database shrank; null if this step failed or timed out. Space that
    /// the database keeps for new rows is not included: see `serverInfo.storage.freeBytes`.
    freed_bytes: Option<BigInt>,
}

/// Shares of the request timeout: after the first no batch starts, after the second the running batch is
/// cancelled, and after the third the client receives the number of deleted rows.
const LAST_BATCH: f64 = 0.75;
const CANCEL: f64 = 0.9;
const ANSWER: f64 = 0.95;

#[Object]
impl DeleteMutation {
    /// Permanently deletes the error logs with these ids; missing ones do not count. Deletes in small
    /// batches and stops under the same conditions as `deleteErrorLogsWhere`. Requires the scope DELETE.
    /// The audit log records the caller, the ids, the number and the outcome.
    async fn delete_error_logs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The ids; at most `serverInfo.limits.maxPageSize`.")] ids: Vec<ID>,
        #[graphql(
            desc = "A client-chosen id of this deletion, for the query `deletion`: 1 to 64 letters, digits, `-` and `_`."
        )]
        deletion_id: Option<ID>,
    ) -> Result<DeletePayload> {
        let scope = mutation_scope(ctx)?;
        let most = scope.config().max_page_size as usize;
        if ids.len() > most {
            let message = format!("`ids` has {} ids, at most {most} are allowed", ids.len());
            return Err(Failure::bad_input("ids", message));
        }
        let id = |id: &ID| match NodeId::parse(id) {
            Some(NodeId::ErrorLog(id)) => Ok(id),
            _ => {
                let message = format!("`{}` is not the id of an error log", id.as_str());
                Err(Failure::bad_input("ids", message))
            }
        };
        let mut ids: Vec<i64> = ids.iter().map(id).collect::<Result<_>>()?;
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            return Ok(DeletePayload { deleted_count: BigInt(0) });
        }
        let subject = json!({ "ids": ids });
        let entry = Entry { action: AuditAction::DeleteErrorLogs, subject, id: deletion_id };
        let counts = delete(scope, entry, Rows::Ids(ids)).await?;
        Ok(DeletePayload { deleted_count: count(counts.error_logs) })
    }

    /// Permanently deletes all error logs that match a filter; an empty filter matches all of them. Error
    /// logs that arrive meanwhile are kept. It deletes in small batches: after an error the rows that were
    /// already deleted stay deleted, and the mutation can be sent again. The error reports their number in
    /// `extensions.deletedErrorLogs`; its code is `TIMEOUT` if the request timed out. If the client closes
    /// the connection, the deletion stops after the current batch; the query `deletion` returns its result.
    /// Requires the scope DELETE. The audit log records the filter, the number and the outcome.
    async fn delete_error_logs_where(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Selects the error logs; `{}` selects all.")] filter: ErrorLogFilter,
        #[graphql(
            desc = "A client-chosen id of this deletion, for the query `deletion`: 1 to 64 letters, digits, `-` and `_`."
        )]
        deletion_id: Option<ID>,
    ) -> Result<DeletePayload> {
        let scope = mutation_scope(ctx)?;
        let errors = error_scope(scope, Some(filter)).await?;
        let subject = filter_text(scope, &errors).await?;
        let entry = Entry { action: AuditAction::DeleteErrorLogs, subject, id: deletion_id };
        let counts = delete(scope, entry, Rows::Matching(errors.into())).await?;
        Ok(DeletePayload { deleted_count: count(counts.error_logs) })
    }

    /// Permanently deletes old calls and error logs, oldest first, in small batches: after an error the
    /// rows that were already deleted stay deleted, and the mutation can be sent again. The error reports
    /// their numbers in `extensions.deletedCalls` and `extensions.deletedErrorLogs`; its code is `TIMEOUT`
    /// if the request timed out (the command `callscope prune` has no timeout). If the client closes the
    /// connection, it stops as `deleteErrorLogsWhere` does. Rows without a readable time are kept. Fails
    /// with the code `DELETION_REFUSED` while the server's clock may be wrong. Requires the scope DELETE.
    /// The audit log records the ages, the numbers and the outcome.
    async fn prune_logs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Deletes calls older than this; none by default.")]
        calls_older_than: Option<Duration>,
        #[graphql(desc = "Deletes error logs older than this; none by default.")]
        errors_older_than: Option<Duration>,
        #[graphql(
            desc = "A client-chosen id of this deletion, for the query `deletion`: 1 to 64 letters, digits, `-` and `_`."
        )]
        deletion_id: Option<ID>,
    ) -> Result<PrunePayload> {
        let scope = mutation_scope(ctx)?;
        let before = |name, span: Option<Duration>| {
            let Some(Duration(span)) = span else { return Ok(None) };
            let before = scope.now.checked_sub_signed(span);
            before.map(Some).ok_or_else(|| Failure::bad_input(name, "the age is too large"))
        };
        let calls = before("callsOlderThan", calls_older_than)?;
        let errors = before("errorsOlderThan", errors_older_than)?;
        if calls.is_none() && errors.is_none() {
            let message = "give `callsOlderThan`, `errorsOlderThan` or both";
            return Err(Failure::bad_input("callsOlderThan", message));
        }
        if let Some(refusal) = guard::check_clock(scope.db(), &scope.services.clock_watch).await? {
            let message = format!("{refusal}: nothing was deleted; check the clock");
            return Err(Error::DeletionRefused(message).into());
        }
        let text = |span: Option<Duration>| span.map(|span| duration::format(span.0));
        let subject = json!({
            "callsOlderThan": text(calls_older_than), "errorsOlderThan": text(errors_older_than),
        });
        let entry = Entry { action: AuditAction::PruneLogs, subject, id: deletion_id };
        let cutoffs = Cutoffs { now: scope.now, calls, error_logs: errors };
        let counts = delete(scope, entry, Rows::Older(cutoffs)).await?;
        let stopped = || Instant::now() >= scope.after(LAST_BATCH);
        // The rows are deleted; space that is not freed now is freed by the next deletion.
        let release =
            Box::pin(prune::release_space(scope.db(), Pace::foreground(scope.db()), &stopped));
        let freed = match timeout_at(scope.after(CANCEL), release).await {
            Ok(Ok(freed)) => Some(count(freed)),
            Ok(Err(error)) => {
                tracing::warn!(%error, "free space was not returned to the file system");
                None
            }
            Err(_) => None,
        };
        Ok(PrunePayload {
            deleted_calls: count(counts.calls),
            deleted_error_logs: count(counts.error_logs),
            freed_bytes: freed,
        })
    }
}

/// The audit entry of a deletion.
struct Entry {
    action: AuditAction,
    subject: Value,
    id: Option<ID>,
}

/// Writes the audit entry of a deletion, runs it and returns the number of deleted rows. An error has
/// these numbers in its extensions.
async fn delete(scope: &Scope, entry: Entry, rows: Rows) -> Result<Counts> {
    // Rejected here to avoid an audit entry without a deletion.
    scope.db().check_writable()?;
    if let Some(id) = &entry.id {
        check_deletion_id("deletionId", id)?;
    }
    let start = DeletionStart {
        caller: scope.caller.name.clone(),
        address: scope.address.to_string(),
        at: scope.now,
        action: entry.action,
        subject: entry.subject.to_string(),
        id: entry.id.map(|id| id.0),
    };
    let limits = TimeLimits {
        last_batch: scope.after(LAST_BATCH),
        cancel: scope.after(CANCEL),
        answer: scope.after(ANSWER),
    };
    let deletion = scope.services.deletions.start(start, rows, limits);
    let Ended { outcome, counts, error, was_cancelled } = deletion.ended().await?;
    if outcome == Outcome::Completed {
        return Ok(counts);
    }
    let Counts { calls, error_logs } = counts;
    let error = error.unwrap_or_else(|| {
        // A cancelled batch may have been committed.
        let certainty = if was_cancelled { "at least " } else { "" };
        Error::Unfinished(format!(
            "request timed out: {certainty}{calls} calls and {error_logs} error logs were deleted; send \
             the mutation again for the rest, or use `callscope prune`"
        ))
    });
    let done = vec![("deletedCalls", calls), ("deletedErrorLogs", error_logs)];
    Err(Failure::from(error).with_progress(done))
}

fn count(rows: u64) -> BigInt {
    BigInt(i64::try_from(rows).unwrap_or(i64::MAX))
}

/// The filter for the audit log: keys as ids, texts with keys redacted.
async fn filter_text(scope: &Scope, errors: &ErrorScope) -> Result<Value> {
    let id = |key: &String| scope.services.keys.id(key).to_string();
    let ids = |keys: &Vec<String>| keys.iter().map(id).collect::<Vec<_>>();
    let has_texts = errors.models.is_some()
        || errors.error_types.is_some()
        || errors.contains.is_some()
        || errors.templates.is_some()
        || !errors.exclude_templates.is_empty()
        || !errors.exclude_models.is_empty()
        || !errors.exclude_error_types.is_empty();
    let stored = match has_texts {
        true => scope.services.keys.list(scope.db()).await?,
        false => vec![],
    };
    let text = |text: &String| redact_keys(text, &stored);
    let texts = |texts: &Vec<String>| texts.iter().map(text).collect::<Vec<_>>();
    let class_names =
        |of: &Vec<FailureClass>| of.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut filter = json!({
        "keys": errors.keys.as_ref().map(ids), "models": errors.models.as_ref().map(texts),
        "errorTypes": errors.error_types.as_ref().map(texts), "errorCodes": errors.error_codes,
        "failureClasses": errors.classes.as_ref().map(class_names),
        "messageTemplates": errors.templates.as_ref().map(texts), "contains": errors.contains.as_ref().map(text),
        "since": errors.since, "until": errors.until,
    });
    let excluded = json!({
        "excludeKeys": ids(&errors.exclude_keys), "excludeModels": texts(&errors.exclude_models),
        "excludeErrorTypes": texts(&errors.exclude_error_types),
        "excludeErrorCodes": errors.exclude_error_codes,
        "excludeFailureClasses": class_names(&errors.exclude_classes),
        "excludeMessageTemplates": texts(&errors.exclude_templates),
    });
    if let (Some(fields), Value::Object(excluded)) = (filter.as_object_mut(), excluded) {
        fields.retain(|_, value| !value.is_null());
        fields.extend(excluded.into_iter().filter(|(_, values)| *values != json!([])));
    }
    Ok(json!({ "filter": filter }))
}
