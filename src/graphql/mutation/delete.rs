//! `deleteErrorLogs`, `deleteErrorLogsWhere`, `pruneLogs`. What is deleted is entered in the audit log
//! first.

use async_graphql::{Context, ID, Object, SimpleObject};
use serde_json::json;

use crate::domain::access::AccessScope;
use crate::domain::duration;
use crate::graphql::error::{Failure, Result};
use crate::graphql::id::NodeId;
use crate::graphql::scalar::{BigInt, Duration};
use crate::graphql::scope::{Scope, scope};
use crate::graphql::types::error_filter::{ErrorLogFilter, error_scope};
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
}

#[Object]
impl DeleteMutation {
    /// Deletes the error logs with these ids for good; those that are gone already do not count. Needs
    /// the scope DELETE. The audit log tells who deleted which.
    async fn delete_error_logs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The ids, at most as many as the largest page.")] ids: Vec<ID>,
    ) -> Result<DeletePayload> {
        let scope = deleting(ctx)?;
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
    /// deleted until then is gone, and it can be sent again. Needs the scope DELETE. The audit log
    /// tells who deleted what.
    async fn delete_error_logs_where(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which error logs; `{}` for all of them.")] filter: ErrorLogFilter,
    ) -> Result<DeletePayload> {
        let scope = deleting(ctx)?;
        let errors = error_scope(scope, Some(filter)).await?;
        enter(scope, AuditAction::DeleteErrorLogs, filter_text(scope, &errors)).await?;
        let deleted = delete::error_logs_where(scope.db(), &errors).await?;
        Ok(DeletePayload { deleted_count: count(deleted) })
    }

    /// Deletes old calls and error logs for good, in small batches: where it ends with an error, what
    /// was deleted until then is gone, and it can be sent again. Rows whose time cannot be read stay.
    /// Needs the scope DELETE. The audit log tells who pruned what.
    async fn prune_logs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Calls from longer ago than this; none by default.")]
        calls_older_than: Option<Duration>,
        #[graphql(desc = "Error logs from longer ago than this; none by default.")]
        errors_older_than: Option<Duration>,
    ) -> Result<PrunePayload> {
        let scope = deleting(ctx)?;
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
        let mut payload = PrunePayload { deleted_calls: BigInt(0), deleted_error_logs: BigInt(0) };
        if let Some(before) = errors {
            payload.deleted_error_logs =
                count(delete::error_logs_before(scope.db(), before).await?);
        }
        if let Some(before) = calls {
            payload.deleted_calls = count(delete::calls_before(scope.db(), before).await?);
        }
        Ok(payload)
    }
}

/// The scope of a request that may delete.
fn deleting<'a>(ctx: &Context<'a>) -> Result<&'a Scope> {
    let scope = scope(ctx);
    scope.require(AccessScope::Delete)?;
    Ok(scope)
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

/// A filter as the audit log tells it: keys by their ids.
fn filter_text(scope: &Scope, errors: &ErrorScope) -> serde_json::Value {
    let id = |key: &String| scope.services.keys.id(key).to_string();
    let keys = errors.keys.as_ref().map(|keys| keys.iter().map(id).collect::<Vec<_>>());
    let mut filter = json!({
        "keys": keys, "models": errors.models, "errorTypes": errors.error_types,
        "errorCodes": errors.error_codes, "contains": errors.contains, "since": errors.since,
        "until": errors.until,
    });
    if let Some(fields) = filter.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    json!({ "filter": filter })
}
