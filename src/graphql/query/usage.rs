//! `usageStats`.

use async_graphql::{Context, Object};

use crate::graphql::error::Result;
use crate::graphql::scalar::{DateTime, TimeZone};
use crate::graphql::scope::read_scope;
use crate::graphql::types::usage::UsageStats;

#[derive(Default)]
pub struct UsageQuery;

#[Object]
impl UsageQuery {
    /// The number of successful and failed calls in the last minute, hour, 8 hours, 24 hours, this month
    /// and any other span up to `asOf`. Only the selected windows are counted, all in one SQL statement.
    async fn usage_stats(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only calls of this key: a full key or an `ApiKey` id.")] key: Option<
            String,
        >,
        #[graphql(desc = "The end of all windows; now by default.")] as_of: Option<DateTime>,
        #[graphql(desc = "The time zone of the calendar month; the server's by default.")]
        time_zone: Option<TimeZone>,
    ) -> Result<UsageStats> {
        let scope = read_scope(ctx)?;
        let key = match key {
            Some(key) => Some(scope.key(&key).await?),
            None => None,
        };
        Ok(UsageStats {
            as_of: as_of.map_or(scope.now, |as_of| as_of.0),
            zone: time_zone.map_or(scope.config().time_zone, |zone| zone.0),
            key,
        })
    }
}
