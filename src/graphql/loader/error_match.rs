//! The error logs of failed calls, of all calls of a request in one statement.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dataloader::Loader;

use super::{StoreLoader, zip_found};
use crate::domain::matching::Probe;
use crate::error::Error;
use crate::store::error_log::ErrorLogRow;
use crate::store::error_match::find_matches;

impl Loader<Probe> for StoreLoader {
    type Value = Arc<ErrorLogRow>;
    type Error = Error;

    async fn load(&self, probes: &[Probe]) -> Result<HashMap<Probe, Arc<ErrorLogRow>>, Error> {
        self.batch("error_match", probes.len());
        let (db, answer) = (&self.asking.services.db, &self.asking.answer);
        let found = find_matches(db, probes, &|bytes| answer.hold(bytes)).await?;
        self.hold(found.iter().flatten())?;
        Ok(zip_found(probes, found.into_iter().map(|row| row.map(Arc::new))))
    }
}
