//! Error logs by their ids, the requests that they keep, and pages of them.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dataloader::Loader;

use super::{StoreLoader, zip};
use crate::error::Error;
use crate::store::error_log::{self, ErrorListQuery, ErrorLogRow, ErrorScope};
use crate::store::page::Page;

/// The error log with this id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorLogOf(pub i64);

impl Loader<ErrorLogOf> for StoreLoader {
    type Value = Arc<ErrorLogRow>;
    type Error = Error;

    async fn load(
        &self,
        ids: &[ErrorLogOf],
    ) -> Result<HashMap<ErrorLogOf, Arc<ErrorLogRow>>, Error> {
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        let rows = error_log::find(&self.asking.services.db, &ids).await?;
        Ok(rows.into_iter().map(|row| (ErrorLogOf(row.id), Arc::new(row))).collect())
    }
}

/// The request that the error log with this id keeps, which may be large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestOf(pub i64);

impl Loader<RequestOf> for StoreLoader {
    type Value = serde_json::Value;
    type Error = Error;

    async fn load(
        &self,
        ids: &[RequestOf],
    ) -> Result<HashMap<RequestOf, serde_json::Value>, Error> {
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        let texts = error_log::find_requests(&self.asking.services.db, &ids).await?;
        let request = |(id, text): (i64, String)| {
            let parsed = serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text));
            (RequestOf(id), parsed)
        };
        Ok(texts.into_iter().map(request).filter(|(_, request)| !request.is_null()).collect())
    }
}

impl Loader<ErrorListQuery> for StoreLoader {
    type Value = Page<Arc<ErrorLogRow>>;
    type Error = Error;

    async fn load(
        &self,
        queries: &[ErrorListQuery],
    ) -> Result<HashMap<ErrorListQuery, Page<Arc<ErrorLogRow>>>, Error> {
        let pages = error_log::list_many(&self.asking.services.db, queries).await?;
        Ok(zip(queries, pages.into_iter().map(|page| page.map(Arc::new))))
    }
}

/// How many error logs a list has in all.
impl Loader<ErrorScope> for StoreLoader {
    type Value = i64;
    type Error = Error;

    async fn load(&self, scopes: &[ErrorScope]) -> Result<HashMap<ErrorScope, i64>, Error> {
        Ok(zip(scopes, error_log::count_many(&self.asking.services.db, scopes).await?))
    }
}
