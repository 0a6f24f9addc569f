//! The diagnoses of a window of more than a day: those of its days, joined.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use super::{
    CurrentDiagnoses, DiagnosisRef, Identity, MAX_EVIDENCE, Memory, SingleDiagnosis, window_of,
};
use crate::cache::{BoundedCache, CacheLimits};
use crate::domain::diagnosis::{CONTINUES_WITHIN, Cause};
use crate::domain::window::Window;
use crate::error::{Error, Result};
use crate::observe::request;
use crate::store::Database;
use crate::store::call::{CallOrder, CallScope};
use crate::store::diagnosis::{DayCounts, day_counts, edge_calls};

const DAY: TimeDelta = TimeDelta::hours(24);
/// The longest last part.
const LAST_DAY: TimeDelta = TimeDelta::hours(25);

/// The days of two windows of a month.
const DAYS: CacheLimits =
    CacheLimits { entries: 64, bytes: 32 * 1024 * 1024, bytes_each: 8 * 1024 * 1024 };
/// A day is computed again after this time, also if its counts are the same.
const VALID: Duration = Duration::from_secs(3600);
/// The end is searched for so many diagnoses, silences first.
const MAX_ENDS: usize = 100;
/// Error logs that are kept for a diagnosis of a day.
const EVIDENCE_OF_DAY: usize = 10;

/// The diagnoses of days, by the end of the day.
pub(super) type DayCache = BoundedCache<CachedDay>;

pub(super) fn day_cache() -> DayCache {
    BoundedCache::new(DAYS)
}

#[derive(Clone)]
pub(super) struct CachedDay {
    counts: DayCounts,
    computed: Instant,
    /// An error is that of too many calls.
    found: Result<Arc<[SingleDiagnosis]>>,
}

/// In bytes.
fn memory(day: &[SingleDiagnosis]) -> usize {
    let names = |names: &[String]| -> usize {
        names.iter().map(|name| size_of::<String>() + size_of::<u32>() + name.len()).sum()
    };
    let of_one = |one: &SingleDiagnosis| {
        let evidence = one.evidence.len() * size_of::<i64>();
        size_of::<SingleDiagnosis>() + names(&one.keys) + names(&one.models) + evidence
    };
    day.iter().map(of_one).sum()
}

impl CurrentDiagnoses {
    /// The diagnoses of a window of more than a day, unordered. The last 24 hours (up to 25) and each 24 hours
    /// before are diagnosed separately; a diagnosis that lasts at the end of a day and is found on the next day
    /// is one. One that is not found on the next day ends with the first success of its keys and models on that
    /// day, or with its last failure; SILENT with the next call.
    ///
    /// A day of the past is computed again if the number of its calls, failed calls or error logs has changed,
    /// and once an hour. Concurrent requests share its computation.
    pub async fn within(
        &self,
        window: Window,
        is_current: bool,
        memory: &dyn Memory,
    ) -> Result<Vec<DiagnosisRef>> {
        let last = match is_current {
            true => self.get(window.until, memory).await?,
            false => self.at(window.until, memory).await?,
        };
        let mut bounds = vec![window_of(last.at)?.since];
        while let Some(start) = bounds.last().filter(|start| **start > window.since) {
            bounds.push(window_of(*start)?.since);
        }
        bounds.reverse();
        let mut joined = JoinedDays::default();
        // The counts and the days have to be of one server.
        request::read_primary();
        let counts = day_counts(&self.db, &bounds).await?;
        for (day, counts) in bounds.windows(2).zip(counts) {
            let found = self.day(day[1], counts, memory).await?;
            memory.reserve(self::memory(&found) as u64)?;
            joined.add(day[0], found.iter().cloned());
        }
        if let [.., start] = bounds[..] {
            let found: Vec<_> = last.all().map(|found| found.single()).collect();
            memory.reserve(self::memory(&found) as u64)?;
            joined.add(start, found.into_iter());
        }
        let found = joined.finish(&self.db, last.at).await?;
        let overlaps = |found: &DiagnosisRef| found.until().is_none_or(|end| end >= window.since);
        Ok(found.into_iter().map(|found| found.into_ref(last.at)).filter(overlaps).collect())
    }

