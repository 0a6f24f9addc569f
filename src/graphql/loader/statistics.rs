//! Loads statistics of calls: one statement for all keys of a request with the same window.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use async_graphql::dataloader::Loader;

use super::{StoreLoader, zip};
use crate::domain::counts::{CallCounts, LatencyStats};
use crate::domain::window::Window;
use crate::error::Error;
use crate::store::call::CallScope;
use crate::store::call_dimension::CallDimension;
use crate::store::call_group::{self, GroupOrder, GroupQuery, GroupRow};
use crate::store::usage::{self, CountQuery};

/// The most groups of one statement: far more than the models of any pool of keys.
const MAX_GROUPS: u32 = 100_000;
/// Memory of a group, in bytes.
const GROUP_MEMORY: u64 = 512;

/// One statement for all windows and keys of a request.
impl Loader<CountQuery> for StoreLoader {
    type Value = CallCounts;
    type Error = Error;

    async fn load(&self, queries: &[CountQuery]) -> Result<HashMap<CountQuery, CallCounts>, Error> {
        self.batch("counts", queries.len());
        Ok(zip(queries, usage::counts(&self.request.services.db, queries).await?))
    }
}

/// The latencies of the calls of a key in a window.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LatencyOf {
    pub window: Window,
    pub key: String,
}

impl Loader<LatencyOf> for StoreLoader {
    type Value = LatencyStats;
    type Error = Error;

    async fn load(&self, asked: &[LatencyOf]) -> Result<HashMap<LatencyOf, LatencyStats>, Error> {
        self.batch("latency", asked.len());
        let mut found = HashMap::new();
        for (window, keys) in by_window(asked.iter().map(|of| (of.window, &of.key))) {
            let query = GroupQuery {
                limit: u32::try_from(keys.len()).unwrap_or(u32::MAX),
                scope: CallScope { keys: Some(keys), ..CallScope::of(window) },
                by: vec![CallDimension::ApiKey],
                order: GroupOrder::Total,
                latency: true,
            };
            let groups = call_group::groups(&self.request.services.db, &query).await?;
            found.extend(groups.into_iter().filter_map(|group| {
                Some((LatencyOf { window, key: group.key? }, group.stats.latency))
            }));
        }
        Ok(found)
    }
}

/// The calls of a key in a window, grouped by model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelsOf {
    pub window: Window,
    pub key: String,
    pub latency: bool,
}

impl Loader<ModelsOf> for StoreLoader {
    type Value = Vec<GroupRow>;
    type Error = Error;

    async fn load(&self, asked: &[ModelsOf]) -> Result<HashMap<ModelsOf, Vec<GroupRow>>, Error> {
        self.batch("models", asked.len());
        let mut found: HashMap<ModelsOf, Vec<GroupRow>> = HashMap::new();
        let asked = asked.iter().map(|of| ((of.window, of.latency), &of.key));
        for ((window, latency), keys) in by_window(asked) {
            let query = GroupQuery {
                scope: CallScope { keys: Some(keys), ..CallScope::of(window) },
                by: vec![CallDimension::ApiKey, CallDimension::Model],
                order: GroupOrder::Total,
                limit: MAX_GROUPS,
                latency,
            };
            let groups = call_group::groups(&self.request.services.db, &query).await?;
            self.request.answer.reserve(groups.len() as u64 * GROUP_MEMORY)?;
            for mut group in groups {
                let Some(key) = group.key.take() else { continue };
                found.entry(ModelsOf { window, key, latency }).or_default().push(group);
            }
        }
        Ok(found)
    }
}

/// Groups keys by window.
fn by_window<'a, W: Eq + Hash>(
    asked: impl Iterator<Item = (W, &'a String)>,
) -> impl Iterator<Item = (W, Vec<String>)> {
    let mut keys: HashMap<W, BTreeSet<&String>> = HashMap::new();
    for (window, key) in asked {
        keys.entry(window).or_default().insert(key);
    }
    keys.into_iter().map(|(window, keys)| (window, keys.into_iter().cloned().collect()))
}
