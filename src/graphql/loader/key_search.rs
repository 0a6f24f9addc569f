//! Audit entries of searches in full keys, one statement for all of a request.

use std::collections::HashMap;

use async_graphql::dataloader::Loader;
use serde_json::json;

use super::{StoreLoader, zip};
use crate::error::Error;
use crate::store::audit::{self, Actor, AuditAction};

/// A search in full keys. Two equal searches of one request are one entry; the searched text tells
/// different ones apart and is not stored.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct FullKeySearch {
    /// The argument that searches.
    pub filter: &'static str,
    pub needle: String,
    /// How many keys matched; `None` for a subscription.
    pub matches: Option<usize>,
}

impl Loader<FullKeySearch> for StoreLoader {
    type Value = ();
    type Error = Error;

    async fn load(&self, searches: &[FullKeySearch]) -> Result<HashMap<FullKeySearch, ()>, Error> {
        self.batch("key_search", searches.len());
        let asking = &self.asking;
        let actor = Actor { caller: &asking.caller.name, address: asking.address, at: asking.now };
        let subjects = searches.iter().map(|search| {
            json!({ "filter": search.filter, "matchingKeys": search.matches }).to_string()
        });
        let db = &asking.services.db;
        audit::record(db, &actor, AuditAction::SearchKeys, subjects).await?;
        Ok(zip(searches, searches.iter().map(|_| ())))
    }
}
