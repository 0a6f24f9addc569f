//! Reads the calls of a window as columns, with the class of each failure, for the diagnosis.

use std::cmp::Reverse;
use std::collections::HashMap;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};

use super::call::{self, CallCursor, CallListQuery, CallOrder, CallRow, CallScope};
use super::call_group;
use super::database::Database;
use super::error_group::{self, ErrorSeriesQuery};
use super::error_list::{self, ErrorListQuery};
use super::error_log::{ErrorScope, ReserveMemory};
use super::page::PageRequest;
use crate::domain::diagnosis::{Calls, NO_LATENCY, NONE, Outcome, Past};
use crate::domain::failure::{FailureClass, StatedQuota, classify};
use crate::domain::matching::{Candidate, Candidates, Probe};
use crate::domain::quota::Refusal;
use crate::domain::window::Window;
use crate::error::{Error, Result};

/// The most calls of a window.
pub const MAX_CALLS: usize = 1_000_000;
/// Calls of one statement: their rows are larger than their columns.
pub const CALLS_AT_ONCE: u32 = 20_000;
/// Memory of a call in the columns and in the evidence, and of a name without its text, in bytes.
const CALL_MEMORY: u64 = 128;
const NAME_MEMORY: u64 = 128;

/// The most keys and models that are diagnosed, those with the most calls: clients of the gateway choose the
/// names of models. Other calls count as those without a key or a model.
const MAX_KEYS: usize = 5000;
const MAX_MODELS: usize = 100;

/// The texts of error logs are read for pieces of this length, so many at most of each, since a text costs
/// more than a call. A failure without a text has the class of one near it.
const PIECE: TimeDelta = TimeDelta::minutes(15);
const LOGS_OF_PIECE: u32 = 125;
/// Error logs of one statement.
pub const LOGS_AT_ONCE: u32 = 20 * LOGS_OF_PIECE;
/// The most error logs of 25 hours.
pub const MOST_LOGS: u64 = 100 * LOGS_OF_PIECE as u64;

/// The largest distance between a failed call and its error log.
const LOG_WINDOW: TimeDelta = TimeDelta::seconds(300);

/// The start of a fault before the window is searched for so many keys, and for so long.
const EARLIER_KEYS: usize = 200;
const EARLIER: TimeDelta = TimeDelta::days(31);

/// A silence that starts earlier before the window is found in the window before.
const SILENCE_STARTS_WITHIN: TimeDelta = TimeDelta::hours(2);

/// The calls of a window, and the names of their indexes.
pub struct WindowCalls {
    pub calls: Calls,
    pub keys: Vec<String>,
    pub models: Vec<String>,
    /// The error log of a failed call, by the index of the call.
    pub error_logs: HashMap<u32, i64>,
    /// What the texts of failed calls state about quotas.
    pub refusals: Vec<Refusal>,
    pub past: Past,
}

/// A failed call.
struct Failed {
    call: u32,
    at: NaiveDateTime,
    code: Option<i32>,
}

/// An error log with what its text states.
struct Logged {
    code: Option<i32>,
    class: FailureClass,
    stated: Option<Stated>,
}

/// What a text states about quotas.
#[derive(Clone)]
struct Stated {
    quotas: Vec<StatedQuota>,
    retry_at: Option<i64>,
    project: Option<u32>,
}

/// Reads the calls of a window. One statement for 20,000 calls, for 2,500 error logs, and for 100 keys that
/// failed before. More than [`MAX_CALLS`] are an error.
pub async fn read(
    db: &Database,
    window: Window,
    reserve: ReserveMemory<'_>,
) -> Result<WindowCalls> {
    let (calls, logs) =
        tokio::try_join!(read_calls(db, window, reserve), read_error_logs(db, window, reserve))?;
    let (mut found, failed) = calls;
    let mut logged: HashMap<i64, Logged> = HashMap::new();
    let candidates = logs.into_iter().map(|(key, candidate, log)| {
        logged.insert(candidate.id, log);
        (key, candidate)
    });
    let candidates = Candidates::new(candidates);
    for Failed { call, at, code } in failed {
        let key = found.keys.get(found.calls.key[call as usize] as usize).cloned();
        let probe = key.map(|key| Probe { key, at, code, window: LOG_WINDOW });
        let log = probe.and_then(|probe| candidates.find(&probe)).map(|candidate| candidate.id);
        let Some((id, log)) = log.and_then(|id| Some((id, logged.get(&id)?))) else { continue };
        // An error log without a code says less than the code of its call.
        let is_vague = log.class == FailureClass::Unknown && log.code.is_none();
        if !is_vague {
            found.calls.outcome[call as usize] = Outcome::Logged(log.class);
        }
        found.error_logs.insert(call, id);
        if let Some(Stated { quotas, retry_at, project }) = log.stated.clone() {
            found.refusals.push(Refusal { call, quotas, retry_at, project });
        }
    }
    let WindowCalls { calls, keys, models, .. } = &mut found;
    keep_most_used(&mut calls.key, keys, MAX_KEYS);
    keep_most_used(&mut calls.model, models, MAX_MODELS);
    (calls.keys, calls.models) = (keys.len(), models.len());
    found.past = read_past(db, &found, window.since).await?;
    Ok(found)
}

