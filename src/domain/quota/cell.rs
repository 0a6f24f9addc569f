//! The quotas of one cell, a group of keys and a model: use at each refusal, ceilings, use now, resets.

use crate::domain::diagnosis::Calls;
use crate::domain::failure::QuotaMetric;

use super::history::{Answer, Kind};
use super::thresholds::{DAY, HOUR, JITTER, LEAST_USE, MINUTE, RATE_OVER, REFUSALS, SECOND};
use super::window::{Calendar, Window, Windows};
use super::{Basis, Estimate, KeyQuota};

/// The use at the refusals of a cell, as one kind of window counts it.
#[derive(Default)]
pub(super) struct Observed {
    /// Without and with failed calls.
    pub uses: Vec<(u32, u32)>,
    /// The largest use that was accepted, without failed calls.
    pub most: u32,
}

impl Observed {
    fn refuse(&mut self, accepted: u32, failed: u32) {
        if self.uses.len() == 2 * REFUSALS {
            self.uses.drain(..REFUSALS);
        }
        self.uses.push((accepted, accepted + failed));
    }

    /// The ceiling: the largest accepted use is its lower bound, the use at refusals its upper one. Both are
    /// known up to the failed calls and the order of calls at the same time.
    fn ceiling(&self, failed: f64) -> Option<Estimate> {
        let least = (f64::from(self.most) * LEAST_USE) as u32;
        let mut uses: Vec<(u32, u32)> =
            self.uses.iter().copied().filter(|it| it.1 >= least && it.1 > 0).collect();
        if uses.len() * 5 < self.uses.len() {
            uses = self.uses.clone();
        }
        estimate(&uses, failed)
    }
}

/// The median of the uses, and their spread.
fn estimate(uses: &[(u32, u32)], failed: f64) -> Option<Estimate> {
    if uses.is_empty() {
        return None;
    }
    let quantile = |part: f64, of: &dyn Fn(&(u32, u32)) -> f64| {
        let mut sorted: Vec<f64> = uses.iter().map(of).collect();
        sorted.sort_by(f64::total_cmp);
        sorted[(part * (sorted.len() - 1) as f64).round() as usize]
    };
    let with =
        |failed: f64| move |it: &(u32, u32)| f64::from(it.0) + failed * f64::from(it.1 - it.0);
    let value = quantile(0.5, &with(failed)).round().max(1.0) as u64;
    let low = quantile(0.2, &with(0.0)).round() as u64;
    let high = quantile(0.8, &with(1.0)).round() as u64;
    Some(Estimate {
        value,
        low: low.min(value),
        high: high.max(value),
        observations: uses.len() as u32,
    })
}

/// What the calls of a cell show.
#[derive(Default)]
pub(super) struct CellReading {
    pub accepted: Vec<i64>,
    pub failed: Vec<i64>,
    pub fixed: Observed,
    pub sliding: Observed,
    /// The refusals by a quota of a day.
    pub day: Vec<i64>,
    /// The last refusal of each kind.
    pub refused: [Option<i64>; Kind::COUNT],
}

/// Reads the calls of a cell once.
pub(super) fn read(calls: &Calls, answers: &[Answer], rows: &[u32]) -> CellReading {
    let mut it = CellReading::default();
    let (mut minute, mut in_minute) = (i64::MIN, (0_u32, 0_u32));
    let (mut old_accepted, mut old_failed) = (0, 0);
    for row in rows {
        let at = calls.at[*row as usize];
        let answer = answers[*row as usize];
        if at >= minute.saturating_add(MINUTE) {
            minute = at.div_euclid(MINUTE) * MINUTE;
            in_minute = (0, 0);
        }
        match answer {
            Answer::Accepted => {
                it.accepted.push(at);
                in_minute.0 += 1;
            }
            Answer::Failed => {
                it.failed.push(at);
                in_minute.1 += 1;
            }
            Answer::Refused(kind) => it.refused[kind as usize] = Some(at),
            Answer::Unnamed | Answer::Nothing => continue,
        }
        while it.accepted.get(old_accepted).is_some_and(|old| *old <= at - MINUTE) {
            old_accepted += 1;
        }
        while it.failed.get(old_failed).is_some_and(|old| *old <= at - MINUTE) {
            old_failed += 1;
        }
        let accepted = (it.accepted.len() - old_accepted) as u32;
        let failed = (it.failed.len() - old_failed) as u32;
        match answer {
            Answer::Refused(Kind::Minute) => {
                it.fixed.refuse(in_minute.0, in_minute.1);
                it.sliding.refuse(accepted, failed);
            }
            Answer::Refused(Kind::Day) => it.day.push(at),
            Answer::Accepted => {
                it.fixed.most = it.fixed.most.max(in_minute.0);
                it.sliding.most = it.sliding.most.max(accepted);
            }
            _ => {}
        }
    }
    it
}