    /// The diagnoses of the 24 hours before a full hour.
    async fn day(
        &self,
        end: DateTime<Utc>,
        counts: DayCounts,
        memory: &dyn Memory,
    ) -> Result<Arc<[SingleDiagnosis]>> {
        let name = end.to_rfc3339();
        let is_valid = |day: &CachedDay| day.counts == counts && day.computed.elapsed() < VALID;
        if let Some(day) = self.days.get(&name).filter(is_valid) {
            return day.found;
        }
        let found = self.at(end, memory).await;
        let of_day = |found: DiagnosisRef| SingleDiagnosis {
            evidence: found.evidence(EVIDENCE_OF_DAY),
            ..found.single()
        };
        let found: Result<Arc<[_]>> = found.map(|found| found.all().map(of_day).collect());
        if matches!(found, Ok(_) | Err(Error::BadInput { .. })) {
            let bytes = found.as_ref().map_or(0, |found| self::memory(found));
            let day = CachedDay { counts, computed: Instant::now(), found: found.clone() };
            self.days.insert(name, bytes, day);
        }
        found
    }

    /// A diagnosis that lasted at `start`, with its end up to `until`: the first success of its key, unless calls
    /// succeed while it lasts.
    pub async fn with_end(
        &self,
        found: &DiagnosisRef,
        start: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<DiagnosisRef> {
        use Cause::{KeyDead, KeyUnpaid, QuotaExhausted, Silent};
        let single = found.single();
        let is_of_key = !single.keys.is_empty()
            && matches!(single.diagnosis.cause, KeyDead | KeyUnpaid | QuotaExhausted);
        if !is_of_key && single.diagnosis.cause != Silent {
            return Ok(found.clone());
        }
        let calls = single.next_calls(start, until);
        let ends = edge_calls(&self.db, &[calls], CallOrder::OldestFirst).await?;
        Ok(match ends.into_iter().next().flatten() {
            Some(end) => single.ended(end).into_ref(found.of.at),
            None => found.clone(),
        })
    }
}

/// The diagnoses of consecutive days.
#[derive(Default)]
struct JoinedDays {
    parts: HashMap<Identity, Vec<Joined>>,
}

struct Joined {
    of: SingleDiagnosis,
    /// It lasted at this end of a day and was not found on the next one.
    lost: Option<DateTime<Utc>>,
}

impl JoinedDays {
    /// Adds the diagnoses of the next day, which starts at `start`.
    fn add(&mut self, start: DateTime<Utc>, found: impl Iterator<Item = SingleDiagnosis>) {
        let mut added = Vec::new();
        for mut one in found {
            if let Some(parts) = self.parts.get_mut(&one.identity()) {
                let earlier: Vec<_> =
                    parts.extract_if(.., |earlier| earlier.is_part_of(&one, start)).collect();
                earlier.into_iter().rev().for_each(|earlier| one.join(earlier.of));
            }
            added.push(one);
        }
        for earlier in self.parts.values_mut().flatten() {
            if earlier.of.diagnosis.until.is_none() {
                earlier.lost.get_or_insert(start);
            }
        }
        for of in added {
            self.parts.entry(of.identity()).or_default().push(Joined { of, lost: None });
        }
    }

