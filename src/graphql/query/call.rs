//! `callDetails`, `callSeries`, `callGroups`.

use std::sync::Arc;

use async_graphql::{Context, Object};

use crate::graphql::args::{PageArgs, Period, TimeRange, WindowArgs, page_size};
use crate::graphql::connection::Connection;
use crate::graphql::error::{Failure, Result};
use crate::graphql::loader::MemorySize;
use crate::graphql::scalar::{DateTime, Duration, TimeZone};
use crate::graphql::scope::{Scope, count_list, read_scope};
use crate::graphql::types::call::{Call, CallList, CallOrder};
use crate::graphql::types::call_filter::{CallFilter, call_scope};
use crate::graphql::types::call_group::{CallBucket, CallDimension, CallGroup, CallGroupOrder};
use crate::graphql::types::usage::CallCounts;
use crate::store::call::{self, CallCursor, CallListQuery, CallRank, CallScope};
use crate::store::call_group::{self, GroupQuery};

#[derive(Default)]
pub struct CallQuery;

#[Object]
impl CallQuery {
    /// The calls of a window, as pages. Select `errorLog` to get the matching error log of each failed call.
    #[expect(clippy::too_many_arguments, reason = "the arguments of the contract")]
    async fn call_details(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "A window that ends at `asOf`. Give this or `between`.")] period: Option<
            Period,
        >,
        #[graphql(desc = "A window between two instants. Give this or `period`.")] between: Option<
            TimeRange,
        >,
        #[graphql(desc = "Only calls of this key: a full key or an `ApiKey` id.")] key: Option<
            String,
        >,
        #[graphql(desc = "Selects the calls; all by default.")] filter: Option<CallFilter>,
        #[graphql(desc = "The end of `period`; now by default.")] as_of: Option<DateTime>,
        #[graphql(desc = "The time zone of calendar months; the server's by default.")]
        time_zone: Option<TimeZone>,
        #[graphql(desc = "The order of the list.", default_with = "Some(CallOrder::NewestFirst)")]
        order_by: Option<CallOrder>,
        #[graphql(desc = "The number of calls from the start of the list.")] first: Option<i32>,
        #[graphql(desc = "Only calls after this cursor.")] after: Option<String>,
        #[graphql(desc = "The number of calls from the end of the list.")] last: Option<i32>,
        #[graphql(desc = "Only calls before this cursor.")] before: Option<String>,
    ) -> Result<Connection<Call>> {
        let scope = read_scope(ctx)?;
        let _hold = scope.hold_for_error_logs(ctx);
        let window = WindowArgs { period, between, as_of, time_zone }.window(scope)?;
        let calls = call_scope(scope, window, key, filter).await?;
        let page = PageArgs { first, after, last, before };
        let query =
            call_list_query(scope, calls, order_by.unwrap_or(CallOrder::NewestFirst), page)?;
        let page = if reads_rows(ctx) {
            let _reading = scope.answer.read_page(query.page.limit, 0)?;
            call::list(scope.db(), &query).await?
        } else {
            Default::default()
        };
        scope.answer.reserve(page.rows.iter().map(MemorySize::memory_size).sum())?;
        let list = CallList { scope: query.scope, order: query.order };
        Ok(Connection::new(page.map(Arc::new).map(Call), list))
    }

    /// The calls of a window over time: one bucket for each interval, including intervals without calls.
    /// Buckets are aligned to the clock of `timeZone`, also across daylight saving changes; the window
    /// cuts the first and the last bucket. At most 1,500 buckets.
    #[expect(clippy::too_many_arguments, reason = "the arguments of the contract")]
    async fn call_series(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "A window that ends at `asOf`. Give this or `between`.")] period: Option<
            Period,
        >,
        #[graphql(desc = "A window between two instants. Give this or `period`.")] between: Option<
            TimeRange,
        >,
        #[graphql(desc = "Only calls of this key: a full key or an `ApiKey` id.")] key: Option<
            String,
        >,
        #[graphql(desc = "Selects the calls; all by default.")] filter: Option<CallFilter>,
        #[graphql(desc = "The end of `period`; now by default.")] as_of: Option<DateTime>,
        #[graphql(desc = "The time zone that buckets are aligned to; the server's by default.")]
        time_zone: Option<TimeZone>,
        #[graphql(
            desc = "The length of a bucket in whole seconds, such as PT5M; the default gives 30 to \
                          120 buckets. Buckets of whole days start at midnight, of whole weeks on \
                          Mondays."
        )]
        interval: Option<Duration>,
    ) -> Result<Vec<CallBucket>> {
        let scope = read_scope(ctx)?;
        let window_args = WindowArgs { period, between, as_of, time_zone };
        let (window, bounds) = window_args.buckets(scope, interval)?;
        let calls = call_scope(scope, window, key, filter).await?;
        let stats = call_group::series(scope.db(), &calls, &bounds, has_latency(ctx)).await?;
        count_list(ctx, &stats, |_| 0)?;
        let bucket =
            |(ends, stats): (&[chrono::DateTime<chrono::Utc>], call_group::CallStats)| CallBucket {
                start: DateTime(ends[0]),
                end: DateTime(ends[1]),
                counts: CallCounts(stats.counts),
                latency: stats.latency.into(),
            };
        Ok(bounds.windows(2).zip(stats).map(bucket).collect())
    }

    /// The calls of a window grouped by key, model, status code, status or a combination of them. It
    /// answers questions such as: which key is throttled most, which model is slowest.
    #[expect(clippy::too_many_arguments, reason = "the arguments of the contract")]
    async fn call_groups(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The dimensions to group by, 1 to 4.")] by: Vec<CallDimension>,
        #[graphql(desc = "A window that ends at `asOf`. Give this or `between`.")] period: Option<
            Period,
        >,
        #[graphql(desc = "A window between two instants. Give this or `period`.")] between: Option<
            TimeRange,
        >,
        #[graphql(desc = "Only calls of this key: a full key or an `ApiKey` id.")] key: Option<
            String,
        >,
        #[graphql(desc = "Selects the calls; all by default.")] filter: Option<CallFilter>,
        #[graphql(desc = "The end of `period`; now by default.")] as_of: Option<DateTime>,
        #[graphql(desc = "The time zone of calendar months; the server's by default.")]
        time_zone: Option<TimeZone>,
        #[graphql(desc = "The order of the groups.", default_with = "Some(CallGroupOrder::Total)")]
        order_by: Option<CallGroupOrder>,
        #[graphql(desc = "The number of groups.", default = 20)] first: Option<i32>,
    ) -> Result<Vec<CallGroup>> {
        let scope = read_scope(ctx)?;
        let window = WindowArgs { period, between, as_of, time_zone }.window(scope)?;
        let order = order_by.unwrap_or(CallGroupOrder::Total);
        let query = GroupQuery {
            scope: call_scope(scope, window, key, filter).await?,
            by: distinct(by)?.into_iter().map(Into::into).collect(),
            order: order.into(),
            limit: page_size(scope, "first", first.unwrap_or(20))?,
            latency: has_latency(ctx) || order == CallGroupOrder::P95Latency,
        };
        let groups = call_group::groups(scope.db(), &query).await?;
        count_list(ctx, &groups, |group| group.model.as_ref().map_or(0, String::len))?;
        Ok(groups.into_iter().map(CallGroup::from).collect())
    }
}

