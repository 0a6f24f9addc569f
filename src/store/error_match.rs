//! Finds the error logs of failed calls, with one statement for all calls of a request. The rules are in
//! [`crate::domain::matching`].

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{NaiveDateTime, TimeDelta};
use sea_orm::sea_query::Condition;

use super::database::Database;
use super::error_log::{ErrorLogRow, ReserveMemory, find, read_messages};
use super::list;
use super::rows::{int, row, select_columns};
use super::source::Source;
use super::stored_time::StoredTime;
use crate::domain::matching::{Candidate, Candidates, Probe};
use crate::domain::table::{GEMINI_KEY, LogTable};
use crate::error::Result;

/// The most ranges of one statement. With more, the planners of the databases are slow.
const MAX_RANGES: usize = 250;
/// Keys of one span.
const MAX_KEYS: usize = 5000;

/// A read of whole spans may cover at most so many times the length of the windows.
const MAX_EXCESS: i32 = 10;

/// The error logs of some keys in `[since, until)`.
struct Range<'a> {
    keys: Vec<&'a String>,
    since: NaiveDateTime,
    until: NaiveDateTime,
}

impl Range<'_> {
    fn length(&self) -> TimeDelta {
        self.until - self.since
    }
}

/// The error log of each of `probes`, in their order. One statement if there are about as many error
/// logs near the probes as probes, as for a page of calls. If there are many more, or in many ranges,
/// their times and codes are read from the index first, then the rows that match.
pub async fn find_matches(
    db: &Database,
    probes: &[Probe],
    reserve: ReserveMemory<'_>,
) -> Result<Vec<Option<ErrorLogRow>>> {
    let mut found = find_rows(db, probes).await?;
    read_messages(db, Source::All, found.iter_mut().flatten(), reserve).await?;
    Ok(found)
}

/// The same without long messages.
async fn find_rows(db: &Database, probes: &[Probe]) -> Result<Vec<Option<ErrorLogRow>>> {
    let ranges = to_read(probes);
    if ranges.len() <= MAX_RANGES {
        let limit = probes.len() * 4 + 500;
        let rows = read_rows(db, &ranges, limit).await?;
        if rows.len() <= limit {
            return Ok(pick(rows, probes));
        }
    }
    let mut candidates = vec![];
    for chunk in ranges.chunks(MAX_RANGES) {
        candidates.extend(read_candidates(db, chunk).await?);
    }
    let candidates = Candidates::new(candidates);
    let found: Vec<_> = probes.iter().map(|probe| candidates.find(probe)).collect();
    let mut ids: Vec<i64> = found.iter().flatten().map(|candidate| candidate.id).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut rows = HashMap::new();
    for chunk in ids.chunks(1000) {
        rows.extend(find(db, Source::All, chunk).await?.into_iter().map(|row| (row.id, row)));
    }
    Ok(found.into_iter().map(|candidate| rows.get(&candidate?.id).cloned()).collect())
}

/// The windows of the probes. Too many windows that are close together become one span of all keys.
fn to_read(probes: &[Probe]) -> Vec<Range<'_>> {
    let windows = windows(probes);
    let ends = windows.iter().map(|range| range.since).min();
    let Some((since, until)) = ends.zip(windows.iter().map(|range| range.until).max()) else {
        return windows;
    };
    let keys: BTreeSet<&String> = probes.iter().map(|probe| &probe.key).collect();
    let keys = i32::try_from(keys.len()).map(|count| (count, Vec::from_iter(keys)));
    let covered: TimeDelta = windows.iter().map(Range::length).sum();
    match keys {
        Ok((count, keys))
            if windows.len() > MAX_RANGES && (until - since) * count <= covered * MAX_EXCESS =>
        {
            let spans = keys.chunks(MAX_KEYS);
            spans.map(|keys| Range { keys: keys.to_vec(), since, until }).collect()
        }
        _ => windows,
    }
}

fn pick(rows: Vec<ErrorLogRow>, probes: &[Probe]) -> Vec<Option<ErrorLogRow>> {
    let candidates = Candidates::new(rows.iter().filter_map(|row| {
        let candidate = Candidate { at: row.stored.at, id: row.id, code: row.error_code };
        Some((row.key.clone()?, candidate))
    }));
    let rows: HashMap<i64, ErrorLogRow> = rows.into_iter().map(|row| (row.id, row)).collect();
    probes.iter().map(|probe| rows.get(&candidates.find(probe)?.id).cloned()).collect()
}

/// The windows of the probes. Windows of one key that overlap are merged.
fn windows(probes: &[Probe]) -> Vec<Range<'_>> {
    let mut of_key: BTreeMap<&String, Vec<(NaiveDateTime, NaiveDateTime)>> = BTreeMap::new();
    for probe in probes {
        // Half open: other ranges are wrong for the texts of SQLite.
        let until = probe.at + probe.window + TimeDelta::microseconds(1);
        of_key.entry(&probe.key).or_default().push((probe.at - probe.window, until));
    }
    let mut merged = vec![];
    for (key, mut windows) in of_key {
        windows.sort_unstable();
        let mut current: Option<Range<'_>> = None;
        for (since, until) in windows {
            match &mut current {
                Some(range) if since <= range.until => range.until = range.until.max(until),
                _ => merged.extend(current.replace(Range { keys: vec![key], since, until })),
            }
        }
        merged.extend(current);
    }
    merged
}

fn condition(db: &Database, ranges: &[Range<'_>]) -> Condition {
    let dialect = db.dialect();
    ranges.iter().fold(Condition::any(), |any, range| {
        let keys = dialect.text_in(GEMINI_KEY, range.keys.iter().copied());
        let times = dialect.time_range(Some(range.since), Some(range.until));
        any.add(Condition::all().add(keys).add(times))
    })
}

async fn read_rows(db: &Database, ranges: &[Range<'_>], limit: usize) -> Result<Vec<ErrorLogRow>> {
    let mut select = list::select::<ErrorLogRow>(db);
    select.cond_where(condition(db, ranges)).limit(limit as u64 + 1);
    list::fetch(db, "error_match.rows", &select).await
}

async fn read_candidates(db: &Database, ranges: &[Range<'_>]) -> Result<Vec<(String, Candidate)>> {
    row! {
        struct Found {
            gemini_key: String,
            request_time: StoredTime,
            id: i64,
            error_code: Option<i64>,
        }
    }
    let mut select = select_columns::<Found>(db.dialect(), LogTable::ErrorLogs, &[]);
    select.from(Source::All.of(LogTable::ErrorLogs, db)).cond_where(condition(db, ranges));
    let rows = db.fetch::<Found>("error_match.candidates", &select).await?;
    let candidate = |row: Found| {
        let candidate =
            Candidate { at: row.request_time.at, id: row.id, code: int(row.error_code) };
        (row.gemini_key, candidate)
    };
    Ok(rows.into_iter().map(candidate).collect())
}