/// Keeps the names with the most calls; the index of the others is [`NONE`].
fn keep_most_used(indexes: &mut [u32], names: &mut Vec<String>, most: usize) {
    if names.len() <= most {
        return;
    }
    let mut used = vec![0_u32; names.len()];
    for index in indexes.iter() {
        if let Some(used) = used.get_mut(*index as usize) {
            *used += 1;
        }
    }
    let mut kept: Vec<usize> = (0..names.len()).collect();
    kept.sort_by_key(|index| Reverse(used[*index]));
    kept.truncate(most);
    let mut new = vec![NONE; names.len()];
    for (number, index) in kept.iter().enumerate() {
        new[*index] = number as u32;
    }
    for index in indexes {
        *index = new.get(*index as usize).copied().unwrap_or(NONE);
    }
    *names = kept.into_iter().map(|index| std::mem::take(&mut names[index])).collect();
}

async fn read_calls(
    db: &Database,
    window: Window,
    reserve: ReserveMemory<'_>,
) -> Result<(WindowCalls, Vec<Failed>)> {
    let mut calls = Calls::default();
    let (mut keys, mut models) = (Names::default(), Names::default());
    let mut failed = Vec::new();
    let mut after = None;
    loop {
        let order = CallOrder::OldestFirst;
        let page = PageRequest { limit: CALLS_AT_ONCE, backward: false, after, before: None };
        let page =
            call::list(db, &CallListQuery { scope: CallScope::of(window), order, page }).await?;
        if calls.len() + page.rows.len() > MAX_CALLS {
            let message = format!(
                "the 24 hours before {} have more than {MAX_CALLS} calls, which is not supported",
                window.until.format("%Y-%m-%dT%H:%M:%SZ")
            );
            return Err(Error::bad_input("asOf", message));
        }
        reserve(page.rows.len() as u64 * CALL_MEMORY)?;
        for row in &page.rows {
            if !row.is_success() {
                let call = calls.len() as u32;
                failed.push(Failed { call, at: row.stored.at, code: row.status_code });
            }
            add(&mut calls, row, &mut keys, &mut models);
        }
        reserve(keys.take_new_memory() + models.take_new_memory())?;
        after = page.rows.last().map(|row| CallCursor::of(row, order));
        if !page.has_next_page {
            break;
        }
    }
    let (keys, models) = (keys.names, models.names);
    let (error_logs, refusals) = (HashMap::new(), vec![]);
    let past = Past::default();
    Ok((WindowCalls { calls, keys, models, error_logs, refusals, past }, failed))
}

fn add(calls: &mut Calls, row: &CallRow, keys: &mut Names, models: &mut Names) {
    // Stored local times of a skipped hour are not in order.
    let at = row.timestamp.timestamp_micros();
    calls.at.push(calls.at.last().map_or(at, |last| at.max(*last)));
    calls.key.push(keys.index(row.key.as_deref()));
    calls.model.push(models.index(row.model.as_deref()));
    calls.status.push(row.status_code.and_then(|code| u16::try_from(code).ok()).unwrap_or(0));
    let latency = row.latency_ms.and_then(|latency| u32::try_from(latency).ok());
    calls.latency_ms.push(latency.unwrap_or(NO_LATENCY));
    calls.outcome.push(if row.is_success() {
        Outcome::Success
    } else {
        Outcome::Unlogged(classify(None, row.status_code, None).class)
    });
}

async fn read_error_logs(
    db: &Database,
    window: Window,
    reserve: ReserveMemory<'_>,
) -> Result<Vec<(String, Candidate, Logged)>> {
    let mut queries = Vec::new();
    let mut since = window.since - LOG_WINDOW;
    while since < window.until + LOG_WINDOW {
        let until = since + PIECE;
        let scope = ErrorScope { since: Some(since), until: Some(until), ..ErrorScope::default() };
        let page = PageRequest { limit: LOGS_OF_PIECE, backward: false, after: None, before: None };
        queries.push(ErrorListQuery { scope, newest_first: false, page });
        since = until;
    }
    let (mut found, mut projects) = (Vec::new(), Names::default());
    for part in queries.chunks((LOGS_AT_ONCE / LOGS_OF_PIECE) as usize) {
        for row in
            error_list::list_many(db, part, reserve).await?.into_iter().flat_map(|it| it.rows)
        {
            let (message, error_type) = (row.message.as_deref(), row.error_type.as_deref());
            let failure = classify(message, row.error_code, error_type);
            let retry_at = failure.retry_at(row.timestamp).map(|at| at.timestamp_micros());
            let states_quota =
                !failure.quotas.is_empty() || retry_at.is_some() || failure.project.is_some();
            let stated = states_quota.then(|| Stated {
                retry_at,
                project: failure.project.as_deref().map(|name| projects.index(Some(name))),
                quotas: failure.quotas,
            });
            let log = Logged { code: row.error_code, class: failure.class, stated };
            let candidate = Candidate { at: row.stored.at, id: row.id, code: row.error_code };
            found.extend(row.key.map(|key| (key, candidate, log)));
        }
    }
    Ok(found)
}

