//! Keys that are about to be shown in full: enters them in the audit log, all of a request together.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dataloader::Loader;

use super::StoreLoader;
use crate::error::Error;
use crate::store::audit::{self, Actor, AuditAction};

/// A key whose secret is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretOf(pub Arc<str>);

/// The key itself, once the audit log tells who sees it.
impl Loader<SecretOf> for StoreLoader {
    type Value = Arc<str>;
    type Error = Error;

    async fn load(&self, keys: &[SecretOf]) -> Result<HashMap<SecretOf, Arc<str>>, Error> {
        let asking = &self.asking;
        let actor = Actor { caller: &asking.caller.name, address: asking.address, at: asking.now };
        let ids = keys.iter().map(|key| asking.services.keys.id(&key.0).to_string());
        audit::record(&asking.services.db, &actor, AuditAction::RevealKey, ids).await?;
        Ok(keys.iter().map(|key| (key.clone(), key.0.clone())).collect())
    }
}
