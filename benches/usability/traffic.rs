//! Labelled traffic with known quotas: the calls of a simulated gateway for two days, and what the provider would
//! answer at any time. The same seed gives the same calls.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use callscope::demo::dice::Dice;
use callscope::domain::diagnosis::Calls;
use callscope::domain::failure::{FailureClass as Class, QuotaMetric, StatedQuota};
use callscope::domain::quota::Refusal;

use super::gateway::{HOUR, KeyOrder, LoggedCall, MINUTE, Rotation, SECOND, START, projects};

pub const DAY: i64 = 24 * HOUR;

/// Pacific time is 8 hours behind.
const PACIFIC: i64 = 8 * HOUR;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Window {
    FixedMinute,
    SlidingMinute,
    PacificDay,
    UtcDay,
    SlidingDay,
}

impl Window {
    pub const ALL: [Self; 5] =
        [Self::FixedMinute, Self::SlidingMinute, Self::PacificDay, Self::UtcDay, Self::SlidingDay];

    pub fn is_minute(self) -> bool {
        matches!(self, Self::FixedMinute | Self::SlidingMinute)
    }

    pub fn length(self) -> i64 {
        if self.is_minute() { MINUTE } else { DAY }
    }

    /// The start of the window that a call at this time belongs to.
    pub fn start(self, at: i64) -> i64 {
        match self {
            Self::FixedMinute => at.div_euclid(MINUTE) * MINUTE,
            Self::SlidingMinute => at - MINUTE + 1,
            Self::PacificDay => (at - PACIFIC).div_euclid(DAY) * DAY + PACIFIC,
            Self::UtcDay => at.div_euclid(DAY) * DAY,
            Self::SlidingDay => at - DAY + 1,
        }
    }
}

/// The delay that a refusal states.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delay {
    None,
    Right,
    /// Right for minutes, up to a minute for days.
    Seconds,
    /// Always a minute.
    Minute,
}

#[derive(Clone, Debug)]
pub struct Mix {
    pub seed: u64,
    pub keys: u32,
    pub models: u32,
    pub requests_per_minute: f64,
    pub rotation: Rotation,
    pub has_bursts: bool,
    pub retries: u8,
    /// The share of failures without an error log.
    pub unlogged: f64,
    pub background: f64,
    /// The clocks of the gateway's processes differ by up to this, in seconds.
    pub skew: f64,
    pub minute: Window,
    pub day: Window,
    pub delay: Delay,
    pub states_limits: bool,
    pub states_projects: bool,
    /// The texts do not name the quota.
    pub is_unnamed: bool,
    pub has_token_quotas: bool,
    /// Failures of the provider use the quota.
    pub failures_count: bool,
    /// The ceilings of a minute and of a day, as parts of the mean demand.
    pub minute_factor: (f64, f64),
    pub day_factor: (f64, f64),
    pub dead_keys: usize,
    pub outages: usize,
}

impl Mix {
    /// A random mix. Thresholds were chosen with these.
    pub fn tuning(seed: u64) -> Self {
        let dice = &mut Dice::new(seed);
        let keys = [12, 20, 30, 50, 80][dice.below(5)];
        let models = 2 + dice.below(3) as u32;
        let calls_per_key = dice.between(1.5, 6.0);
        Self {
            keys,
            models,
            requests_per_minute: (f64::from(keys) * calls_per_key).min(180.0),
            unlogged: [0.0, 0.06, 0.2, 0.4][dice.below(4)],
            background: dice.between(0.3, 2.0),
            skew: dice.between(0.0, 1.0),
            minute_factor: (0.8, 3.0),
            day_factor: (0.3, 1.6),
            ..Self::any(seed, dice)
        }
    }

    /// A random mix with other parameters. It was used for no decision.
    pub fn held_out(seed: u64) -> Self {
        let seed = seed ^ 0x0A11_0CA7;
        let dice = &mut Dice::new(seed);
        let keys = [9, 16, 40, 64, 110][dice.below(5)];
        let models = 1 + dice.below(5) as u32;
        let calls_per_key = dice.between(1.0, 8.0);
        Self {
            keys,
            models,
            requests_per_minute: (f64::from(keys) * calls_per_key).min(200.0),
            unlogged: [0.03, 0.12, 0.3][dice.below(3)],
            background: dice.between(0.2, 3.0),
            skew: dice.between(0.0, 1.5),
            minute_factor: (0.7, 3.5),
            day_factor: (0.25, 1.8),
            ..Self::any(seed, dice)
        }
    }

