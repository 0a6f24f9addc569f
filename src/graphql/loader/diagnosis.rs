//! Loads the diagnoses of an instant: its statements are sent once for all fields of a request.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dataloader::Loader;
use chrono::{DateTime, Utc};

use super::StoreLoader;
use crate::diagnoses::DiagnosedWindow;
use crate::error::Error;
use crate::store::diagnosis::{CALLS_AT_ONCE, LOGS_AT_ONCE};
use crate::store::error_log::SHORT_BYTES;

/// The diagnoses at an instant; None: the current ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DiagnosesAt(pub Option<DateTime<Utc>>);

impl Loader<DiagnosesAt> for StoreLoader {
    type Value = Arc<DiagnosedWindow>;
    type Error = Error;

    async fn load(
        &self,
        instants: &[DiagnosesAt],
    ) -> Result<HashMap<DiagnosesAt, Arc<DiagnosedWindow>>, Error> {
        self.batch("diagnosis", instants.len());
        let (services, answer) = (&self.request.services, &self.request.answer);
        // A second batch waits for the first, and finds its result.
        let mut found = self.diagnosed.lock().await;
        for at in instants {
            if found.contains_key(at) {
                continue;
            }
            let _calls = answer.read_page(CALLS_AT_ONCE, 0)?;
            let _texts = answer.read_page(LOGS_AT_ONCE, SHORT_BYTES)?;
            let reserve = |bytes| answer.reserve(bytes);
            let diagnosed = match at.0 {
                Some(at) => services.diagnoses.at(at, &reserve).await?,
                None => services.diagnoses.get(self.request.now, &reserve).await?,
            };
            found.insert(*at, diagnosed);
        }
        Ok(found.clone())
    }
}
