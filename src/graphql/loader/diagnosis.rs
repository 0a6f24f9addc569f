//! Loads the diagnoses of an instant: its statements are sent once for all fields of a request.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dataloader::Loader;
use chrono::{DateTime, Utc};

use super::StoreLoader;
use crate::diagnoses::{DiagnosedWindow, DiagnosisRef};
use crate::domain::window::Window;
use crate::error::Error;

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
        let services = &self.request.services;
        let memory = &*self.request.answer;
        // A second batch waits for the first, and finds its result.
        let mut found = self.diagnosed.lock().await;
        for at in instants {
            if found.contains_key(at) {
                continue;
            }
            let diagnosed = match at.0 {
                Some(at) => services.diagnoses.at(at, memory).await?,
                None => services.diagnoses.get(self.request.now, memory).await?,
            };
            found.insert(*at, diagnosed);
        }
        Ok(found.clone())
    }
}

/// The diagnoses of a window of more than a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DiagnosesOf {
    pub window: Window,
    /// Whether it ends now.
    pub is_current: bool,
}

impl Loader<DiagnosesOf> for StoreLoader {
    type Value = Arc<[DiagnosisRef]>;
    type Error = Error;

    async fn load(
        &self,
        windows: &[DiagnosesOf],
    ) -> Result<HashMap<DiagnosesOf, Arc<[DiagnosisRef]>>, Error> {
        self.batch("diagnoses_of_days", windows.len());
        let services = &self.request.services;
        let memory = &*self.request.answer;
        let mut found = HashMap::new();
        for of in windows {
            let diagnosed = services.diagnoses.within(of.window, of.is_current, memory).await?;
            found.insert(*of, diagnosed.into());
        }
        Ok(found)
    }
}
