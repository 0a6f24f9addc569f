//! Calls by their ids, and pages of them.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dataloader::Loader;

use super::{StoreLoader, in_parts, zip};
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
        self.batch("call", ids.len());
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        let rows = call::find(&self.asking.services.db, &ids).await?;
        self.hold(&rows)?;
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
            let _reading = self.asking.answer.read_page(rows, 0)?;
            let read = call::list_many(&self.asking.services.db, part).await?;
            self.hold(read.iter().flat_map(|page| &page.rows))?;
            pages.extend(read);
        }
        Ok(zip(queries, pages.into_iter().map(|page| page.map(Arc::new))))
    }
}

/// How many calls a list has in all.
impl Loader<CallScope> for StoreLoader {
    type Value = i64;
    type Error = Error;

    async fn load(&self, scopes: &[CallScope]) -> Result<HashMap<CallScope, i64>, Error> {
        self.batch("call_count", scopes.len());
        Ok(zip(scopes, call::count_many(&self.asking.services.db, scopes).await?))
    }
}
