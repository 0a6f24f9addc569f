//! Compares what is learnt from labelled traffic with its quotas.

use std::collections::HashMap;

use callscope::domain::diagnosis::{Outcome, Past, diagnose};
use callscope::domain::failure::QuotaMetric;
use callscope::domain::quota::{Basis, PoolQuotas, UsabilityState};

use super::gateway::{HOUR, MINUTE, SECOND};
use super::traffic::{Quota, Traffic, View, Window};

/// Refusals of a quota, without which its ceiling is not scored.
const REFUSALS: usize = 20;
/// Refusals of a key, without which its group is not scored.
const GROUP_REFUSALS: usize = 10;
/// Hours of the forecast.
pub const HOURS: [i64; 4] = [1, 3, 6, 12];

#[derive(Default, Clone, Copy)]
pub struct Ceilings {
    pub count: usize,
    pub known: usize,
    pub near: usize,
    pub inside: usize,
}

/// Squared differences of probability and outcome.
#[derive(Default, Clone, Copy)]
pub struct Brier {
    pub count: f64,
    pub model: f64,
    pub minute_rule: f64,
    pub stated_rule: f64,
}

#[derive(Default)]
pub struct Score {
    /// By window, and whether projects are stated.
    pub ceilings: HashMap<(usize, bool), Ceilings>,
    /// Errors of `usable_at` in seconds by window, of refused cells. Infinite if none was given.
    pub resets: HashMap<usize, Vec<f64>>,
    /// The same of the delay that the last refusal stated, from that refusal.
    pub stated: HashMap<usize, Vec<f64>>,
    pub rand: Vec<f64>,
    pub rand_keys: usize,
    /// At a random time, seconds after a refusal, and an hour later than known.
    pub brier: [Brier; 3],
    /// By state: cells, and those that would be accepted.
    pub states: [(f64, f64); 4],
    /// The difference of forecast and truth by hour, as a part of the keys.
    pub forecast: [Vec<f64>; HOURS.len()],
    pub learn_ms: Vec<f64>,
}

impl Score {
    pub fn add(&mut self, traffic: &Traffic, count: usize) {
        for (number, as_of) in traffic.times(count).into_iter().enumerate() {
            let view = traffic.view(as_of);
            let diagnoses = diagnose(&view.calls, &Past::default(), as_of);
            let start = std::time::Instant::now();
            let pool = PoolQuotas::learn(&view.calls, &view.refusals, &diagnoses, as_of);
            self.learn_ms.push(start.elapsed().as_secs_f64() * 1e3);
            if number == 0 && !traffic.mix.states_projects {
                self.add_groups(traffic, &view, &pool);
            }
            if number % 2 == 0 {
                self.add_ceilings(traffic, &view, &pool);
                self.add_forecast(traffic, &view, &pool);
            }
            self.add_resets(traffic, &view, &pool);
            self.add_brier(traffic, &view, &pool, number % 2);
        }
    }

    fn add_groups(&mut self, traffic: &Traffic, view: &View, pool: &PoolQuotas) {
        let mut refusals = vec![0; traffic.mix.keys as usize];
        for call in 0..view.calls.len() {
            refusals[view.calls.key[call] as usize] += usize::from(view.calls.status[call] == 429);
        }
        let keys: Vec<u32> = (0..traffic.mix.keys)
            .filter(|key| refusals[*key as usize] >= GROUP_REFUSALS)
            .filter(|key| !traffic.is_dead(*key, view.as_of))
            .collect();
        if keys.len() < 4 {
            return;
        }
        let found = |key: u32| pool.group(key).map_or(key, |group| group.keys[0]);
        let pairs: Vec<(u32, u32)> =
            keys.iter().map(|key| (traffic.projects[*key as usize], found(*key))).collect();
        self.rand.push(adjusted_rand(&pairs));
        self.rand_keys += keys.len();
    }

