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
/// model and status code, with those of the calls. Days of which calls may be deleted are left out. Two
/// statements for each day and comparison.
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

/// Compares one day and returns its calls.
async fn compare(
    db: &Database,
    by: &[CallDimension],
    start: Micros,
    verified: &mut Verified,
) -> Result<i64> {
    let scope = CallScope::default();
    let request = SumRequest {
        scope: &scope,
        by,
        latency: true,
        spans: vec![(Numbering::One(0), start..start + Level::KeyDay.length())],
        borders: &[],
        with_deleted: true,
    };
    for attempt in 1.. {
        let cells = sums(db, "rollup.verify_cells", &request).await?;
        let cells = by_group(cells.ok_or_else(|| Error::internal("the rollups are not used"))?);
        let calls = by_group(sums_of_calls(db, "rollup.verify_calls", &request).await?);
        let is_equal = cells.len() == calls.len()
            && calls.iter().all(|(group, sum)| {
                let found = cells.get(group);
                found.is_some_and(|found| {
                    (found.counts, &found.latencies) == (sum.counts, &sum.latencies)
                })
            });
        let total = |sums: &HashMap<Group, Sum>| sums.values().map(|sum| sum.counts.total).sum();
        if is_equal {
            return Ok(total(&calls));
        }
        if attempt == ATTEMPTS {
            let (in_cells, counted): (i64, i64) = (total(&cells), total(&calls));
            let day = stored(start).date();
            let groups = if by.len() > 2 { "by key" } else { "without keys" };
            verified.differences.push(format!(
                "{day}, {groups}: {in_cells} calls in {} groups in the rollups, {counted} in {}",
                cells.len(),
                calls.len()
            ));
            return Ok(counted);
        }
    }
    Ok(0)
}

fn by_group(sums: Vec<Sum>) -> HashMap<Group, Sum> {
    sums.into_iter().map(|sum| (sum.group.clone(), sum)).collect()
}