    /// All diagnoses, for a window that ends at `until`.
    async fn finish(self, db: &Database, until: DateTime<Utc>) -> Result<Vec<SingleDiagnosis>> {
        let (mut lost, found): (Vec<_>, Vec<_>) =
            self.parts.into_values().flatten().partition(|joined| joined.lost.is_some());
        let mut found: Vec<_> = found.into_iter().map(|joined| joined.of).collect();
        // Silences have no other end.
        lost.sort_by_key(|Joined { of, lost }| (!of.is_silent(), std::cmp::Reverse(*lost)));
        let mut lost: Vec<_> =
            lost.into_iter().filter_map(|Joined { of, lost }| Some((of, lost?))).collect();
        for (of, border) in lost.split_off(lost.len().min(MAX_ENDS)) {
            let end = border.max(of.diagnosis.since);
            found.push(of.ended(end));
        }
        let next = lost.iter().map(|(of, border)| match of.is_silent() {
            true => of.next_calls(*border, until),
            false => of.next_calls(*border, until.min(*border + LAST_DAY)),
        });
        let next = edge_calls(db, &next.collect::<Vec<_>>(), CallOrder::OldestFirst).await?;
        let last = lost.iter().map(|(of, border)| of.own_calls(*border)).collect::<Vec<_>>();
        let last = edge_calls(db, &last, CallOrder::NewestFirst).await?;
        for ((of, border), (next, last)) in lost.into_iter().zip(next.into_iter().zip(last)) {
            let since = of.diagnosis.since;
            let last = || (!of.is_silent()).then(|| last.unwrap_or(border).max(since));
            found.push(match next.or_else(last) {
                Some(end) => of.ended(end),
                None => of,
            });
        }
        Ok(found)
    }
}

impl Joined {
    /// Whether it is the same as `later`, which has the same cause, key and models, of a day that starts at `start`.
    fn is_part_of(&self, later: &SingleDiagnosis, start: DateTime<Utc>) -> bool {
        let later = &later.diagnosis;
        // The key was hardly used in between: `later` starts with its first failure.
        if let Some(end) = self.of.diagnosis.until.or(self.lost) {
            return later.since < end;
        }
        match later.cause {
            // It starts with the last call before it.
            Cause::Silent => later.since < start,
            _ if later.since <= start + TimeDelta::microseconds(CONTINUES_WITHIN) => true,
            // The last success is unknown.
            Cause::Slow => false,
            _ => later.last_success.is_none_or(|success| success < start),
        }
    }
}

impl SingleDiagnosis {
    /// Adds an earlier part. Keys, models and texts are those of the later part.
    fn join(&mut self, earlier: Self) {
        let (now, before) = (&mut self.diagnosis, earlier.diagnosis);
        let all =
            |failures: u64, share: f64| if share > 0.0 { failures as f64 / share } else { 0.0 };
        let all = all(now.failures, now.share) + all(before.failures, before.share);
        if before.since <= now.since {
            now.since = before.since;
            now.last_success = before.last_success;
        }
        now.failures += before.failures;
        now.successes += before.successes;
        now.share = if all > 0.0 { now.failures as f64 / all } else { 0.0 };
        now.severity = now.severity.max(before.severity);
        now.confidence = now.confidence.max(before.confidence);
        let ids = [earlier.evidence, std::mem::take(&mut self.evidence)].concat();
        let count = ids.len().min(MAX_EVIDENCE);
        self.evidence = (0..count).map(|index| ids[index * ids.len() / count]).collect();
    }

    fn ended(mut self, end: DateTime<Utc>) -> Self {
        self.diagnosis.until = Some(end);
        self
    }

    fn is_silent(&self) -> bool {
        self.diagnosis.cause == Cause::Silent
    }

    fn identity(&self) -> Identity {
        (self.diagnosis.cause, self.keys.clone(), self.models.clone())
    }

    /// The calls of which the first one ends it: the successes, for SILENT all calls.
    fn next_calls(&self, start: DateTime<Utc>, until: DateTime<Utc>) -> CallScope {
        self.calls(Window { since: start, until }, (!self.is_silent()).then_some(true))
    }

    /// The failed calls of the day up to `end`; for SLOW the successes.
    fn own_calls(&self, end: DateTime<Utc>) -> CallScope {
        let is_slow = self.diagnosis.cause == Cause::Slow;
        self.calls(Window { since: end - DAY, until: end }, Some(is_slow))
    }

