//! Calls by their ids, and pages of them.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dataloader::Loader;

use super::{StoreLoader, zip};
use crate::error::Error;
use crate::store::call::{self, CallListQuery, CallRow, CallScope};
use crate::store::page::Page;

/// The call with this id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallOf(pub i64);

impl Loader<CallOf> for StoreLoader {
    type Value = Arc<CallRow>;
    type Error = Error;

    async fn load(&self, ids: &[CallOf]) -> Result<HashMap<CallOf, Arc<CallRow>>, Error> {
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        let rows = call::find(&self.asking.services.db, &ids).await?;
        Ok(rows.into_iter().map(|row| (CallOf(row.id), Arc::new(row))).collect())
    }
}

impl Loader<CallListQuery> for StoreLoader {
    type Value = Page<Arc<CallRow>>;
    type Error = Error;

    async fn load(
        &self,
        queries: &[CallListQuery],
    ) -> Result<HashMap<CallListQuery, Page<Arc<CallRow>>>, Error> {
        let pages = call::list_many(&self.asking.services.db, queries).await?;
        Ok(zip(queries, pages.into_iter().map(|page| page.map(Arc::new))))
    }
}

/// How many calls a list has in all.
impl Loader<CallScope> for StoreLoader {
    type Value = i64;
    type Error = Error;

    async fn load(&self, scopes: &[CallScope]) -> Result<HashMap<CallScope, i64>, Error> {
        Ok(zip(scopes, call::count_many(&self.asking.services.db, scopes).await?))
    }
}