    fn add_ceilings(&mut self, traffic: &Traffic, view: &View, pool: &PoolQuotas) {
        let mix = &traffic.mix;
        if mix.states_limits && !mix.is_unnamed {
            return;
        }
        for project in 0..=*traffic.projects.last().unwrap_or(&0) {
            let Some(key) = traffic.projects.iter().position(|it| *it == project) else { continue };
            for model in 0..mix.models {
                for quota in traffic.quotas_of(key as u32, model) {
                    if quota.metric != QuotaMetric::Requests
                        || refusals(traffic, view, project, model, quota) < REFUSALS
                    {
                        continue;
                    }
                    let window = Window::ALL.iter().position(|it| *it == quota.window);
                    let entry = self.ceilings.entry((window.unwrap_or(0), mix.states_projects));
                    let entry = entry.or_default();
                    entry.count += 1;
                    let quotas = pool.quotas(key as u32, Some(model));
                    let found = quotas.iter().find(|it| {
                        it.metric == quota.metric
                            && it.window_seconds == quota.window.length() / SECOND
                            && it.basis == Basis::Learnt
                    });
                    let estimate = found.and_then(|found| found.ceiling);
                    let Some(estimate) = estimate else { continue };
                    entry.known += 1;
                    let distance = estimate.value.abs_diff(quota.ceiling) as f64;
                    entry.near += usize::from(distance <= 0.05 * quota.ceiling as f64);
                    let range = estimate.low..=estimate.high;
                    entry.inside += usize::from(range.contains(&quota.ceiling));
                }
            }
        }
    }

    fn add_resets(&mut self, traffic: &Traffic, view: &View, pool: &PoolQuotas) {
        for (cell, (at, retry_at)) in last_refusals(view) {
            let (key, model) = cell;
            if traffic.is_dead(key, view.as_of) {
                continue;
            }
            let quotas = traffic.quotas_of(key, model);
            let Some(quota) = quotas
                .iter()
                .filter(|quota| quota.accepts_at(view.as_of) > view.as_of)
                .max_by_key(|quota| quota.accepts_at(view.as_of))
            else {
                continue;
            };
            // A refusal by this window.
            if view.as_of - at > quota.window.length() / 2 {
                continue;
            }
            let right = quota.accepts_at(view.as_of);
            let window = Window::ALL.iter().position(|it| *it == quota.window).unwrap_or(0);
            let usability = pool.usability(key, Some(model));
            if usability.because.is_some() && usability.usable_at.is_none() {
                continue;
            }
            let error = |found: i64| (found - right).abs() as f64 / SECOND as f64;
            let found = usability.usable_at.map_or(f64::INFINITY, error);
            self.resets.entry(window).or_default().push(found);
            if let Some(retry_at) = retry_at {
                self.stated.entry(window).or_default().push(error(retry_at));
            }
        }
    }

    fn add_brier(&mut self, traffic: &Traffic, view: &View, pool: &PoolQuotas, when: usize) {
        let last = last_refusals(view);
        let accepted = last_accepted(view);
        for key in 0..traffic.mix.keys {
            for model in 0..traffic.mix.models {
                let usability = pool.usability(key, Some(model));
                let index = usability.state as usize;
                let right = traffic.acceptance(key, model, view.as_of);
                self.states[index].0 += 1.0;
                self.states[index].1 += right;
                let refusal = last.get(&(key, model)).filter(|refusal| {
                    accepted.get(&(key, model)).is_none_or(|accepted| *accepted < refusal.0)
                });
                let minute_ends = refusal.map(|refusal| refusal.0 + MINUTE);
                let stated_ends = refusal.map(|refusal| refusal.1.unwrap_or(refusal.0 + MINUTE));
                let later = view.as_of + HOUR;
                for (brier, at) in [(when, view.as_of), (2, later)] {
                    if brier == 2 && when == 1 {
                        continue;
                    }
                    let right = traffic.acceptance(key, model, at);
                    let rule = |ends: Option<i64>| match ends {
                        Some(ends) if ends > at => 0.03,
                        _ => 0.97,
                    };
                    let learnt = match usability.state {
                        UsabilityState::Unusable
                            if usability.usable_at.is_some_and(|usable| usable <= at) =>
                        {
                            0.97
                        }
                        state => probability(state),
                    };
                    let squared = |probability: f64| {
                        right * (1.0 - probability).powi(2) + (1.0 - right) * probability.powi(2)
                    };
                    let brier = &mut self.brier[brier];
                    brier.count += 1.0;
                    brier.model += squared(learnt);
                    brier.minute_rule += squared(rule(minute_ends));
                    brier.stated_rule += squared(rule(stated_ends));
                }
            }
        }
    }