    fn calls(&self, window: Window, success: Option<bool>) -> CallScope {
        let names = |names: &[String]| (!names.is_empty()).then(|| names.to_vec());
        CallScope {
            keys: names(&self.keys),
            models: names(&self.models),
            success,
            ..CallScope::of(window)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::diagnosis::{Diagnosis, Severity};
    use crate::domain::failure::Remedy;

    fn hour(hour: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::hours(hour)
    }

    /// Of a key: from an hour to an hour, with the last success before it.
    fn found(
        cause: Cause,
        key: &str,
        times: (i64, Option<i64>),
        success: Option<i64>,
    ) -> SingleDiagnosis {
        let diagnosis = Diagnosis {
            cause,
            severity: Severity::Warning,
            remedy: Remedy::Wait,
            keys: if key.is_empty() { vec![] } else { vec![0] },
            models: vec![],
            since: hour(times.0),
            until: times.1.map(hour),
            last_success: success.map(hour),
            failures: 10,
            successes: 1,
            share: 0.5,
            confidence: 0.9,
            status: None,
            class: None,
            calls: vec![],
        };
        let keys = if key.is_empty() { vec![] } else { vec![key.to_owned()] };
        SingleDiagnosis { diagnosis, keys, models: vec![], evidence: (0..80).collect() }
    }

    /// The diagnoses of two days of 24 hours each, and the lost ones of the first day.
    fn joined(first: SingleDiagnosis, second: SingleDiagnosis) -> (Vec<SingleDiagnosis>, usize) {
        let mut days = JoinedDays::default();
        days.add(hour(0), [first].into_iter());
        days.add(hour(24), [second].into_iter());
        let lost = days.parts.values().flatten().filter(|joined| joined.lost.is_some()).count();
        let found = days.parts.into_values().flatten().filter(|joined| joined.lost.is_none());
        (found.map(|joined| joined.of).collect(), lost)
    }

    #[test]
    fn a_fault_without_a_success_in_between_is_one() {
        let first = found(Cause::KeyDead, "a", (5, None), Some(4));
        let second = found(Cause::KeyDead, "a", (30, Some(40)), Some(4));
        let (all, lost) = joined(first, second);
        assert_eq!((all.len(), lost), (1, 0));
        let one = &all[0].diagnosis;
        assert_eq!(
            (one.since, one.until, one.last_success),
            (hour(5), Some(hour(40)), Some(hour(4)))
        );
        assert_eq!((one.failures, one.successes, one.share), (20, 2, 0.5));
        assert_eq!(all[0].evidence.len(), MAX_EVIDENCE);
    }

    #[test]
    fn a_success_a_key_or_a_cause_separates_faults() {
        use Cause::{KeyDead, QuotaExhausted, Silent, Slow};
        let dead = || found(KeyDead, "a", (5, None), Some(4));
        // The success is of the second day.
        let of_quota = |since, success| found(QuotaExhausted, "a", (since, None), success);
        for (first, second, count) in [
            (of_quota(5, None), of_quota(30, Some(29)), 2),
            (of_quota(5, None), of_quota(30, Some(23)), 1),
            (of_quota(5, None), of_quota(24, Some(24)), 1),
            (dead(), found(KeyDead, "b", (24, None), None), 2),
            (dead(), found(KeyDead, "a", (24, None), None), 1),
            (dead(), found(KeyDead, "", (24, None), None), 2),
            (dead(), of_quota(24, None), 2),
            // It ended before the second day.
            (
                found(KeyDead, "a", (5, Some(20)), None),
                found(KeyDead, "a", (24, None), Some(20)),
                2,
            ),
            // The last success before slow calls is unknown; a silence starts with a call.
            (found(Slow, "a", (5, None), None), found(Slow, "a", (30, None), None), 2),
            (found(Slow, "a", (5, None), None), found(Slow, "a", (24, None), None), 1),
            (found(Silent, "a", (5, None), None), found(Silent, "a", (24, None), None), 2),
            (found(Silent, "", (5, None), None), found(Silent, "", (5, Some(30)), None), 1),
        ] {
            let what = format!("{first:?} {second:?}");
            let (all, lost) = joined(first, second);
            assert_eq!(all.len() + lost, count, "{what}");
        }
    }

    #[test]
    fn a_fault_of_a_key_without_calls_for_days_is_one() {
        for first_end in [None, Some(7)] {
            let found_until = |since, until| found(Cause::Unknown, "a", (since, until), Some(1));
            let mut days = JoinedDays::default();
            days.add(hour(0), [found_until(5, first_end)].into_iter());
            days.add(hour(24), [].into_iter());
            days.add(hour(48), [].into_iter());
            // Since its first failure after the last success.
            days.add(hour(72), [found_until(5, Some(80))].into_iter());
            let ends = |days: &JoinedDays| {
                let all = days.parts.values().flatten();
                all.map(|one| (one.of.diagnosis.until, one.lost)).collect::<Vec<_>>()
            };
            assert_eq!(ends(&days), [(Some(hour(80)), None)]);
            let failures = days.parts.values().flatten().map(|one| one.of.diagnosis.failures);
            assert_eq!(failures.sum::<u64>(), 20);
            // It succeeded in between, so that its first failure is later.
            days.add(hour(96), [found_until(100, None)].into_iter());
            assert_eq!(ends(&days), [(Some(hour(80)), None), (None, None)]);
        }
    }
}
