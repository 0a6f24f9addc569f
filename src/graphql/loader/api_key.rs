//! Loads when keys were seen, and the list of all keys.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dataloader::Loader;

use super::{StoreLoader, zip_found};
use crate::error::Error;
use crate::store::api_key::{self, KeyActivity};

/// Loads when this key was seen first and last.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SeenOf(pub String);

impl Loader<SeenOf> for StoreLoader {
    type Value = KeyActivity;
    type Error = Error;

    async fn load(&self, keys: &[SeenOf]) -> Result<HashMap<SeenOf, KeyActivity>, Error> {
        self.batch("api_key", keys.len());
        let names: Vec<String> = keys.iter().map(|key| key.0.clone()).collect();
        Ok(zip_found(keys, api_key::find_activity(&self.request.services.db, &names).await?))
    }
}

/// Memory of a key in the lists of a request in addition to its text, in bytes.
const KEY_MEMORY: u64 = 96;

/// Loads every key of the database, in byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AllKeys;

impl Loader<AllKeys> for StoreLoader {
    type Value = Arc<[String]>;
    type Error = Error;

    async fn load(&self, _: &[AllKeys]) -> Result<HashMap<AllKeys, Arc<[String]>>, Error> {
        let keys = self.request.services.keys.list(&self.request.services.db).await?;
        self.request.answer.reserve(keys.iter().map(|key| key.len() as u64 + KEY_MEMORY).sum())?;
        Ok(HashMap::from([(AllKeys, keys.into())]))
    }
}
