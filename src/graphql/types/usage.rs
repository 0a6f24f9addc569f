//! Counts, latencies and usage statistics.

use std::sync::Arc;

use async_graphql::{Context, Object, SimpleObject};
use chrono::{DateTime as ChronoDateTime, Utc};
use chrono_tz::Tz;

use crate::domain::counts;
use crate::domain::window::{Period, Window};
use crate::graphql::args::too_early;
use crate::graphql::error::{Failure, Result};
use crate::graphql::scalar::{BigInt, DateTime, Duration};
use crate::graphql::scope::scope;
use crate::store::usage::CountQuery;

/// The counts of a window.
pub struct CallCounts(pub counts::CallCounts);

/// The number of calls, successful and failed. A call is successful if its status code is 200 to 299;
/// every other call failed, including calls without a status code. `total` is always `success` +
/// `failure`.
#[Object]
impl CallCounts {
    /// All calls.
    async fn total(&self) -> BigInt {
        BigInt(self.0.total)
    }

    /// Calls with a status code of 200 to 299.
    async fn success(&self) -> BigInt {
        BigInt(self.0.success)
    }

    /// All other calls, including calls without a status code.
    async fn failure(&self) -> BigInt {
        BigInt(self.0.failure())
    }

    /// The ratio of successful calls, 0 to 1; null without calls.
    async fn success_rate(&self) -> Option<f64> {
        self.0.success_rate()
    }
}

/// Latencies in milliseconds over all calls that have one; every field is null if no call has a latency.
/// Percentiles are interpolated linearly between the two closest calls, like SQL's PERCENTILE_CONT. Those of
/// long windows are computed from histograms; `relativeError` is the most by which they differ.
#[derive(SimpleObject, Clone, Debug)]
pub struct LatencyStats {
    /// The number of calls that have a latency.
    count: BigInt,
    /// The mean.
    avg: Option<f64>,
    /// The shortest.
    min: Option<i32>,
    /// The median.
    p50: Option<f64>,
    /// The 90th percentile.
    p90: Option<f64>,
    /// The 95th percentile.
    p95: Option<f64>,
    /// The 99th percentile.
    p99: Option<f64>,
    /// The longest.
    max: Option<i32>,
    /// 0 if the percentiles are exact, otherwise the most by which they differ from exact ones, relative to
    /// these: 0.01 is 1 %. `count`, `avg`, `min` and `max` are always exact.
    relative_error: f64,
}

impl From<counts::LatencyStats> for LatencyStats {
    fn from(stats: counts::LatencyStats) -> Self {
        let [p50, p90, p95, p99] = stats.percentiles;
        Self {
            count: BigInt(stats.count),
            avg: stats.avg,
            min: stats.min,
            p50,
            p90,
            p95,
            p99,
            max: stats.max,
            relative_error: stats.relative_error,
        }
    }
}

/// The end and the key of all windows.
pub struct UsageStats {
    pub as_of: ChronoDateTime<Utc>,
    pub zone: Tz,
    pub key: Option<Arc<str>>,
}

/// The number of successful and failed calls in windows that end at `asOf`. One SQL statement counts all
/// windows of a request.
#[Object]
impl UsageStats {
    /// The end of all windows (exclusive).
    async fn as_of(&self) -> DateTime {
        DateTime(self.as_of)
    }

    /// The last 60 seconds.
    async fn last_minute(&self, ctx: &Context<'_>) -> Result<CallCounts> {
        self.period(ctx, Period::LastMinute).await
    }

    /// The last 60 minutes.
    async fn last_hour(&self, ctx: &Context<'_>) -> Result<CallCounts> {
        self.period(ctx, Period::LastHour).await
    }

    /// The last 8 hours.
    #[graphql(name = "last8Hours")]
    async fn last_8_hours(&self, ctx: &Context<'_>) -> Result<CallCounts> {
        self.period(ctx, Period::Last8Hours).await
    }

    /// The last 24 hours.
    #[graphql(name = "last24Hours")]
    async fn last_24_hours(&self, ctx: &Context<'_>) -> Result<CallCounts> {
        self.period(ctx, Period::Last24Hours).await
    }

    /// The calendar month of `asOf` in `timeZone`, from its start to `asOf`.
    async fn current_month(&self, ctx: &Context<'_>) -> Result<CallCounts> {
        self.period(ctx, Period::CurrentMonth).await
    }

    /// A window of any length.
    async fn last(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The length of the window: `PT15M`, `P7D`.")] duration: Duration,
    ) -> Result<CallCounts> {
        let window = Window::last(duration.0, self.as_of);
        let too_long =
            || Failure::bad_input("duration", "the window would start before the year 1");
        self.counts(ctx, window.ok_or_else(too_long)?).await
    }
}

impl UsageStats {
    async fn period(&self, ctx: &Context<'_>, period: Period) -> Result<CallCounts> {
        let window = Window::of(period, self.as_of, self.zone).ok_or_else(too_early)?;
        self.counts(ctx, window).await
    }

    async fn counts(&self, ctx: &Context<'_>, window: Window) -> Result<CallCounts> {
        let key = self.key.as_deref().map(str::to_owned);
        let counts = scope(ctx).loader().load_one(CountQuery { window, key }).await?;
        Ok(CallCounts(counts.unwrap_or_default()))
    }
}
