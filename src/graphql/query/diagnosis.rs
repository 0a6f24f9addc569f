//! `diagnoses`.

use async_graphql::{Context, Object};
use chrono::TimeDelta;

use crate::domain::diagnosis;
use crate::graphql::args::{Period, TimeRange, WindowArgs, check_list, page_size};
use crate::graphql::error::{Failure, Result};
use crate::graphql::id::DiagnosisName;
use crate::graphql::loader::diagnosis::DiagnosesAt;
use crate::graphql::scalar::DateTime;
use crate::graphql::scope::{Scope, count_list, read_scope};
use crate::graphql::types::diagnosis::{Cause, Diagnosis};

#[derive(Default)]
pub struct DiagnosisQuery;

#[Object]
impl DiagnosisQuery {
    /// What is wrong: the causes of the failed calls, those that last at the end of the window and those that
    /// ended within it. The most severe first, of equal ones the newest. The window is at most 24 hours.
    /// For any window the calls of the 24 hours before its end are read, since the usual rates are needed;
    /// they are at most 1,000,000. The same calls give the same diagnoses on every server, also for the past.
    /// Without `asOf` and `between`, the diagnoses are up to ten seconds old, or ten times as old as the time
    /// that their computation takes.
    async fn diagnoses(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "A window that ends at `asOf`. Give this or `between`.")] period: Option<
            Period,
        >,
        #[graphql(desc = "A window between two instants. Give this or `period`.")] between: Option<
            TimeRange,
        >,
        #[graphql(desc = "The end of `period`; now by default.")] as_of: Option<DateTime>,
        #[graphql(desc = "Only these causes; all by default.")] causes: Option<Vec<Cause>>,
        #[graphql(desc = "The number of diagnoses.", default = 50)] first: Option<i32>,
    ) -> Result<Vec<Diagnosis>> {
        let scope = read_scope(ctx)?;
        let argument = if period.is_some() { "period" } else { "between" };
        let is_current = between.is_none() && as_of.is_none();
        let window = WindowArgs { period, between, as_of, time_zone: None }.window(scope)?;
        if window.length() > TimeDelta::hours(24) {
            let message = "`diagnoses` covers at most 24 hours: choose a shorter window";
            return Err(Failure::bad_input(argument, message));
        }
        check_list(causes.as_ref())?;
        let limit = page_size(scope, "first", first.unwrap_or(50))?;
        let causes: Option<Vec<diagnosis::Cause>> =
            causes.map(|causes| causes.into_iter().map(Into::into).collect());
        let at = (!is_current).then_some(window.until);
        let Some(found) = scope.loader().load_one(DiagnosesAt(at)).await? else {
            return Ok(vec![]);
        };
        let mut found = Diagnosis::select(&found, |diagnosis| {
            causes.as_ref().is_none_or(|causes| causes.contains(&diagnosis.get().cause))
                && diagnosis.until().is_none_or(|until| until >= window.since)
        });
        found.truncate(limit as usize);
        count_list(ctx, &found, |_| 0)?;
        Ok(found)
    }
}

/// The diagnosis with this name: at the present time, or 23 hours after its start if that is earlier. None if
/// its calls were deleted or the diagnosis changed.
pub async fn find(scope: &Scope, name: &DiagnosisName) -> Result<Option<Diagnosis>> {
    for at in [None, name.later().filter(|later| *later < scope.now)] {
        let found = scope.loader().load_one(DiagnosesAt(at)).await?;
        let all = found.map(|found| Diagnosis::select(&found, |_| true)).unwrap_or_default();
        if let Some(found) = all.into_iter().find(|diagnosis| diagnosis.name(scope) == *name) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