    fn add_forecast(&mut self, traffic: &Traffic, view: &View, pool: &PoolQuotas) {
        let end = traffic.ends_at();
        for model in 0..traffic.mix.models {
            let times = HOURS.map(|hour| view.as_of + hour * HOUR);
            for (hour, point) in pool.forecast(Some(model), &times).into_iter().enumerate() {
                if point.at > end {
                    continue;
                }
                let right: f64 =
                    (0..traffic.mix.keys).map(|key| traffic.acceptance(key, model, point.at)).sum();
                let error = (f64::from(point.usable) - right).abs() / f64::from(point.total);
                self.forecast[hour].push(error);
            }
        }
    }
}

/// The measured share of accepted calls in each state, of the tuning seeds.
fn probability(state: UsabilityState) -> f64 {
    match state {
        UsabilityState::Usable => 0.97,
        UsabilityState::Limited => 0.6,
        UsabilityState::Unusable => 0.03,
        UsabilityState::Unknown => 0.8,
    }
}

/// The refusals of a quota in the log.
fn refusals(traffic: &Traffic, view: &View, project: u32, model: u32, quota: &Quota) -> usize {
    let calls = &view.calls;
    let is_own = |call: &usize| {
        calls.status[*call] == 429
            && calls.model[*call] == model
            && traffic.projects[calls.key[*call] as usize] == project
    };
    // The first quota that is used up refuses; the truth is that of the provider's clock.
    let refuses = |call: &usize| {
        let quotas = traffic.quotas_of(calls.key[*call], model);
        let first = quotas.iter().find(|it| it.use_at(calls.at[*call]) >= it.ceiling);
        // The use of a window that started before the log cannot be counted.
        let is_covered = quota.window.start(calls.at[*call]) >= view.from - HOUR / 2;
        is_covered && first.is_some_and(|it| it.window == quota.window && it.metric == quota.metric)
    };
    (0..calls.len()).filter(is_own).filter(refuses).count()
}

type Cell = (u32, u32);

fn last_refusals(view: &View) -> HashMap<Cell, (i64, Option<i64>)> {
    let mut last = HashMap::new();
    let mut refusals = view.refusals.iter().peekable();
    for call in 0..view.calls.len() {
        let stated = refusals.next_if(|refusal| refusal.call == call as u32);
        if view.calls.status[call] == 429 && view.calls.outcome[call] != Outcome::Success {
            let retry_at = stated.and_then(|refusal| refusal.retry_at);
            let cell = (view.calls.key[call], view.calls.model[call]);
            last.insert(cell, (view.calls.at[call], retry_at));
        }
    }
    last
}

fn last_accepted(view: &View) -> HashMap<Cell, i64> {
    let calls = &view.calls;
    let accepted = (0..calls.len()).filter(|call| calls.outcome[*call] == Outcome::Success);
    accepted.map(|call| ((calls.key[call], calls.model[call]), calls.at[call])).collect()
}

/// The adjusted Rand index of two partitions, from the pairs of their labels.
fn adjusted_rand(pairs: &[(u32, u32)]) -> f64 {
    let choose = |count: usize| (count * count.saturating_sub(1)) as f64 / 2.0;
    let mut both: HashMap<(u32, u32), usize> = HashMap::new();
    let mut left: HashMap<u32, usize> = HashMap::new();
    let mut right: HashMap<u32, usize> = HashMap::new();
    for (a, b) in pairs {
        *both.entry((*a, *b)).or_default() += 1;
        *left.entry(*a).or_default() += 1;
        *right.entry(*b).or_default() += 1;
    }
    let index: f64 = both.values().map(|count| choose(*count)).sum();
    let sum_left: f64 = left.values().map(|count| choose(*count)).sum();
    let sum_right: f64 = right.values().map(|count| choose(*count)).sum();
    let expected = sum_left * sum_right / choose(pairs.len()).max(1.0);
    let most = (sum_left + sum_right) / 2.0;
    if most == expected { 1.0 } else { (index - expected) / (most - expected) }
}

pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (part * (sorted.len().max(1) - 1) as f64).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}
