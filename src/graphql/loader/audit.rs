//! Writes audit entries of searches in full keys and of keys that are returned in full: one statement for
//! all of a request.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dataloader::Loader;
use serde_json::json;

use super::{StoreLoader, zip};
use crate::error::Error;
use crate::store::audit::{self, Actor, AuditAction};

/// A search in full keys. Two equal searches of one request are one entry. The search text distinguishes
/// searches and is not stored.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct FullKeySearch {
    /// The name of the search argument.
    pub filter: &'static str,
    pub text: String,
    /// How many keys matched; `None` for a subscription.
    pub matches: Option<usize>,
}

impl Loader<FullKeySearch> for StoreLoader {
    type Value = ();
    type Error = Error;

    async fn load(&self, searches: &[FullKeySearch]) -> Result<HashMap<FullKeySearch, ()>, Error> {
        self.batch("key_search", searches.len());
        let subjects = searches.iter().map(|search| {
            json!({ "filter": search.filter, "matchingKeys": search.matches }).to_string()
        });
        self.record(AuditAction::SearchKeys, subjects).await?;
        Ok(zip(searches, searches.iter().map(|_| ())))
    }
}

/// A key to return in full.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretOf(pub Arc<str>);

/// Returns the key after the audit entry is written.
impl Loader<SecretOf> for StoreLoader {
    type Value = Arc<str>;
    type Error = Error;

    async fn load(&self, keys: &[SecretOf]) -> Result<HashMap<SecretOf, Arc<str>>, Error> {
        self.batch("secret", keys.len());
        let ids = keys.iter().map(|key| self.request.services.keys.id(&key.0).to_string());
        self.record(AuditAction::RevealKey, ids).await?;
        Ok(keys.iter().map(|key| (key.clone(), key.0.clone())).collect())
    }
}

impl StoreLoader {
    async fn record(
        &self,
        action: AuditAction,
        subjects: impl Iterator<Item = String> + Send,
    ) -> Result<(), Error> {
        let request = &self.request;
        let caller = &request.caller.name;
        let actor = Actor { caller, address: request.address, at: request.now };
        audit::record(&request.services.db, &actor, action, subjects).await
    }
}
