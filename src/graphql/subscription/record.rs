//! `Subscription.callRecorded`, `errorRecorded`.

use async_graphql::{Context, Subscription};
use futures_util::stream::{self, Stream};

use super::source::{Beginning, Due, Source};
use crate::domain::window::Window;
use crate::error::Error;
use crate::graphql::error::Result;
use crate::graphql::scope::{Scope, reading};
use crate::graphql::types::call::Call;
use crate::graphql::types::call_filter::{CallFilter, call_scope};
use crate::graphql::types::error_filter::{ErrorLogFilter, error_search};
use crate::graphql::types::error_log::ErrorLog;

#[derive(Default)]
pub struct RecordSubscription;

#[Subscription]
impl RecordSubscription {
    /// Each call as it is stored, once, in the order of ids: calls that are recorded here at once,
    /// those that another program writes into the table within a second. It begins with the calls
    /// that are stored from then on. A transaction that commits after a later one comes after it,
    /// however low its ids are. `errorLog` is what was stored by the time of the event. A client that
    /// reads too slowly gets an event with `data: null` and an error with the code `EVENTS_MISSED`,
    /// whose extension `missed` tells how many calls of all went by, and then the calls from there on.
    async fn call_recorded(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only calls of this key: a full key or an `ApiKey` id.")] key: Option<
            String,
        >,
        #[graphql(desc = "Which calls are meant; all by default.")] filter: Option<CallFilter>,
    ) -> Result<impl Stream<Item = Call> + use<>> {
        let due = due(ctx, async |scope| {
            // The filter has no window.
            let now = Window { since: scope.now, until: scope.now };
            let filter = call_scope(scope, now, key, filter).await?.row_filter(scope.db());
            let follower = scope.services.feeds.calls.follow().await?;
            Ok(Source::Calls(Box::new((follower, filter))))
        });
        Ok(stream::iter(match due.await? {
            Some(Due::Call(_, row)) => Some(Call(row)),
            _ => None,
        }))
    }

    /// Each error log as it is stored, as `callRecorded` tells calls. `since` and `until` of the filter
    /// are compared with the time of an error log; they neither begin nor end the subscription.
    async fn error_recorded(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which error logs are meant; all by default.")] filter: Option<
            ErrorLogFilter,
        >,
    ) -> Result<impl Stream<Item = ErrorLog> + use<>> {
        let due = due(ctx, async |scope| {
            let (errors, search) = error_search(scope, filter).await?;
            if let Some(search) = &search {
                scope.audit_search(search, None).await?;
            }
            let filter = errors.row_filter(scope.db());
            let follower = scope.services.feeds.errors.follow().await?;
            Ok(Source::Errors(Box::new((follower, filter, search))))
        });
        Ok(stream::iter(match due.await? {
            Some(Due::ErrorLog(_, row)) => Some(ErrorLog(row)),
            _ => None,
        }))
    }
}

/// What the event is about that is asked for; nothing where the subscription begins, for which its
/// source is found.
async fn due(
    ctx: &Context<'_>,
    begin: impl AsyncFnOnce(&Scope) -> Result<Source>,
) -> Result<Option<Due>> {
    let scope = reading(ctx)?;
    if let Some(beginning) = ctx.data_opt::<Beginning>() {
        beginning.put(begin(scope).await?);
        return Ok(None);
    }
    match ctx.data_opt::<Due>() {
        Some(Due::Missed(rows)) => Err(Error::EventsMissed(*rows).into()),
        due => Ok(due.cloned()),
    }
}
