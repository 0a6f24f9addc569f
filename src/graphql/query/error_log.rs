//! `errorLookup`, `errorLogs`, `errorGroups`, `errorSeries`.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::{Context, Object};
use chrono::{TimeDelta, Utc};

use super::call::{distinct, reads_rows};
use crate::domain::failure::classify;
use crate::domain::matching::Probe;
use crate::graphql::args::{PageArgs, Period, TimeRange, WindowArgs, page_size};
use crate::graphql::connection::Connection;
use crate::graphql::error::{Failure, Result};
use crate::graphql::loader::MemorySize;
use crate::graphql::loader::error_log::ErrorLogOf;
use crate::graphql::scalar::{BigInt, DateTime, Duration, TimeZone};
use crate::graphql::scope::{Scope, count_list, read_scope};
use crate::graphql::types::error_filter::{ErrorLogFilter, error_scope};
use crate::graphql::types::error_log::{
    ErrorBucket, ErrorDimension, ErrorGroup, ErrorLog, ErrorLogOrder,
};
use crate::graphql::types::failure;
use crate::store::error_group::{self, ErrorGroupsQuery, ErrorSeriesQuery};
use crate::store::error_list::{self, ErrorListQuery};
use crate::store::error_log::{ErrorScope, SHORT_BYTES};

#[derive(Default)]
pub struct ErrorLogQuery;