/// The last call shortly before the window; since when the keys fail that fail at their first call in the window, and
/// their last success.
async fn read_past(db: &Database, found: &WindowCalls, until: DateTime<Utc>) -> Result<Past> {
    let mut keys = found.calls.keys_that_fail_first();
    keys.truncate(EARLIER_KEYS);
    let Some(start) = until.checked_sub_signed(EARLIER) else { return Ok(Past::default()) };
    let any = CallScope::of(Window { since: until - SILENCE_STARTS_WITHIN, until });
    let of_key = |key: u32, since: DateTime<Utc>, success: bool| CallScope {
        keys: Some(vec![found.keys[key as usize].clone()]),
        success: Some(success),
        ..CallScope::of(Window { since, until })
    };
    let successes = keys.iter().map(|key| of_key(*key, start, true));
    let newest: Vec<_> = successes.chain([any]).collect();
    let mut successes = edge_calls(db, &newest, CallOrder::NewestFirst).await?;
    let last_call = successes.pop().flatten().map(|at| at.timestamp_micros());
    let failures = keys.iter().zip(&successes);
    let failures = failures.map(|(key, success)| of_key(*key, success.unwrap_or(start), false));
    let failures = edge_calls(db, &failures.collect::<Vec<_>>(), CallOrder::OldestFirst).await?;
    let of_keys = |found_at: &[Option<DateTime<Utc>>]| {
        let mut times = vec![None; found.keys.len()];
        for (key, at) in keys.iter().zip(found_at) {
            times[*key as usize] = at.map(|at| at.timestamp_micros());
        }
        times
    };
    Ok(Past { failing_since: of_keys(&failures), last_success: of_keys(&successes), last_call })
}

/// The time of the first call of each scope in an order.
pub async fn edge_calls(
    db: &Database,
    scopes: &[CallScope],
    order: CallOrder,
) -> Result<Vec<Option<DateTime<Utc>>>> {
    let queries: Vec<_> = scopes.iter().map(|scope| edge(scope.clone(), order)).collect();
    let pages = call::list_many(db, &queries).await?;
    Ok(pages.iter().map(|page| Some(page.rows.first()?.timestamp)).collect())
}

/// The first call of a scope.
fn edge(scope: CallScope, order: CallOrder) -> CallListQuery {
    let page = PageRequest { limit: 1, backward: false, after: None, before: None };
    CallListQuery { scope, order, page }
}

/// The rows of a day.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct DayCounts {
    pub calls: i64,
    pub failed: i64,
    pub error_logs: i64,
}

/// The rows between two of `bounds` each. Deleted calls may be counted, as in all statistics.
pub async fn day_counts(db: &Database, bounds: &[DateTime<Utc>]) -> Result<Vec<DayCounts>> {
    let (Some(since), Some(until)) = (bounds.first().copied(), bounds.last().copied()) else {
        return Ok(vec![]);
    };
    let calls = CallScope::of(Window { since, until });
    let logs = ErrorSeriesQuery {
        scope: ErrorScope { since: Some(since), until: Some(until), ..ErrorScope::default() },
        bounds: bounds.to_vec(),
    };
    let logs = [logs];
    let (calls, logs) = tokio::join!(
        call_group::series(db, &calls, bounds, false),
        error_group::series_many(db, &logs)
    );
    let logs = logs.into_iter().next().transpose()?.unwrap_or_default();
    let counts = calls?.into_iter().zip(logs).map(|(calls, error_logs)| DayCounts {
        calls: calls.counts.total,
        failed: calls.counts.failure(),
        error_logs,
    });
    Ok(counts.collect())
}

/// The indexes of names, in order of their first use.
#[derive(Default)]
struct Names {
    indexes: HashMap<String, u32>,
    names: Vec<String>,
    new_memory: u64,
}

impl Names {
    /// The memory of the names since the last call, in bytes.
    fn take_new_memory(&mut self) -> u64 {
        std::mem::take(&mut self.new_memory)
    }

    fn index(&mut self, name: Option<&str>) -> u32 {
        let Some(name) = name else { return NONE };
        if let Some(index) = self.indexes.get(name) {
            return *index;
        }
        let index = self.names.len() as u32;
        self.new_memory += 2 * name.len() as u64 + NAME_MEMORY;
        self.names.push(name.to_owned());
        self.indexes.insert(name.to_owned(), index);
        index
    }
}