/// A time until which the calls of a cell are refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Block {
    pub kind: Kind,
    /// None: unknown.
    pub until: Option<i64>,
}

/// What was learnt from other cells and from texts.
pub(super) struct Context<'a> {
    pub calendar: &'a Calendar,
    pub windows: Windows,
    /// The first time that the calls cover.
    pub from: i64,
    pub as_of: i64,
    /// Stated quotas with a limit.
    pub stated: &'a [StatedCeiling],
    /// The end of the last refusal of each kind as it was stated, if such statements are right.
    pub retry_at: [Option<i64>; Kind::COUNT],
    /// How long refusals of each kind last.
    pub duration: [Option<i64>; Kind::COUNT],
}

#[derive(Clone, Copy)]
pub(super) struct StatedCeiling {
    pub metric: QuotaMetric,
    pub window_seconds: i64,
    pub limit: u64,
    pub times: u32,
}

/// The state of a cell at the end of the calls.
pub(super) struct CellState {
    pub model: u32,
    pub quotas: Vec<KeyQuota>,
    pub block: Option<Block>,
    /// Calls a second that use the quota of a day, while it is not used up.
    pub rate: f64,
    pub day: Window,
}

impl CellReading {
    /// Calls from `from` to `to`, both included: accepted, failed.
    fn count(&self, from: i64, to: i64) -> (u32, u32) {
        let count = |times: &[i64]| {
            let index = |at: i64| times.partition_point(|time| *time < at);
            (index(to + 1).saturating_sub(index(from))) as u32
        };
        (count(&self.accepted), count(&self.failed))
    }

    pub fn state(&self, model: u32, context: &Context) -> CellState {
        let Windows { minute, day, .. } = context.windows;
        let stated = |window: Window| {
            context.stated.iter().find(|stated| {
                stated.metric == QuotaMetric::Requests
                    && stated.window_seconds == window.length() / SECOND
            })
        };
        let mut quotas = Vec::new();
        let observed = if minute.is_sliding() { &self.sliding } else { &self.fixed };
        let learnt =
            [(minute, observed.ceiling(context.windows.failed)), (day, self.day_ceiling(context))];
        for (window, estimate) in learnt {
            let ceiling = match stated(window) {
                Some(stated) => Some((stated.estimate(), Basis::Stated)),
                None => estimate.map(|estimate| (estimate, Basis::Learnt)),
            };
            if let Some((ceiling, basis)) = ceiling {
                quotas.push(self.quota(model, window, ceiling, basis, context));
            }
        }
        for stated in context.stated {
            let is_known = matches!(stated.window_seconds, 60 | 86_400);
            if stated.metric != QuotaMetric::Requests || !is_known {
                quotas.push(self.stated_quota(model, stated, context));
            }
        }
        let block = self.block(&quotas, context);
        CellState { model, quotas, block, rate: self.rate(context), day }
    }

    /// The use at the refusals of days with a covered start.
    fn day_ceiling(&self, context: &Context) -> Option<Estimate> {
        let window = context.windows.day;
        let mut uses: Vec<(u32, u32)> = Vec::new();
        let mut spread = 1.0_f64;
        for refused in self.day.iter().rev().take(REFUSALS) {
            let start = context.calendar.start(window, *refused);
            let missing = context.from - start;
            if missing > if window.is_sliding() { HOUR } else { 0 } {
                break;
            }
            // A call that was accepted before may have a later time.
            let until = refused + if window.is_sliding() { 0 } else { JITTER };
            let (accepted, failed) = self.count(start, until);
            let part = missing.max(0) as f64 / DAY as f64;
            spread = spread.max(1.0 + 2.0 * part);
            let scaled = |count: u32| (f64::from(count) / (1.0 - part)).round() as u32;
            uses.push((scaled(accepted), scaled(accepted + failed)));
        }
        let mut estimate = estimate(&uses, context.windows.failed)?;
        // Calls at the start of the day and at the refusal, of which the order is not known.
        let slack = 2 + estimate.value / 300;
        estimate.high = (estimate.high as f64 * spread).ceil() as u64 + slack;
        estimate.low = ((estimate.low as f64 / spread).floor() as u64).saturating_sub(slack);
        Some(estimate)
    }

    fn quota(
        &self,
        model: u32,
        window: Window,
        ceiling: Estimate,
        basis: Basis,
        context: &Context,
    ) -> KeyQuota {
        let start = context.calendar.start(window, context.as_of);
        let used = self.used(start, context);
        KeyQuota {
            model: Some(model),
            metric: QuotaMetric::Requests,
            window_seconds: window.length() / SECOND,
            ceiling: Some(ceiling),
            used,
            remaining: Some(ceiling.value.saturating_sub(used)),
            resets_at: self.resets_at(window, used, ceiling.value, context),
            basis,
        }
    }

