//! `diagnoses`.

use async_graphql::{Context, Object};
use chrono::TimeDelta;

use crate::diagnoses::{DiagnosedWindow, DiagnosisRef};
use crate::domain::diagnosis;
use crate::domain::window::Window;
use crate::graphql::args::{Period, TimeRange, WindowArgs, check_list, page_size};
use crate::graphql::error::{Failure, Result};
use crate::graphql::id::DiagnosisName;
use crate::graphql::loader::diagnosis::{DiagnosesAt, DiagnosesOf};
use crate::graphql::scalar::{DateTime, TimeZone};
use crate::graphql::scope::{Scope, count_list, read_scope};
use crate::graphql::types::diagnosis::{Cause, Diagnosis};

/// A window of up to a day is diagnosed at once, a longer one day by day.
const DAY: TimeDelta = TimeDelta::hours(24);
/// The longest month, with the hour of a clock change, and a day more.
const MAX_WINDOW: TimeDelta = TimeDelta::days(32);

/// The end of a diagnosis that is requested by its id is searched for so long, of one of a key up to now.
pub const MAX_END: TimeDelta = TimeDelta::days(2);

#[derive(Default)]
pub struct DiagnosisQuery;

#[Object]
impl DiagnosisQuery {
    /// What is wrong: the causes of the failed calls, those that last at the end of the window and those that
    /// ended within it. The most severe first, of equal ones the newest. The window is at most 32 days,
    /// and ends at most now.
    ///
    /// For a window of up to 24 hours, the calls of the 24 hours before its end are read, since the usual rates
    /// are needed; they are at most 1,000,000. A longer window is diagnosed in parts of 24 hours, and a cause
    /// that lasts from one part to the next is one diagnosis. If the next part does not show it, it ends with
    /// the first success of its keys and models on that day, or else with its last failure.
    ///
    /// The same calls give the same diagnoses on every server, also for the past. Without `asOf` and `between`,
    /// the diagnoses are up to ten seconds old, or ten times as old as the time that their computation takes;
    /// those of earlier parts are computed again when the number of their calls, failed calls or error logs
    /// changes, and every hour.
    #[expect(clippy::too_many_arguments, reason = "the arguments of the contract")]
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
        #[graphql(desc = "The time zone of calendar months; the server's by default.")]
        time_zone: Option<TimeZone>,
        #[graphql(desc = "Only these causes; all by default.")] causes: Option<Vec<Cause>>,
        #[graphql(desc = "The number of diagnoses.", default = 50)] first: Option<i32>,
    ) -> Result<Vec<Diagnosis>> {
        let scope = read_scope(ctx)?;
        let argument = if period.is_some() { "period" } else { "between" };
        let is_current = between.is_none() && as_of.is_none();
        let mut window = WindowArgs { period, between, as_of, time_zone }.window(scope)?;
        if window.length() > MAX_WINDOW {
            let message = "`diagnoses` covers at most 32 days: choose a shorter window";
            return Err(Failure::bad_input(argument, message));
        }
        // Calls that are not yet sent are not missing.
        window.until = window.until.min(scope.now);
        if window.since >= window.until {
            return Ok(vec![]);
        }
        check_list(causes.as_ref())?;
        let limit = page_size(scope, "first", first.unwrap_or(50))?;
        let causes: Option<Vec<diagnosis::Cause>> =
            causes.map(|causes| causes.into_iter().map(Into::into).collect());
        let is_selected = |diagnosis: &DiagnosisRef| {
            causes.as_ref().is_none_or(|causes| causes.contains(&diagnosis.get().cause))
                && diagnosis.until().is_none_or(|until| until >= window.since)
        };
        let mut found = if window.length() > DAY {
            let of = DiagnosesOf { window, is_current };
            let found = scope.loader().load_one(of).await?;
            Diagnosis::select(found.iter().flat_map(|found| found.iter().cloned()), is_selected)
        } else {
            let at = DiagnosesAt((!is_current).then_some(window.until));
            let found = scope.loader().load_one(at).await?;
            Diagnosis::select(found.iter().flat_map(DiagnosedWindow::all), is_selected)
        };
        found.truncate(limit as usize);
        count_list(ctx, &found, |_| 0)?;
        Ok(found)
    }
}

/// The diagnosis with this name: at the present time, or else 23 hours after its start; if it lasts then, its end
/// is searched for [`MAX_END`]. None if its calls were deleted or the diagnosis changed.
pub async fn find(scope: &Scope, name: &DiagnosisName) -> Result<Option<Diagnosis>> {
    let loader = scope.loader();
    let is_it = |diagnosis: &DiagnosisRef| Diagnosis(diagnosis.clone()).name(scope) == *name;
    let at = async |at| -> Result<Option<DiagnosisRef>> {
        Ok(loader.load_one(DiagnosesAt(at)).await?.and_then(|found| found.all().find(is_it)))
    };
    if let Some(found) = at(None).await? {
        return Ok(Some(Diagnosis(found)));
    }
    let Some(later) = name.later().filter(|later| *later < scope.now) else { return Ok(None) };
    let Some(found) = at(Some(later)).await? else { return Ok(None) };
    if found.until().is_some() {
        return Ok(Some(Diagnosis(found)));
    }
    let since = found.get().since;
    let window = Window { since, until: scope.now.min(since + MAX_END) };
    let of = DiagnosesOf { window, is_current: window.until == scope.now };
    let whole = loader.load_one(of).await?;
    let whole = whole.and_then(|whole| whole.iter().find(|diagnosis| is_it(diagnosis)).cloned());
    let (found, at) = whole.map_or((found, later), |whole| (whole, window.until));
    if found.until().is_some() {
        return Ok(Some(Diagnosis(found)));
    }
    Ok(Some(Diagnosis(scope.services.diagnoses.with_end(&found, at, scope.now).await?)))
}
