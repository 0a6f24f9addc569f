//! Compares the rollups with the calls.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::read::{Group, Numbering, Sum, SumRequest, sums, sums_of_calls};
use super::state::{observe, refresh};
use super::{micros, stored};
use crate::domain::rollup::{Level, Micros};
use crate::error::{Error, Result};
use crate::store::call::CallScope;
use crate::store::call_dimension::CallDimension;
use crate::store::database::Database;

/// Attempts for a day in which calls are recorded meanwhile.
const ATTEMPTS: usize = 5;

/// The result of a comparison.
#[derive(Debug, Default)]
pub struct Verified {
    pub days: usize,
    pub calls: i64,
    /// A text for each day that differs.
    pub differences: Vec<String>,
}

/// Compares the counts and latencies of each day of `[since, until)`, by key, model and status code, and by
/// model and status code, with those of the calls: the cells of days, and those of hours. Days of which calls may
/// be deleted are left out. Six statements for each day.
pub async fn verify(
    db: &Database,
    since: Option<DateTime<Utc>>,
    until: DateTime<Utc>,
) -> Result<Verified> {
    let mut verified = Verified::default();
    refresh(db).await?;
    let Some(observed) = observe(db).await? else { return Ok(verified) };
    let stored_micros = |at: DateTime<Utc>| micros(db.zone().to_stored(at));
    let kept_since = observed.state.kept_since_with(observed.oldest).unwrap_or(Micros::MIN);
    let first = since.map(stored_micros).or(observed.oldest).unwrap_or(0);
    let mut start = Level::KeyDay.ceil(kept_since.max(Level::KeyDay.floor(first)));
    while start < stored_micros(until) {
        let by_key = [CallDimension::ApiKey, CallDimension::Model, CallDimension::StatusCode];
        compare(db, &by_key, start, &mut verified).await?;
        verified.calls += compare(db, &by_key[1..], start, &mut verified).await?;
        verified.days += 1;
        start += Level::KeyDay.length();
    }
    Ok(verified)
}

/// Compares the cells of one day with its calls, and returns how many these are.
async fn compare(
    db: &Database,
    by: &[CallDimension],
    start: Micros,
    verified: &mut Verified,
) -> Result<i64> {
    let scope = CallScope::default();
    let request = |borders| SumRequest {
        scope: &scope,
        by,
        latency: true,
        spans: vec![(Numbering::One(0), start..start + Level::KeyDay.length())],
        borders,
        with_deleted: true,
    };
    let hour = [start + Level::Hour.length()];
    for attempt in 1.. {
        let mut different = None;
        let mut of_borders = vec![];
        for borders in [&[], &hour[..]] {
            let cells = sums(db, "rollup.verify_cells", &request(borders)).await?;
            let cells = cells.ok_or_else(|| Error::internal("the rollups are not used"))?;
            of_borders.push((borders, by_group(cells)));
        }
        let calls = by_group(sums_of_calls(db, "rollup.verify_calls", &request(&[])).await?);
        for (borders, cells) in of_borders {
            if !is_equal(&cells, &calls) {
                let interval = if borders.is_empty() { "days" } else { "hours" };
                different = Some((interval, cells));
            }
        }
        let total = |sums: &HashMap<Group, Sum>| sums.values().map(|sum| sum.counts.total).sum();
        let counted: i64 = total(&calls);
        let Some((interval, cells)) = different else { return Ok(counted) };
        if attempt == ATTEMPTS {
            let in_cells: i64 = total(&cells);
            let day = stored(start).date();
            let groups = if by.len() > 2 { "by key" } else { "without keys" };
            verified.differences.push(format!(
                "{day}, {groups}: {in_cells} calls in {} groups in the rollups of {interval}, {counted} in {}",
                cells.len(),
                calls.len()
            ));
            return Ok(counted);
        }
    }
    Ok(0)
}

fn is_equal(cells: &HashMap<Group, Sum>, calls: &HashMap<Group, Sum>) -> bool {
    cells.len() == calls.len()
        && calls.iter().all(|(group, sum)| {
            let found = cells.get(group);
            found.is_some_and(|found| {
                (found.counts, &found.latencies) == (sum.counts, &sum.latencies)
            })
        })
}

fn by_group(sums: Vec<Sum>) -> HashMap<Group, Sum> {
    sums.into_iter().map(|sum| (sum.group.clone(), sum)).collect()
}