    fn any(seed: u64, dice: &mut Dice) -> Self {
        Self {
            seed,
            keys: 0,
            models: 0,
            requests_per_minute: 0.0,
            rotation: [Rotation::RoundRobin, Rotation::Random, Rotation::Sticky][dice.below(3)],
            has_bursts: dice.chance(0.5),
            retries: dice.below(5) as u8,
            unlogged: 0.0,
            background: 0.0,
            skew: 0.0,
            minute: [Window::FixedMinute, Window::SlidingMinute][dice.below(2)],
            day: [Window::PacificDay, Window::UtcDay, Window::SlidingDay][dice.below(3)],
            delay: [Delay::None, Delay::Right, Delay::Seconds, Delay::Minute][dice.below(4)],
            states_limits: dice.chance(0.35),
            states_projects: dice.chance(0.4),
            is_unnamed: dice.chance(0.25),
            has_token_quotas: dice.chance(0.3),
            failures_count: dice.chance(0.7),
            minute_factor: (0.0, 0.0),
            day_factor: (0.0, 0.0),
            dead_keys: dice.below(3),
            outages: dice.below(3),
        }
    }
}

/// A quota of a project and model.
pub struct Quota {
    pub window: Window,
    pub metric: QuotaMetric,
    pub ceiling: u64,
    /// When calls used it, and how much.
    used: Vec<(i64, u64)>,
}

impl Quota {
    /// The calls of the window that ends at this time.
    fn calls(&self, at: i64) -> &[(i64, u64)] {
        let start = self.window.start(at);
        let index = |time: i64| self.used.partition_point(|call| call.0 < time);
        &self.used[index(start)..index(at + 1)]
    }

    pub fn use_at(&self, at: i64) -> u64 {
        match self.metric {
            QuotaMetric::Requests => self.calls(at).len() as u64,
            _ => self.calls(at).iter().map(|call| call.1).sum(),
        }
    }

    /// The first time from `at` on at which a call is accepted, if no other calls are sent.
    pub fn accepts_at(&self, at: i64) -> i64 {
        if self.use_at(at) < self.ceiling {
            return at;
        }
        if !matches!(self.window, Window::SlidingMinute | Window::SlidingDay) {
            return self.window.start(at) + self.window.length();
        }
        let mut used = 0;
        let mut calls = self.calls(at).iter().rev();
        let last = calls.find(|call| {
            used += call.1;
            used >= self.ceiling
        });
        last.map_or(at, |call| call.0 + self.window.length())
    }
}

struct Outage {
    model: u32,
    since: i64,
    until: i64,
    strength: f64,
}

/// A row of the log.
#[derive(Clone)]
struct Row {
    call: LoggedCall,
    quota: Option<StatedQuota>,
    retry_at: Option<i64>,
}

pub struct Traffic {
    pub mix: Mix,
    /// The project of each key.
    pub projects: Vec<u32>,
    /// By project and model.
    pub quotas: Vec<Vec<Quota>>,
    dead_since: Vec<i64>,
    outages: Vec<Outage>,
    rows: Vec<Row>,
}

/// What is visible at a time.
pub struct View {
    pub as_of: i64,
    pub from: i64,
    pub calls: Calls,
    pub refusals: Vec<Refusal>,
}

impl Traffic {
    pub fn quotas_of(&self, key: u32, model: u32) -> &[Quota] {
        &self.quotas[(self.projects[key as usize] * self.mix.models + model) as usize]
    }

    /// The probability that a call would succeed.
    pub fn acceptance(&self, key: u32, model: u32, at: i64) -> f64 {
        if self.dead_since[key as usize] <= at {
            return 0.0;
        }
        if self.quotas_of(key, model).iter().any(|quota| quota.accepts_at(at) > at) {
            return 0.0;
        }
        let is_active = |it: &&Outage| it.model == model && (it.since..it.until).contains(&at);
        self.outages.iter().find(is_active).map_or(1.0, |outage| 1.0 - outage.strength)
    }

