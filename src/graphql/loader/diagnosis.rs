//! Loads the diagnoses of an instant: its statements are sent once for all fields of a request.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dataloader::Loader;
use chrono::{DateTime, DurationRound, TimeDelta, Utc};

use super::StoreLoader;
use crate::domain::diagnosis::{Diagnosis, diagnose};
use crate::domain::window::Window;
use crate::error::Error;
use crate::store::diagnosis::{CALLS_AT_ONCE, LOGS_AT_ONCE, WindowCalls, read};
use crate::store::error_log::SHORT_BYTES;

/// The diagnoses at an instant, from the 24 hours before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DiagnosesAt(pub DateTime<Utc>);

/// The calls of a window and their diagnoses.
pub struct DiagnosedWindow {
    pub window: WindowCalls,
    pub diagnoses: Vec<Diagnosis>,
}

impl DiagnosesAt {
    /// From the full hour 24 hours before, so that a diagnosis does not change with each call that leaves the
    /// window. None before the year 1.
    fn window(self) -> Option<Window> {
        let day = Window::last(TimeDelta::hours(24), self.0)?;
        Some(Window { since: day.since.duration_trunc(TimeDelta::hours(1)).ok()?, ..day })
    }
}

impl Loader<DiagnosesAt> for StoreLoader {
    type Value = Arc<DiagnosedWindow>;
    type Error = Error;

    async fn load(
        &self,
        instants: &[DiagnosesAt],
    ) -> Result<HashMap<DiagnosesAt, Arc<DiagnosedWindow>>, Error> {
        self.batch("diagnosis", instants.len());
        let (db, answer) = (&self.request.services.db, &self.request.answer);
        // A second batch waits for the first, and finds its result.
        let mut found = self.diagnosed.lock().await;
        for at in instants {
            if found.contains_key(at) {
                continue;
            }
            let window = at.window().ok_or_else(|| {
                Error::bad_input("asOf", "the window would start before the year 1")
            })?;
            let window = {
                let _calls = answer.read_page(CALLS_AT_ONCE, 0)?;
                let _texts = answer.read_page(LOGS_AT_ONCE, SHORT_BYTES)?;
                read(db, window, &|bytes| answer.reserve(bytes)).await?
            };
            let as_of = at.0.timestamp_micros();
            // Up to 60 ms of a processor for a million calls.
            let work = move || {
                let diagnoses = diagnose(&window.calls, &window.past, as_of);
                Arc::new(DiagnosedWindow { window, diagnoses })
            };
            found.insert(*at, tokio::task::spawn_blocking(work).await.map_err(Error::internal)?);
        }
        Ok(found.clone())
    }
}
