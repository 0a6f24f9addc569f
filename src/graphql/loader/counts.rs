//! Counts of calls, of all windows and keys of a request in one statement.

use std::collections::HashMap;

use async_graphql::dataloader::Loader;

use super::{StoreLoader, zip};
use crate::domain::counts::CallCounts;
use crate::error::Error;
use crate::store::usage::{self, CountQuery};

impl Loader<CountQuery> for StoreLoader {
    type Value = CallCounts;
    type Error = Error;

    async fn load(&self, queries: &[CountQuery]) -> Result<HashMap<CountQuery, CallCounts>, Error> {
        Ok(zip(queries, usage::counts(&self.asking.services.db, queries).await?))
    }
}