    pub fn ends_at(&self) -> i64 {
        START + DAY
    }

    pub fn is_dead(&self, key: u32, at: i64) -> bool {
        self.dead_since[key as usize] <= at
    }

    /// Random times, and times some seconds after a refusal by a quota of a minute.
    pub fn times(&self, count: usize) -> Vec<i64> {
        let mut dice = Dice::new(self.mix.seed ^ 77);
        let refused: Vec<i64> = self
            .rows
            .iter()
            .map(|row| &row.call)
            .filter(|call| call.status == 429 && (START..START + DAY).contains(&call.at))
            .map(|call| call.at)
            .collect();
        (0..count)
            .map(|number| match number % 2 {
                1 if !refused.is_empty() => {
                    refused[dice.below(refused.len())] + (dice.between(0.5, 15.0) * 1e6) as i64
                }
                _ => START + (dice.between(0.5, 24.0) * HOUR as f64) as i64,
            })
            .collect()
    }

    /// The calls that started and ended before, from the full hour before the last 24.
    pub fn view(&self, as_of: i64) -> View {
        let from = (as_of - DAY).div_euclid(HOUR) * HOUR;
        let (keys, models) = (self.mix.keys as usize, self.mix.models as usize);
        let mut calls = Calls { keys, models, ..Calls::default() };
        let mut refusals = Vec::new();
        for row in &self.rows {
            let call = &row.call;
            let ends_at = call.at + i64::from(call.latency_ms) * 1000;
            if call.at < from || ends_at > as_of {
                continue;
            }
            if call.is_logged && call.status == 429 {
                let project = self.mix.states_projects.then(|| self.projects[call.key as usize]);
                refusals.push(Refusal {
                    call: calls.len() as u32,
                    quotas: row.quota.iter().cloned().collect(),
                    retry_at: row.retry_at,
                    project,
                });
            }
            call.add_to(&mut calls);
        }
        View { as_of, from, calls, refusals }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Attempt {
    at: i64,
    model: u32,
    retries: u8,
    is_invalid: bool,
}

struct Simulation {
    traffic: Traffic,
    order: KeyOrder,
    clocks: [i64; 3],
    retries: BinaryHeap<Reverse<Attempt>>,
    dice: Dice,
}

pub fn generate(mix: &Mix) -> Traffic {
    let mut dice = Dice::new(mix.seed ^ 0xF00D);
    let order = KeyOrder::new(mix.rotation, mix.keys, &mut dice);
    let projects = projects(mix.keys, &mut dice);
    let quotas = quotas(mix, &projects, &mut dice);
    let mut dead_since = vec![i64::MAX; mix.keys as usize];
    for _ in 0..mix.dead_keys {
        let key = dice.below(mix.keys as usize);
        dead_since[key] = START + (dice.between(-6.0, 20.0) * HOUR as f64) as i64;
    }
    let outages = (0..mix.outages).map(|_| {
        let since = START + (dice.between(-2.0, 22.0) * HOUR as f64) as i64;
        Outage {
            model: dice.below(mix.models as usize) as u32,
            since,
            until: since + (dice.between(0.3, 2.0) * HOUR as f64) as i64,
            strength: dice.between(0.4, 1.0),
        }
    });
    let outages = outages.collect();
    let mut clock = || (dice.between(-mix.skew, mix.skew) * 1e6) as i64;
    let clocks = [clock(), clock(), clock()];
    let traffic =
        Traffic { mix: mix.clone(), projects, quotas, dead_since, outages, rows: Vec::new() };
    let mut simulation = Simulation { traffic, order, clocks, retries: BinaryHeap::new(), dice };
    simulation.run();
    let mut traffic = simulation.traffic;
    traffic.rows.sort_by_key(|row| row.call.at);
    traffic
}

fn share(mix: &Mix, model: u32) -> f64 {
    let sum: f64 = (0..mix.models).map(|model| 1.0 / f64::from(model + 1)).sum();
    1.0 / f64::from(model + 1) / sum
}

/// The ceilings are those of a tier and model; a project has one of two tiers.
fn quotas(mix: &Mix, projects: &[u32], dice: &mut Dice) -> Vec<Vec<Quota>> {
    let count = projects.last().map_or(0, |last| last + 1);
    let tiers: Vec<bool> = (0..count).map(|_| dice.chance(0.25)).collect();
    let ceilings: Vec<[u64; 3]> = (0..mix.models)
        .map(|model| {
            // The demand of a project of three keys, a minute.
            let demand = mix.requests_per_minute * share(mix, model) * 3.0 / f64::from(mix.keys);
            let minute = demand * dice.between(mix.minute_factor.0, mix.minute_factor.1);
            let day = demand * 1440.0 * dice.between(mix.day_factor.0, mix.day_factor.1);
            // A call has about 1,100 tokens.
            let tokens = demand * 1_100.0 * dice.between(1.2, 3.0);
            [minute.max(2.0).round() as u64, day.max(20.0).round() as u64, tokens as u64]
        })
        .collect();
    let mut quotas = Vec::new();
    for tier in tiers {
        for [minute, day, tokens] in &ceilings {
            let factor = if tier { 2 } else { 1 };
            let quota = |window, metric, ceiling: u64| Quota {
                window,
                metric,
                ceiling: ceiling * factor,
                used: Vec::new(),
            };
            let mut of_cell = vec![
                quota(mix.day, QuotaMetric::Requests, *day),
                quota(mix.minute, QuotaMetric::Requests, *minute),
            ];
            if mix.has_token_quotas {
                of_cell.push(quota(mix.minute, QuotaMetric::Tokens, *tokens));
            }
            quotas.push(of_cell);
        }
    }
    quotas
}

/// Usual failures, as fractions of all calls.
const BACKGROUND: [(Class, f64); 4] = [
    (Class::ProviderOverloaded, 0.008),
    (Class::ProviderError, 0.004),
    (Class::Network, 0.002),
    (Class::Timeout, 0.0007),
];

impl Simulation {
    fn run(&mut self) {
        let mut next = START - DAY;
        let mut burst = (next, false);
        while next < START + DAY {
            if self.retries.peek().is_some_and(|retry| retry.0.at < next) {
                let Some(Reverse(attempt)) = self.retries.pop() else { break };
                self.attempt(attempt);
                continue;
            }
            let mix = &self.traffic.mix;
            let shares: Vec<f64> = (0..mix.models).map(|model| share(mix, model)).collect();
            let mut rate = mix.requests_per_minute / 60.0;
            if mix.has_bursts {
                rate *= if burst.1 { 2.2 } else { 0.7 };
            }
            let model = self.dice.weighted(shares.into_iter()) as u32;
            let is_invalid = self.dice.chance(0.004);
            self.attempt(Attempt { at: next, model, retries: 0, is_invalid });
            if burst.0 <= next {
                let mean = if burst.1 { 900.0 } else { 240.0 };
                burst = (next + (self.dice.exponential(mean) * 1e6) as i64, !burst.1);
            }
            next += (self.dice.exponential(1.0 / rate) * 1e6) as i64 + 1;
        }
    }

    fn attempt(&mut self, attempt: Attempt) {
        let Attempt { at, model, .. } = attempt;
        let key = self.order.next(&mut self.dice);
        let tokens = self.dice.lognormal(800.0, 0.8).min(20_000.0) as u64 + 1;
        let answer = self.answer(attempt, key, tokens);
        let class = answer.as_ref().map(|answer| answer.0);
        let latency = match class {
            None => self.dice.lognormal(2_000.0, 0.6),
            Some(Class::Timeout) => 60_000.0,
            Some(_) => self.dice.lognormal(250.0, 0.4),
        };
        let latency_ms = latency.clamp(5.0, 120_000.0) as u32;
        let ends_at = at + i64::from(latency_ms) * 1000;
        let clock = self.clocks[self.dice.below(3)];
        let status = match class {
            None => 200,
            Some(Class::BadRequest) => 400,
            Some(Class::KeyInvalid) => 403,
            Some(Class::ProviderOverloaded) => 503,
            Some(Class::ProviderError) => 500,
            Some(Class::Network | Class::Timeout) => 0,
            Some(_) => 429,
        };
        let refusing = answer.and_then(|answer| answer.1);
        let (class, quota, retry_at) = match refusing {
            Some(index) => self.refusal(key, model, index, at, ends_at + clock),
            None => (class, None, None),
        };
        let is_logged = !self.dice.chance(self.traffic.mix.unlogged);
        let call = LoggedCall { at: at + clock, key, model, class, status, latency_ms, is_logged };
        self.traffic.rows.push(Row { call, quota, retry_at });
        if class.is_some() {
            self.order.failed();
            if attempt.retries < self.traffic.mix.retries && self.dice.chance(0.8) {
                let at = ends_at + ((0.02 + self.dice.exponential(0.3)) * 1e6) as i64;
                self.retries.push(Reverse(Attempt { at, retries: attempt.retries + 1, ..attempt }));
            }
        }
    }

    /// The class of a failure, and the index of the quota that refuses.
    fn answer(
        &mut self,
        attempt: Attempt,
        key: u32,
        tokens: u64,
    ) -> Option<(Class, Option<usize>)> {
        let Attempt { at, model, is_invalid, .. } = attempt;
        if self.traffic.is_dead(key, at) {
            return Some((Class::KeyInvalid, None));
        }
        if is_invalid {
            return Some((Class::BadRequest, None));
        }
        let quotas = self.traffic.quotas_of(key, model);
        if let Some(index) = quotas.iter().position(|quota| quota.use_at(at) >= quota.ceiling) {
            return Some((Class::QuotaOther, Some(index)));
        }
        let outage = self
            .traffic
            .outages
            .iter()
            .find(|outage| outage.model == model && (outage.since..outage.until).contains(&at));
        let strength = outage.map_or(0.0, |outage| outage.strength);
        let mut failure = self.dice.chance(strength).then_some(Class::ProviderOverloaded);
        let mut left = self.dice.unit();
        for (class, part) in BACKGROUND {
            left -= part * self.traffic.mix.background;
            if left < 0.0 && failure.is_none() {
                failure = Some(class);
            }
        }
        if failure.is_none() || self.traffic.mix.failures_count && failure != Some(Class::Network) {
            let cell = self.traffic.projects[key as usize] * self.traffic.mix.models + model;
            for quota in &mut self.traffic.quotas[cell as usize] {
                let amount = if quota.metric == QuotaMetric::Requests { 1 } else { tokens };
                quota.used.push((at, amount));
            }
        }
        failure.map(|class| (class, None))
    }

    /// What the text of a refusal states.
    fn refusal(
        &mut self,
        key: u32,
        model: u32,
        index: usize,
        at: i64,
        logged_at: i64,
    ) -> (Option<Class>, Option<StatedQuota>, Option<i64>) {
        let mix = &self.traffic.mix;
        let quota = &self.traffic.quotas_of(key, model)[index];
        let is_minute = quota.window.is_minute();
        let is_tokens = quota.metric == QuotaMetric::Tokens;
        let right = (quota.accepts_at(at) - at).max(0) / SECOND + 1;
        let any = 1 + self.dice.below(59) as i64;
        let delay = match mix.delay {
            Delay::None => None,
            Delay::Right => Some(right),
            Delay::Seconds => Some(if is_minute { right } else { any }),
            Delay::Minute => Some(60),
        };
        let retry_at = delay.map(|delay| logged_at + delay * SECOND);
        if mix.is_unnamed {
            return (Some(Class::QuotaOther), None, retry_at);
        }
        let stated = StatedQuota {
            metric: Some(quota.metric),
            window: Some(Duration::from_micros(quota.window.length() as u64)),
            limit: mix.states_limits.then_some(quota.ceiling),
            ..StatedQuota::default()
        };
        let class = match (is_minute, is_tokens) {
            (false, _) => Class::QuotaDay,
            (true, true) => Class::QuotaTokens,
            (true, false) => Class::QuotaMinute,
        };
        (Some(class), Some(stated), retry_at)
    }
}
