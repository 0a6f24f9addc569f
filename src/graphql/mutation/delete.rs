//! `deleteErrorLogs`, `deleteErrorLogsWhere`, `pruneLogs`. What is deleted is entered in the audit log
//! first.

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
use crate::graphql::types::error_filter::{ErrorLogFilter, error_scope};
use crate::prune::{self, Counts, Cutoffs, Pace, Tally};
use crate::store::audit::{self, Actor, AuditAction};
use crate::store::delete;
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

/// Shares of a request's time: after the first no batch begins, and after the second the one at hand
/// is given up, so that there is time left to tell how much was deleted.
const LAST_BATCH: f64 = 0.75;
const GIVING_UP: f64 = 0.9;

#[Object]
impl DeleteMutation {
    /// Deletes the error logs with these ids for good; those that are gone already do not count. Needs
    /// the scope DELETE. The audit log tells who deleted which.
    async fn delete_error_logs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The ids, at most as many as the largest page.")] ids: Vec<ID>,
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
        enter(scope, AuditAction::DeleteErrorLogs, json!({ "ids": ids })).await?;
        Ok(DeletePayload { deleted_count: count(delete::error_logs(scope.db(), &ids).await?) })
    }

    /// Deletes all error logs that match a filter for good; an empty filter means all of them. Those
    /// that arrive meanwhile stay. It goes in small batches: where it ends with an error, what was
    /// deleted until then is gone, and it can be sent again. Where time runs out, an error with the
    /// code `TIMEOUT` tells the number in `extensions.deletedErrorLogs`. Needs the scope DELETE. The
    /// audit log tells who deleted what.
    async fn delete_error_logs_where(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which error logs; `{}` for all of them.")] filter: ErrorLogFilter,
    ) -> Result<DeletePayload> {
        let scope = writing(ctx)?;
        let errors = error_scope(scope, Some(filter)).await?;
        enter(scope, AuditAction::DeleteErrorLogs, filter_text(scope, &errors).await?).await?;
        let tally = Tally::default();
        let stopped = || Instant::now() >= scope.after(LAST_BATCH);
        let pace = Pace::brisk(scope.db());
        // In boxes, since each mutation that runs is as large as the largest there is.
        let work = Box::pin(prune::delete_error_logs(scope.db(), &errors, pace, &tally, &stopped));
        finish(scope, &tally, work).await?;
        Ok(DeletePayload { deleted_count: count(tally.counts().error_logs) })
    }

    /// Deletes old calls and error logs for good, the oldest first, in small batches: where it ends
    /// with an error, what was deleted until then is gone, and it can be sent again. Where time runs
    /// out, an error with the code `TIMEOUT` tells the numbers in `extensions.deletedCalls` and
    /// `extensions.deletedErrorLogs`; `callscope prune` has no such limit. Rows whose time cannot be
    /// read stay. Needs the scope DELETE. The audit log tells who pruned what.
    async fn prune_logs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Calls from longer ago than this; none by default.")]
        calls_older_than: Option<Duration>,
        #[graphql(desc = "Error logs from longer ago than this; none by default.")]
        errors_older_than: Option<Duration>,
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
        let text = |span: Option<Duration>| span.map(|span| duration::format(span.0));
        let subject = json!({
            "callsOlderThan": text(calls_older_than), "errorsOlderThan": text(errors_older_than),
        });
        enter(scope, AuditAction::PruneLogs, subject).await?;
        let cutoffs = Cutoffs { calls, error_logs: errors };
        let tally = Tally::default();
        let stopped = || Instant::now() >= scope.after(LAST_BATCH);
        let pace = Pace::brisk(scope.db());
        let work = Box::pin(prune::prune(scope.db(), cutoffs, pace, &tally, &stopped));
        finish(scope, &tally, work).await?;
        let counts = tally.counts();
        // What is not given back now is by the next one; the rows are deleted all the same.
        let give_back = Box::pin(prune::give_back(scope.db(), Pace::brisk(scope.db()), &stopped));
        let freed = match timeout_at(scope.after(GIVING_UP), give_back).await {
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

/// Waits for `work`, within the time that the request has; where it does not suffice the error tells
/// what was deleted.
async fn finish(
    scope: &Scope,
    tally: &Tally,
    work: impl Future<Output = crate::error::Result<bool>>,
) -> Result<()> {
    let (certainty, counts) = match timeout_at(scope.after(GIVING_UP), work).await {
        Ok(Ok(true)) => return Ok(()),
        Ok(Ok(false)) => ("", tally.counts()),
        Ok(Err(error)) => return Err(error.into()),
        // Nobody knows of the batch that was given up.
        Err(_) => ("at least ", tally.counts()),
    };
    let Counts { calls, error_logs } = counts;
    let message = format!(
        "there was not enough time: {certainty}{calls} calls and {error_logs} error logs were \
         deleted; send it again for the rest, or use `callscope prune`"
    );
    let done = vec![("deletedCalls", calls), ("deletedErrorLogs", error_logs)];
    Err(Error::Unfinished { message, done }.into())
}

async fn enter(scope: &Scope, action: AuditAction, subject: serde_json::Value) -> Result<()> {
    // Refused here rather than after an entry about nothing.
    scope.db().check_writable()?;
    let actor = Actor { caller: &scope.caller.name, address: scope.address, at: scope.now };
    Ok(audit::record(scope.db(), &actor, action, [subject.to_string()]).await?)
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