#[Object]
impl ErrorLogQuery {
    /// Finds the error log of a call. Candidates are the error logs of exactly this key within
    /// `windowSeconds` of `timestamp` (both ends inclusive). If some of them have `statusCode`, only these
    /// are used. Returns the nearest in time; of two equally near, the later one; of two with the same
    /// time, the one with the higher id. Null without a candidate.
    async fn error_lookup(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The key of the call: a full key or an `ApiKey` id.")] key: String,
        #[graphql(desc = "When the call was sent.")] timestamp: DateTime,
        #[graphql(desc = "The status code of the call; error logs with this code are preferred.")]
        status_code: Option<i32>,
        #[graphql(
            desc = "The largest distance from `timestamp`, 1 to 300 seconds.",
            default = 100
        )]
        window_seconds: Option<i32>,
    ) -> Option<Result<ErrorLog>> {
        let found = async {
            let window_seconds = window_seconds.unwrap_or(100);
            lookup(read_scope(ctx)?, key, timestamp, status_code, window_seconds).await
        };
        found.await.transpose()
    }

    /// The error logs, as pages, newest first by default.
    #[expect(clippy::too_many_arguments, reason = "the arguments of the contract")]
    async fn error_logs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Selects the error logs; all by default.")] filter: Option<ErrorLogFilter>,
        #[graphql(
            desc = "The order of the list.",
            default_with = "Some(ErrorLogOrder::NewestFirst)"
        )]
        order_by: Option<ErrorLogOrder>,
        #[graphql(desc = "The number of error logs from the start of the list.")] first: Option<
            i32,
        >,
        #[graphql(desc = "Only error logs after this cursor.")] after: Option<String>,
        #[graphql(desc = "The number of error logs from the end of the list.")] last: Option<i32>,
        #[graphql(desc = "Only error logs before this cursor.")] before: Option<String>,
    ) -> Result<Connection<ErrorLog>> {
        let scope = read_scope(ctx)?;
        let errors = error_scope(scope, filter).await?;
        let page = PageArgs { first, after, last, before };
        let query =
            error_list_query(scope, errors, order_by.unwrap_or(ErrorLogOrder::NewestFirst), page)?;
        let page = if reads_rows(ctx) {
            let _reading = scope.answer.read_page(query.page.limit, SHORT_BYTES)?;
            error_list::list(scope.db(), &query, &|bytes| scope.answer.reserve(bytes)).await?
        } else {
            Default::default()
        };
        scope.answer.reserve(page.rows.iter().map(MemorySize::memory_size).sum())?;
        Ok(Connection::new(page.map(Arc::new).map(ErrorLog), query.scope))
    }

    /// The error logs grouped by key, model, type, code, failure class, form of the message or a combination of
    /// them, largest group first: the most frequent errors, with the time of the first and the latest error
    /// log. Grouped by `MESSAGE_TEMPLATE` without `since`, `firstSeenAt` is when such errors first appeared.
    async fn error_groups(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The dimensions to group by, 1 to 6.")] by: Vec<ErrorDimension>,
        #[graphql(desc = "Selects the error logs; all by default.")] filter: Option<ErrorLogFilter>,
        #[graphql(desc = "The number of groups.", default = 20)] first: Option<i32>,
    ) -> Result<Vec<ErrorGroup>> {
        let scope = read_scope(ctx)?;
        let by: Vec<_> = distinct(by)?.into_iter().map(Into::into).collect();
        let limit = page_size(scope, "first", first.unwrap_or(20))?;
        let errors = error_scope(scope, filter).await?;
        let query = ErrorGroupsQuery { scope: errors, by, limit };
        let groups = scope.loader().load_one(query.clone()).await?.unwrap_or_else(|| Ok(vec![]))?;
        count_list(ctx, &groups, |group| {
            let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
            text(&group.model) + text(&group.error_type)
        })?;
        if !ErrorGroup::needs_latest(ctx) {
            return Ok(groups.into_iter().map(|group| ErrorGroup::new(group, None)).collect());
        }
        let latest = error_group::latest(scope.db(), &query, &groups).await?;
        let ids = latest.iter().flatten().map(|id| ErrorLogOf(*id));
        let rows: HashMap<_, _> = scope.loader().load_many(ids).await?;
        let group = |(group, id): (_, Option<i64>)| {
            let latest = ErrorLog(rows.get(&ErrorLogOf(id?))?.clone());
            Some(ErrorGroup::new(group, Some(latest)))
        };
        // A group is omitted if its rows were deleted meanwhile.
        Ok(groups.into_iter().zip(latest).filter_map(group).collect())
    }

    /// The error logs of a window over time, with the same buckets as `callSeries`: one for each interval,
    /// including intervals without error logs. At most 1,500 buckets.
    #[expect(clippy::too_many_arguments, reason = "the arguments of `callSeries`")]
    async fn error_series(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "A window that ends at `asOf`. Give this or `between`.")] period: Option<
            Period,
        >,
        #[graphql(desc = "A window between two instants. Give this or `period`.")] between: Option<
            TimeRange,
        >,
        #[graphql(desc = "Selects the error logs; all of the window by default.")] filter: Option<
            ErrorLogFilter,
        >,
        #[graphql(desc = "The end of `period`; now by default.")] as_of: Option<DateTime>,
        #[graphql(desc = "The time zone that buckets are aligned to; the server's by default.")]
        time_zone: Option<TimeZone>,
        #[graphql(
            desc = "The length of a bucket in whole seconds, such as PT5M; the default gives 30 to \
                          120 buckets. Buckets of whole days start at midnight, of whole weeks on \
                          Mondays."
        )]
        interval: Option<Duration>,
    ) -> Result<Vec<ErrorBucket>> {
        let scope = read_scope(ctx)?;
        let (window, bounds) =
            WindowArgs { period, between, as_of, time_zone }.buckets(scope, interval)?;
        let mut errors = error_scope(scope, filter).await?;
        errors.since = Some(errors.since.map_or(window.since, |since| since.max(window.since)));
        errors.until = Some(errors.until.map_or(window.until, |until| until.min(window.until)));
        let query = ErrorSeriesQuery { scope: errors, bounds };
        let bounds = query.bounds.clone();
        let counts = scope.loader().load_one(query).await?.unwrap_or_else(|| Ok(vec![]))?;
        count_list(ctx, &counts, |_| 0)?;
        let bucket = |(ends, count): (&[chrono::DateTime<Utc>], i64)| ErrorBucket {
            start: DateTime(ends[0]),
            end: DateTime(ends[1]),
            count: BigInt(count),
        };
        Ok(bounds.windows(2).zip(counts).map(bucket).collect())
    }

    /// Why a call with this text failed and what ends such failures. For any text, stored or not; a gateway
    /// may ask before it disables a key. Reads no table.
    async fn classify_failure(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What the provider, a proxy or a client library said, in any form.")]
        message: Option<String>,
        #[graphql(desc = "The status code; where it is missing, the one that the text states.")]
        status_code: Option<i32>,
        #[graphql(desc = "The part of the gateway that failed, or the class of its exception.")]
        error_type: Option<String>,
    ) -> Result<failure::Failure> {
        let failure = classify(message.as_deref(), status_code, error_type.as_deref());
        Ok(failure::Failure::new(failure, read_scope(ctx)?.now))
    }
}

async fn lookup(
    scope: &Scope,
    key: String,
    timestamp: DateTime,
    code: Option<i32>,
    window_seconds: i32,
) -> Result<Option<ErrorLog>> {
    if !(1..=300).contains(&window_seconds) {
        let message = format!("`windowSeconds` must be 1 to 300, not {window_seconds}");
        return Err(Failure::bad_input("windowSeconds", message));
    }
    let probe = Probe {
        key: scope.key(&key).await?.to_string(),
        at: scope.db().zone().to_stored(timestamp.0),
        code,
        window: TimeDelta::seconds(window_seconds.into()),
    };
    Ok(scope.loader().load_one(probe).await?.map(ErrorLog))
}

/// The query for a page of error logs.
pub fn error_list_query(
    scope: &Scope,
    errors: ErrorScope,
    order: ErrorLogOrder,
    page: PageArgs,
) -> Result<ErrorListQuery> {
    Ok(ErrorListQuery {
        scope: errors,
        newest_first: order == ErrorLogOrder::NewestFirst,
        page: page.request(scope, |_| true)?,
    })
}
