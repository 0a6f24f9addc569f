//! `deleteErrorLogs`, `deleteErrorLogsWhere`, `pruneLogs`. What is deleted is entered in the audit log
//! first. A deletion belongs to its request: dropping the resolver's future stops it.

use async_graphql::{Context, ID, Object, SimpleObject};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::permission::writing;
use crate::domain::duration;
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

/// What a deletion removed.
#[derive(SimpleObject)]
pub struct DeletePayload {
    /// How many there were.
    deleted_count: BigInt,
}

/// What was pruned.
#[derive(SimpleObject)]
pub struct PrunePayload {
    /// How many calls.
    deleted_calls: BigInt,
    /// How many error logs.
    deleted_error_logs: BigInt,
    /// By how many bytes the database became smaller; null where that did not end in time, or failed.
    /// Room that it keeps for new rows does not count: `serverInfo.storage.freeBytes` tells of it.
    freed_bytes: Option<BigInt>,
}

/// Shares of a request's time: after the first no batch starts, after the second the batch in progress
/// is cancelled, and at the third the client is answered with what was deleted.
const LAST_BATCH: f64 = 0.75;
const CANCEL: f64 = 0.9;
const ANSWER: f64 = 0.95;

#[Object]
impl DeleteMutation {
    /// Deletes the error logs with these ids for good; those that are gone already do not count. Goes in
    /// small batches and stops as `deleteErrorLogsWhere` does. Needs the scope DELETE. The audit log has
    /// the caller, the ids, the number and the outcome.
    async fn delete_error_logs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The ids, at most as many as the largest page.")] ids: Vec<ID>,
        #[graphql(
            desc = "An id of your choice for this deletion, by which `deletion` finds it: 1 to 64 letters, digits, `-` and `_`."
        )]
        deletion_id: Option<ID>,
    ) -> Result<DeletePayload> {
        let scope = writing(ctx)?;
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

    /// Deletes all error logs that match a filter for good; an empty filter means all of them. Those
    /// that arrive meanwhile stay. It goes in small batches: where it ends with an error, what was
    /// deleted until then is gone, and it can be sent again. An error has the number in
    /// `extensions.deletedErrorLogs`; where time runs out its code is `TIMEOUT`. A client that closes
    /// the connection stops the deletion after the batch in progress, and `deletion` returns what was
    /// deleted until then. Needs the scope DELETE. The audit log has the filter, the number and the
    /// outcome.
    async fn delete_error_logs_where(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which error logs; `{}` for all of them.")] filter: ErrorLogFilter,
        #[graphql(
            desc = "An id of your choice for this deletion, by which `deletion` finds it: 1 to 64 letters, digits, `-` and `_`."
        )]
        deletion_id: Option<ID>,
    ) -> Result<DeletePayload> {
        let scope = writing(ctx)?;
        let errors = error_scope(scope, Some(filter)).await?;
        let subject = filter_text(scope, &errors).await?;
        let entry = Entry { action: AuditAction::DeleteErrorLogs, subject, id: deletion_id };
        let counts = delete(scope, entry, Rows::Matching(errors)).await?;
        Ok(DeletePayload { deleted_count: count(counts.error_logs) })
    }

    /// Deletes old calls and error logs for good, the oldest first, in small batches: where it ends
    /// with an error, what was deleted until then is gone, and it can be sent again. An error has the
    /// numbers in `extensions.deletedCalls` and `extensions.deletedErrorLogs`; where time runs out its
    /// code is `TIMEOUT`, and `callscope prune` has no such limit. A client that closes the connection
    /// stops it, as `deleteErrorLogsWhere`. Rows without a readable time stay.
    /// Refused with the code `DELETION_REFUSED` while the server's clock may be wrong. Needs the scope DELETE.
    /// The audit log has the ages, the numbers and the outcome.
    async fn prune_logs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Calls from longer ago than this; none by default.")]
        calls_older_than: Option<Duration>,
        #[graphql(desc = "Error logs from longer ago than this; none by default.")]
        errors_older_than: Option<Duration>,
        #[graphql(
            desc = "An id of your choice for this deletion, by which `deletion` finds it: 1 to 64 letters, digits, `-` and `_`."
        )]
        deletion_id: Option<ID>,
    ) -> Result<PrunePayload> {
        let scope = writing(ctx)?;
        let before = |name, span: Option<Duration>| {
            let Some(Duration(span)) = span else { return Ok(None) };
            let before = scope.now.checked_sub_signed(span);
            before.map(Some).ok_or_else(|| Failure::bad_input(name, "that is too long ago"))
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
        let cutoffs = Cutoffs { calls, error_logs: errors };
        let counts = delete(scope, entry, Rows::Older(cutoffs)).await?;
        let stopped = || Instant::now() >= scope.after(LAST_BATCH);
        // What is not given back now is by the next one; the rows are deleted all the same.
        let release =
            Box::pin(prune::release_space(scope.db(), Pace::foreground(scope.db()), &stopped));
        let freed = match timeout_at(scope.after(CANCEL), release).await {
            Ok(Ok(freed)) => Some(count(freed)),
            Ok(Err(error)) => {
                tracing::warn!(%error, "room could not be given back");
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
    subject: serde_json::Value,
    id: Option<ID>,
}

/// Enters a deletion in the audit log, runs it and returns what it deleted. An error has what was
/// deleted before it in its extensions.
async fn delete(scope: &Scope, entry: Entry, rows: Rows) -> Result<Counts> {
    // Refused here rather than after an entry about nothing.
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
        // A batch that was cancelled may have been committed all the same.
        let certainty = if was_cancelled { "at least " } else { "" };
        Error::Unfinished(format!(
            "there was not enough time: {certainty}{calls} calls and {error_logs} error logs were \
             deleted; send it again for the rest, or use `callscope prune`"
        ))
    });
    let done = vec![("deletedCalls", calls), ("deletedErrorLogs", error_logs)];
    Err(Failure::from(error).after(done))
}

fn count(rows: u64) -> BigInt {
    BigInt(i64::try_from(rows).unwrap_or(i64::MAX))
}

/// A filter as the audit log stores it: keys by their ids, texts without keys.
async fn filter_text(scope: &Scope, errors: &ErrorScope) -> Result<serde_json::Value> {
    let id = |key: &String| scope.services.keys.id(key).to_string();
    let keys = errors.keys.as_ref().map(|keys| keys.iter().map(id).collect::<Vec<_>>());
    let has_texts =
        errors.models.is_some() || errors.error_types.is_some() || errors.contains.is_some();
    let stored = match has_texts {
        true => scope.services.keys.list(scope.db()).await?,
        false => vec![],
    };
    let text = |text: &String| redact_keys(text, &stored);
    let texts = |texts: &Option<Vec<String>>| {
        texts.as_ref().map(|texts| texts.iter().map(text).collect::<Vec<_>>())
    };
    let mut filter = json!({
        "keys": keys, "models": texts(&errors.models), "errorTypes": texts(&errors.error_types),
        "errorCodes": errors.error_codes, "contains": errors.contains.as_ref().map(text),
        "since": errors.since, "until": errors.until,
    });
    if let Some(fields) = filter.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    Ok(json!({ "filter": filter }))
}
