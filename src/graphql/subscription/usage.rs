//! `Subscription.usageStats`.

use std::time::Duration as Period;

use async_graphql::{Context, Subscription};
use chrono::TimeDelta;
use futures_util::stream::Stream;

use super::source::{Source, follow};
use crate::graphql::error::{Failure, Result};
use crate::graphql::scalar::{Duration, TimeZone};
use crate::graphql::scope::reading;
use crate::graphql::types::usage::UsageStats;

/// More often than that, the windows hardly change.
const SHORTEST: Period = Period::from_millis(500);
const LONGEST: Period = Period::from_secs(3600);
const USUAL: Duration = Duration(TimeDelta::seconds(1));

#[derive(Default)]
pub struct UsageSubscription;

#[Subscription]
impl UsageSubscription {
    /// The usage statistics of now, at once and then again and again. Each event counts the windows
    /// that are selected up to its own moment, in one SQL statement. A client that reads slowly gets
    /// fewer events.
    async fn usage_stats(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only calls of this key: a full key or an `ApiKey` id.")] key: Option<
            String,
        >,
        #[graphql(desc = "The zone of the calendar month; the server's by default.")]
        time_zone: Option<TimeZone>,
        #[graphql(
            desc = "The time from one event to the next: `PT0.5S` to `PT1H`.",
            default_with = "Some(USUAL)"
        )]
        every: Option<Duration>,
    ) -> Result<impl Stream<Item = UsageStats> + use<>> {
        let scope = reading(ctx)?;
        let every = period(every.unwrap_or(USUAL))?;
        let key = match key {
            Some(key) => Some(scope.key(&key).await?),
            None => None,
        };
        let zone = time_zone.map_or(scope.config().time_zone, |zone| zone.0);
        let stats = UsageStats { as_of: scope.now, zone, key };
        Ok(follow(ctx, || Source::every(every), stats))
    }
}

fn period(every: Duration) -> Result<Period> {
    let period = every.0.to_std().ok().filter(|every| (SHORTEST..=LONGEST).contains(every));
    period.ok_or_else(|| Failure::bad_input("every", "`every` must be PT0.5S to PT1H"))
}
