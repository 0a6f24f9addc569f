//! When keys were seen, and which there are.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dataloader::Loader;

use super::{StoreLoader, zip_found};
use crate::error::Error;
use crate::store::api_key::{self, KeyActivity};

/// When this key was seen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SeenOf(pub String);

impl Loader<SeenOf> for StoreLoader {
    type Value = KeyActivity;
    type Error = Error;

    async fn load(&self, keys: &[SeenOf]) -> Result<HashMap<SeenOf, KeyActivity>, Error> {
        self.batch("api_key", keys.len());
        let names: Vec<String> = keys.iter().map(|key| key.0.clone()).collect();
        Ok(zip_found(keys, api_key::find_activity(&self.asking.services.db, &names).await?))
    }
}

/// Bytes that a key takes in the lists of a request, beside its text.
const KEY_MEMORY: u64 = 96;

/// Every key that the database knows, in the order of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AllKeys;

impl Loader<AllKeys> for StoreLoader {
    type Value = Arc<[String]>;
    type Error = Error;

    async fn load(&self, _: &[AllKeys]) -> Result<HashMap<AllKeys, Arc<[String]>>, Error> {
        let keys = self.asking.services.keys.list(&self.asking.services.db).await?;
        self.asking.answer.hold(keys.iter().map(|key| key.len() as u64 + KEY_MEMORY).sum())?;
        Ok(HashMap::from([(AllKeys, keys.into())]))
    }
}
