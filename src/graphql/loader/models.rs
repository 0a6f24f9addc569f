//! The models of keys, of all keys of a request that ask for the same window in one statement.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use async_graphql::dataloader::Loader;

use super::StoreLoader;
use crate::domain::window::Window;
use crate::error::Error;
use crate::store::call::CallScope;
use crate::store::call_group::{self, CallDimension, GroupOrder, GroupQuery, GroupRow};

/// The groups of one statement: far more than any pool of keys has models.
const MAX_GROUPS: u32 = 100_000;
/// Bytes that a group takes in memory.
const GROUP_MEMORY: u64 = 512;

/// The calls of a key in a window, model by model.
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
            let groups = call_group::groups(&self.asking.services.db, &query).await?;
            self.asking.answer.hold(groups.len() as u64 * GROUP_MEMORY)?;
            for mut group in groups {
                let Some(key) = group.key.take() else { continue };
                found.entry(ModelsOf { window, key, latency }).or_default().push(group);
            }
        }
        Ok(found)
    }
}

/// The keys that ask for the same window.
pub(super) fn by_window<'a, W: Eq + Hash>(
    asked: impl Iterator<Item = (W, &'a String)>,
) -> impl Iterator<Item = (W, Vec<String>)> {
    let mut keys: HashMap<W, BTreeSet<&String>> = HashMap::new();
    for (window, key) in asked {
        keys.entry(window).or_default().insert(key);
    }
    keys.into_iter().map(|(window, keys)| (window, keys.into_iter().cloned().collect()))
}
