//! Loads error logs by id, their stored requests, and pages of error logs.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dataloader::Loader;

use super::{StoreLoader, in_parts, zip, zip_found};
use crate::domain::json::count_values;
use crate::domain::matching::Probe;
use crate::error::Error;
use crate::store::error_group::{self, ErrorGroupRow, ErrorGroupsQuery, ErrorSeriesQuery};
use crate::store::error_list::{self, ErrorListQuery};
use crate::store::error_log::{self, ErrorLogRow, ErrorScope, SHORT_BYTES};
use crate::store::error_match::find_matches;
use crate::store::page::Page;
use crate::store::source::Source;

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
        self.batch("error_log", ids.len());
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        let (db, answer) = (&self.request.services.db, &self.request.answer);
        let mut rows = error_log::find(db, Source::All, &ids).await?;
        error_log::read_messages(db, Source::All, &mut rows, &|bytes| answer.reserve(bytes))
            .await?;
        self.reserve(&rows)?;
        Ok(rows.into_iter().map(|row| (ErrorLogOf(row.id), Arc::new(row))).collect())
    }
}

/// Memory of a JSON value, in bytes.
const VALUE_MEMORY: u64 = 64;

/// The stored request of the error log with this id, which may be large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestOf(pub i64);

impl Loader<RequestOf> for StoreLoader {
    type Value = serde_json::Value;
    type Error = Error;

    async fn load(
        &self,
        ids: &[RequestOf],
    ) -> Result<HashMap<RequestOf, serde_json::Value>, Error> {
        self.batch("request", ids.len());
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        let (db, answer) = (&self.request.services.db, &self.request.answer);
        // Each request is in the answer at least once.
        let room = |bytes| answer.check_bytes(bytes).and_then(|()| answer.reserve(2 * bytes));
        let mut found = HashMap::new();
        for (id, text) in error_log::find_requests(db, &ids, &room).await? {
            answer.reserve(count_values(text.as_bytes()) as u64 * VALUE_MEMORY)?;
            let parsed = serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text));
            if !parsed.is_null() {
                found.insert(RequestOf(id), parsed);
            }
        }
        Ok(found)
    }
}

impl Loader<ErrorListQuery> for StoreLoader {
    type Value = Page<Arc<ErrorLogRow>>;
    type Error = Error;

    async fn load(
        &self,
        queries: &[ErrorListQuery],
    ) -> Result<HashMap<ErrorListQuery, Page<Arc<ErrorLogRow>>>, Error> {
        self.batch("error_log_list", queries.len());
        let (db, answer) = (&self.request.services.db, &self.request.answer);
        let mut pages = Vec::with_capacity(queries.len());
        for part in in_parts(queries, |query| query.page.limit) {
            let rows = part.iter().map(|query| query.page.limit).sum();
            let _reading = answer.read_page(rows, SHORT_BYTES)?;
            let read = error_list::list_many(db, part, &|bytes| answer.reserve(bytes)).await?;
            self.reserve(read.iter().flat_map(|page| &page.rows))?;
            pages.extend(read);
        }
        Ok(zip(queries, pages.into_iter().map(|page| page.map(Arc::new))))
    }
}

/// Groups of error logs: queries of a request with the same filter share statements.
impl Loader<ErrorGroupsQuery> for StoreLoader {
    /// A query that fails does not make others fail.
    type Value = Result<Vec<ErrorGroupRow>, Error>;
    type Error = Error;

    async fn load(
        &self,
        queries: &[ErrorGroupsQuery],
    ) -> Result<HashMap<ErrorGroupsQuery, Self::Value>, Error> {
        self.batch("error_groups", queries.len());
        Ok(zip(queries, error_group::groups_many(&self.request.services.db, queries).await))
    }
}

/// Error logs over time: queries of a request that differ in their failure classes only share a statement.
impl Loader<ErrorSeriesQuery> for StoreLoader {
    /// As for groups.
    type Value = Result<Vec<i64>, Error>;
    type Error = Error;

    async fn load(
        &self,
        queries: &[ErrorSeriesQuery],
    ) -> Result<HashMap<ErrorSeriesQuery, Self::Value>, Error> {
        self.batch("error_series", queries.len());
        Ok(zip(queries, error_group::series_many(&self.request.services.db, queries).await))
    }
}

/// Counts the error logs of a list.
impl Loader<ErrorScope> for StoreLoader {
    type Value = i64;
    type Error = Error;

    async fn load(&self, scopes: &[ErrorScope]) -> Result<HashMap<ErrorScope, i64>, Error> {
        self.batch("error_log_count", scopes.len());
        Ok(zip(scopes, error_list::count_many(&self.request.services.db, scopes).await?))
    }
}

/// The error logs of failed calls: one statement for all calls of a request.
impl Loader<Probe> for StoreLoader {
    type Value = Arc<ErrorLogRow>;
    type Error = Error;

    async fn load(&self, probes: &[Probe]) -> Result<HashMap<Probe, Arc<ErrorLogRow>>, Error> {
        self.batch("error_match", probes.len());
        let (db, answer) = (&self.request.services.db, &self.request.answer);
        let found = find_matches(db, probes, &|bytes| answer.reserve(bytes)).await?;
        self.reserve(found.iter().flatten())?;
        Ok(zip_found(probes, found.into_iter().map(|row| row.map(Arc::new))))
    }
}
