//! Loads calls by id, and pages of calls.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dataloader::Loader;

use super::{StoreLoader, in_parts, zip};
use crate::error::Error;
use crate::store::call::{self, CallListQuery, CallRow, CallScope};
use crate::store::call_count;
use crate::store::page::Page;

/// The call with this id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallOf(pub i64);

impl Loader<CallOf> for StoreLoader {
    type Value = Arc<CallRow>;
    type Error = Error;

    async fn load(&self, ids: &[CallOf]) -> Result<HashMap<CallOf, Arc<CallRow>>, Error> {
        self.batch("call", ids.len());
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        let rows = call::find(&self.request.services.db, &ids).await?;
        self.reserve(&rows)?;
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
        self.batch("call_list", queries.len());
        let mut pages = Vec::with_capacity(queries.len());
        for part in in_parts(queries, |query| query.page.limit) {
            let rows = part.iter().map(|query| query.page.limit).sum();
            let _reading = self.request.answer.read_page(rows, 0)?;
            let read = call::list_many(&self.request.services.db, part).await?;
            self.reserve(read.iter().flat_map(|page| &page.rows))?;
            pages.extend(read);
        }
        Ok(zip(queries, pages.into_iter().map(|page| page.map(Arc::new))))
    }
}

/// Counts the calls of a list.
impl Loader<CallScope> for StoreLoader {
    type Value = i64;
    type Error = Error;

    async fn load(&self, scopes: &[CallScope]) -> Result<HashMap<CallScope, i64>, Error> {
        self.batch("call_count", scopes.len());
        Ok(zip(scopes, call_count::count_many(&self.request.services.db, scopes).await?))
    }
}
