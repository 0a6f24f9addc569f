//! Latencies of keys, of all keys of a request that ask for the same window in one statement.

use std::collections::HashMap;

use async_graphql::dataloader::Loader;

use super::StoreLoader;
use super::models::by_window;
use crate::domain::counts::LatencyStats;
use crate::domain::window::Window;
use crate::error::Error;
use crate::store::call::CallScope;
use crate::store::call_group::{self, CallDimension, GroupOrder, GroupQuery};

/// How long the calls of a key took in a window.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LatencyOf {
    pub window: Window,
    pub key: String,
}

impl Loader<LatencyOf> for StoreLoader {
    type Value = LatencyStats;
    type Error = Error;

    async fn load(&self, asked: &[LatencyOf]) -> Result<HashMap<LatencyOf, LatencyStats>, Error> {
        let mut found = HashMap::new();
        for (window, keys) in by_window(asked.iter().map(|of| (of.window, &of.key))) {
            let query = GroupQuery {
                limit: u32::try_from(keys.len()).unwrap_or(u32::MAX),
                scope: CallScope { keys: Some(keys), ..CallScope::of(window) },
                by: vec![CallDimension::ApiKey],
                order: GroupOrder::Total,
                latency: true,
            };
            let groups = call_group::groups(&self.asking.services.db, &query).await?;
            found.extend(groups.into_iter().filter_map(|group| {
                Some((LatencyOf { window, key: group.key? }, group.stats.latency))
            }));
        }
        Ok(found)
    }
}