    fn used(&self, start: i64, context: &Context) -> u64 {
        let (accepted, failed) = self.count(start, context.as_of);
        (f64::from(accepted) + context.windows.failed * f64::from(failed)).round() as u64
    }

    /// When a fixed window ends; when the next call of a sliding one is accepted, or its oldest call leaves it.
    fn resets_at(&self, window: Window, used: u64, ceiling: u64, context: &Context) -> Option<i64> {
        if !window.is_sliding() {
            return Some(context.calendar.end(window, context.as_of));
        }
        let start = context.calendar.start(window, context.as_of);
        let first = self.accepted.partition_point(|at| *at < start);
        let leaving = used.saturating_sub(ceiling) as usize;
        self.accepted.get(first + leaving).map(|at| at + window.length())
    }

    /// A quota without a counted use, or of another window.
    fn stated_quota(&self, model: u32, stated: &StatedCeiling, context: &Context) -> KeyQuota {
        let window = Window::Sliding(stated.window_seconds.saturating_mul(SECOND));
        let is_counted = stated.metric == QuotaMetric::Requests && window.length() <= DAY;
        let used = match is_counted {
            true => self.used(context.calendar.start(window, context.as_of), context),
            false => 0,
        };
        KeyQuota {
            model: Some(model),
            metric: stated.metric,
            window_seconds: stated.window_seconds,
            ceiling: Some(stated.estimate()),
            used,
            remaining: is_counted.then(|| stated.limit.saturating_sub(used)),
            resets_at: None,
            basis: Basis::Stated,
        }
    }

    /// Whether the next call is expected to be refused: after a refusal that has not ended, or since the
    /// ceiling is reached.
    fn block(&self, quotas: &[KeyQuota], context: &Context) -> Option<Block> {
        let ends = [Kind::Day, Kind::Tokens, Kind::Minute].map(|kind| {
            let refused = self.refused[kind as usize]?;
            let accepted = self.accepted.last().is_some_and(|accepted| *accepted > refused);
            // A call after a refusal of a fixed window may be logged late.
            (!accepted).then(|| (kind, self.refusal_ends(kind, refused, context)))
        });
        let refused = ends.into_iter().flatten().filter(|end| end.1 > context.as_of);
        let is_used_up = |quota: &&KeyQuota| {
            // The ceiling of a fixed day is learnt from refusals that still last.
            let is_known = quota.window_seconds <= 60
                || quota.basis == Basis::Stated
                || context.windows.day.is_sliding();
            quota.remaining == Some(0) && is_known
        };
        let used_up = quotas.iter().filter(is_used_up).map(|quota| {
            let is_minute = quota.window_seconds <= 60;
            let kind = if is_minute { Kind::Minute } else { Kind::Day };
            (kind, quota.resets_at.unwrap_or(context.as_of))
        });
        let end = refused.chain(used_up).filter(|end| end.1 > context.as_of);
        end.max_by_key(|end| end.1).map(|(kind, until)| Block { kind, until: Some(until) })
    }

    /// When a refusal ends, without further calls.
    fn refusal_ends(&self, kind: Kind, refused: i64, context: &Context) -> i64 {
        if let Some(stated) = context.retry_at[kind as usize] {
            return stated;
        }
        let window = if kind.is_day() { context.windows.day } else { context.windows.minute };
        if !window.is_sliding() {
            return context.calendar.end(window, refused);
        }
        let start = context.calendar.start(window, refused);
        let first = |times: &[i64]| times.get(times.partition_point(|at| *at < start)).copied();
        let oldest = match context.windows.failed > 0.5 {
            true => first(&self.accepted).into_iter().chain(first(&self.failed)).min(),
            false => first(&self.accepted),
        };
        let in_window = oldest.filter(|oldest| *oldest <= refused);
        // Calls before the log leave the window first.
        let is_covered = start + 5 * MINUTE >= context.from;
        match in_window {
            Some(oldest) if is_covered => oldest + window.length(),
            _ => {
                refused
                    + context.duration[kind as usize]
                        .unwrap_or(window.length())
                        .min(window.length())
            }
        }
    }

    /// Calls a second of the latest hours in which no call was refused by a quota of a day.
    fn rate(&self, context: &Context) -> f64 {
        let until = match self.day.first() {
            Some(first) if self.day.last() > self.accepted.last() => {
                let last = self.accepted.last().copied().unwrap_or(*first);
                last.min(context.as_of)
            }
            _ => context.as_of,
        };
        let (accepted, _) = self.count(until - RATE_OVER, until);
        f64::from(accepted) / (RATE_OVER / SECOND) as f64
    }
}

impl StatedCeiling {
    fn estimate(&self) -> Estimate {
        let Self { limit, times, .. } = *self;
        Estimate { value: limit, low: limit, high: limit, observations: times }
    }
}
