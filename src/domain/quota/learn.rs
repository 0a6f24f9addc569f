//! Learns the quotas of all keys from the calls.

use std::collections::HashMap;

use crate::domain::diagnosis::{Calls, Diagnosis, NONE, Outcome};
use crate::domain::failure::{FailureClass as Class, QuotaMetric};

use super::cell::{CellReading, CellState, Context, StatedCeiling, read};
use super::history::{Answer, Cells, Kind, Run, answers, name_refusals, runs};
use super::pool::Faults;
use super::thresholds::{HOUR, MINUTE, SECOND, TRUSTED_DELAYS, TRUSTED_SHARE};
use super::window::{Calendar, Windows};
use super::window_evidence::WindowEvidence;
use super::{Activity, PoolQuotas, Refusal, groups};

pub(super) fn learn(
    calls: &Calls,
    refusals: &[Refusal],
    diagnoses: &[Diagnosis],
    as_of: i64,
) -> PoolQuotas {
    let mut answers = answers(calls);
    let keys: Vec<u32> = (0..calls.keys as u32).collect();
    let of_keys = Cells::new(calls, &keys);
    let mut named = answers.clone();
    name_refusals(calls, &mut named, &of_keys);
    let groups = groups::find(calls, refusals, &named, &of_keys);
    let owner = |key: &u32| match groups.groups.get(groups.of_key[*key as usize] as usize) {
        Some(group) => group.keys[0],
        None => *key,
    };
    let owner_of: Vec<u32> = keys.iter().map(owner).collect();
    let cells = Cells::new(calls, &owner_of);
    // Again, since calls of all keys of a group are accepted or refused by the same quotas.
    name_refusals(calls, &mut answers, &cells);
    let learner = Learner { calls, answers, cells, of_keys, as_of };
    let cells = learner.cells(refusals, &owner_of);
    let mut cell_of = HashMap::new();
    let mut cells_of = vec![Vec::new(); calls.keys];
    for (index, (pair, _)) in learner.cells.pairs.iter().zip(&cells).enumerate() {
        cell_of.insert(*pair, index as u32);
        cells_of[pair.0 as usize].push(index as u32);
    }
    PoolQuotas {
        as_of,
        groups: groups.groups,
        group_of: groups.of_key,
        owner_of,
        cells,
        cell_of,
        cells_of,
        faults: Faults::new(diagnoses),
        activity: activity(calls),
    }
}

fn activity(calls: &Calls) -> Vec<Activity> {
    let mut activity = vec![Activity::default(); calls.keys];
    for call in 0..calls.len() {
        let Some(of_key) = activity.get_mut(calls.key[call] as usize) else { continue };
        of_key.last_at = Some(calls.at[call]);
        match calls.outcome[call] {
            Outcome::Success => of_key.rejections = 0,
            Outcome::Logged(class) | Outcome::Unlogged(class) => {
                let is_rejection = matches!(
                    class,
                    Class::KeyInvalid | Class::KeySuspended | Class::KeyPermission | Class::Billing
                );
                of_key.rejections += u32::from(is_rejection);
            }
        }
    }
    activity
}

struct Learner<'a> {
    calls: &'a Calls,
    answers: Vec<Answer>,
    cells: Cells,
    of_keys: Cells,
    as_of: i64,
}

/// How refusals of one kind and model end.
#[derive(Clone, Default)]
struct Ends {
    /// Stated delays that were right, and all that could be checked.
    right: u32,
    checked: u32,
    durations: Vec<i64>,
}

impl Ends {
    fn is_trusted(&self) -> bool {
        self.checked >= TRUSTED_DELAYS
            && f64::from(self.right) >= TRUSTED_SHARE * f64::from(self.checked)
    }

    fn duration(&mut self) -> Option<i64> {
        self.durations.sort_unstable();
        self.durations.get(self.durations.len() / 2).copied()
    }
}