/// The query for a page of calls.
pub fn call_list_query(
    scope: &Scope,
    calls: CallScope,
    order: CallOrder,
    page: PageArgs,
) -> Result<CallListQuery> {
    let by_latency = order == CallOrder::SlowestFirst;
    let belongs = |cursor: &CallCursor| matches!(cursor.rank, CallRank::Latency(_)) == by_latency;
    Ok(CallListQuery { scope: calls, order: order.into(), page: page.request(scope, belongs)? })
}

/// Whether the current field selects latencies, which cost more.
pub fn has_latency(ctx: &Context<'_>) -> bool {
    ctx.look_ahead().field("latency").exists()
}

/// Whether the current list selects fields that need its rows.
pub fn reads_rows(ctx: &Context<'_>) -> bool {
    let list = ctx.look_ahead();
    ["nodes", "edges", "pageInfo"].iter().any(|field| list.field(field).exists())
}

/// Checks `by`: at least one dimension, without duplicates.
pub fn distinct<T: Copy + PartialEq>(by: Vec<T>) -> Result<Vec<T>> {
    if by.is_empty() {
        return Err(Failure::bad_input("by", "`by` must contain at least one dimension"));
    }
    let twice = by.iter().enumerate().any(|(index, one)| by[..index].contains(one));
    if twice {
        return Err(Failure::bad_input("by", "`by` contains a dimension twice"));
    }
    Ok(by)
}