impl Learner<'_> {
    fn cells(&self, refusals: &[Refusal], owner_of: &[u32]) -> Vec<CellState> {
        let from = self.calls.at.first().copied().unwrap_or(self.as_of);
        let calendar = Calendar::new(from, self.as_of);
        let readings: Vec<CellReading> = (0..self.cells.pairs.len())
            .map(|cell| read(self.calls, &self.answers, self.cells.calls(cell)))
            .collect();
        let windows = self.windows(&readings, &calendar);
        let texts = Texts::new(self, refusals, owner_of);
        let ends = self.ends(&readings, &texts);
        let durations: Vec<[Option<i64>; Kind::COUNT]> =
            ends.iter().cloned().map(|kinds| kinds.map(|mut ends| ends.duration())).collect();
        let state = |(cell, reading): (usize, &CellReading)| {
            let model = self.cells.pairs[cell].1;
            let ends = &ends[model as usize];
            let trusted = |kind: Kind| {
                let last = texts.retries.get(&(cell as u32))?.last()?;
                let is_last = Some(last.at) == reading.refused[kind as usize] && last.kind == kind;
                (is_last && ends[kind as usize].is_trusted()).then_some(last.until)
            };
            let context = Context {
                calendar: &calendar,
                windows: windows[model as usize],
                // The calls are read from a full hour on.
                from: from - from.rem_euclid(HOUR),
                as_of: self.as_of,
                stated: texts.ceilings.get(&(cell as u32)).map_or(&[], Vec::as_slice),
                retry_at: [trusted(Kind::Minute), trusted(Kind::Tokens), trusted(Kind::Day)],
                duration: durations[model as usize],
            };
            reading.state(model, &context)
        };
        readings.iter().enumerate().map(state).collect()
    }

    /// The windows of each model.
    fn windows(&self, readings: &[CellReading], calendar: &Calendar) -> Vec<Windows> {
        let mut evidence = vec![WindowEvidence::default(); self.calls.models];
        for (reading, (_, model)) in readings.iter().zip(&self.cells.pairs) {
            evidence[*model as usize].add(reading);
        }
        // Days by key: a wrong group would look like a sliding day.
        for (cell, (_, model)) in self.of_keys.pairs.iter().enumerate() {
            let rows = self.of_keys.calls(cell);
            let is_day = |row: &u32| self.answers[*row as usize] == Answer::Refused(Kind::Day);
            if rows.iter().any(is_day) {
                let reading = read(self.calls, &self.answers, rows);
                evidence[*model as usize].add_days(&reading, calendar);
            }
        }
        let mut pool = WindowEvidence::default();
        for evidence in &evidence {
            pool.merge(evidence, 1.0);
        }
        evidence.into_iter().map(|evidence| evidence.windows(&pool)).collect()
    }

    /// By model and kind, how refusals end.
    fn ends(&self, readings: &[CellReading], texts: &Texts) -> Vec<[Ends; Kind::COUNT]> {
        let mut ends = vec![<[Ends; Kind::COUNT]>::default(); self.calls.models];
        for (cell, (_, model)) in self.cells.pairs.iter().enumerate() {
            if readings[cell].refused == [None; Kind::COUNT] {
                continue;
            }
            let rows = self.cells.calls(cell);
            let of_model = &mut ends[*model as usize];
            for run in runs(self.calls, &self.answers, rows) {
                if let Some(end) = run.ends {
                    of_model[run.kind as usize].durations.push(end - run.first);
                }
                let retries = texts.retries.get(&(cell as u32)).map_or(&[][..], Vec::as_slice);
                if let Some(is_right) = self.is_right(&run, retries, rows) {
                    let of_kind = &mut of_model[run.kind as usize];
                    of_kind.checked += 1;
                    of_kind.right += u32::from(is_right);
                }
            }
        }
        ends
    }

    /// Whether the last delay that was stated in a run was right: no call before it is accepted, and the first
    /// call after it is.
    fn is_right(&self, run: &Run, retries: &[StatedRetry], rows: &[u32]) -> Option<bool> {
        let end = retries.partition_point(|retry| retry.at <= run.last);
        // The last one says nothing about whether calls are refused after it.
        let of_run = retries[..end].iter().rev().take_while(|retry| retry.at >= run.first);
        let retry = of_run.last()?;
        let within = if run.kind.is_day() { 6 * HOUR } else { 5 * MINUTE };
        if retry.until <= run.last {
            return Some(false);
        }
        let accepted = run.ends?;
        if accepted < retry.until - 5 * SECOND {
            return Some(false);
        }
        let next = rows.partition_point(|row| self.calls.at[*row as usize] < retry.until);
        let next = rows.get(next).map(|row| self.calls.at[*row as usize])?;
        (next - retry.until <= within).then_some(next >= accepted)
    }
}

/// A delay that the provider stated.
#[derive(Clone, Copy)]
struct StatedRetry {
    kind: Kind,
    at: i64,
    until: i64,
}

/// What the texts state, by cell.
#[derive(Default)]
struct Texts {
    ceilings: HashMap<u32, Vec<StatedCeiling>>,
    /// In order of time.
    retries: HashMap<u32, Vec<StatedRetry>>,
}

impl Texts {
    fn new(learner: &Learner, refusals: &[Refusal], owner_of: &[u32]) -> Self {
        let mut texts = Self::default();
        let cells = learner.cells.pairs.iter().enumerate();
        let cell_of: HashMap<(u32, u32), u32> =
            cells.map(|(cell, pair)| (*pair, cell as u32)).collect();
        for refusal in refusals {
            let call = refusal.call as usize;
            let Some(answer) = learner.answers.get(call) else { continue };
            let owner = owner_of.get(learner.calls.key[call] as usize).copied().unwrap_or(NONE);
            let Some(cell) = cell_of.get(&(owner, learner.calls.model[call])) else { continue };
            let at = learner.calls.at[call];
            if let (Answer::Refused(kind), Some(until)) = (answer, refusal.retry_at) {
                let retry = StatedRetry { kind: *kind, at, until };
                texts.retries.entry(*cell).or_default().push(retry);
            }
            for quota in &refusal.quotas {
                let (Some(limit), Some(window)) = (quota.limit, quota.window) else { continue };
                texts.ceilings.entry(*cell).or_default().add(StatedCeiling {
                    metric: quota.metric.unwrap_or(QuotaMetric::Requests),
                    window_seconds: i64::try_from(window.as_secs()).unwrap_or(i64::MAX),
                    limit,
                    times: 1,
                });
            }
        }
        for retries in texts.retries.values_mut() {
            retries.sort_by_key(|retry| retry.at);
        }
        texts
    }
}

trait Add {
    fn add(&mut self, stated: StatedCeiling);
}

impl Add for Vec<StatedCeiling> {
    /// The latest limit of each quota.
    fn add(&mut self, stated: StatedCeiling) {
        let is_same = |it: &&mut StatedCeiling| {
            (it.metric, it.window_seconds) == (stated.metric, stated.window_seconds)
        };
        match self.iter_mut().find(is_same) {
            Some(known) => *known = StatedCeiling { times: known.times + 1, ..stated },
            None => self.push(stated),
        }
    }
}
