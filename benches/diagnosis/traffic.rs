//! Labelled traffic: the calls of a simulated gateway, and which fault caused each failure. The same seed gives the
//! same calls.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use callscope::demo::dice::Dice;
use callscope::domain::diagnosis::{Calls, Cause};
use callscope::domain::failure::FailureClass as Class;

use super::gateway::{HOUR, KeyOrder, LoggedCall, MINUTE, Rotation, START, projects};

const WINDOW: i64 = 24 * HOUR;

/// How the rate of requests changes in time.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    Steady,
    /// Times of some minutes with 3 times the rate.
    Bursts,
    /// Nearly no calls at night.
    Daily,
}

#[derive(Clone, Debug)]
pub struct Mix {
    pub seed: u64,
    pub keys: u32,
    pub models: u32,
    pub requests_per_minute: f64,
    pub rotation: Rotation,
    pub shape: Shape,
    pub retries: u8,
    /// The share of failures without an error log.
    pub unlogged: f64,
    /// The share of incidents with texts that no rule reads.
    pub unreadable: f64,
    /// Factor of the usual failures.
    pub background: f64,
    /// The standard deviation of the logarithm of latencies.
    pub latency_sigma: f64,
    /// The clocks of the gateway's processes differ by up to this, in seconds.
    pub skew: f64,
    pub incidents: usize,
    /// One incident of this cause instead.
    pub only: Option<Cause>,
}

impl Mix {
    /// A random mix. Thresholds were chosen with these.
    pub fn tuning(seed: u64) -> Self {
        let dice = &mut Dice::new(seed);
        let keys = [20, 25, 50, 80, 200, 300, 700, 1000][dice.below(8)];
        let calls_per_key = dice.between(0.3, 4.0);
        Self {
            seed,
            keys,
            models: 3 + dice.below(9) as u32,
            requests_per_minute: (f64::from(keys) * calls_per_key).clamp(12.0, 250.0),
            rotation: [Rotation::RoundRobin, Rotation::Random, Rotation::Sticky][dice.below(3)],
            shape: [Shape::Steady, Shape::Bursts, Shape::Daily][dice.below(3)],
            retries: 1 + dice.below(5) as u8,
            unlogged: [0.0, 0.06, 0.2, 0.4][dice.below(4)],
            unreadable: 0.03,
            background: dice.between(0.3, 2.0),
            latency_sigma: dice.between(0.3, 0.9),
            skew: 2.0,
            incidents: dice.below(7),
            only: None,
        }
    }

    /// A random mix with other parameters. It was used for no decision.
    pub fn held_out(seed: u64) -> Self {
        let dice = &mut Dice::new(seed ^ 0x5EED_0FF0);
        let keys = [22, 35, 120, 400, 900][dice.below(5)];
        let calls_per_key = dice.between(0.3, 6.0);
        Self {
            seed: seed ^ 0x5EED_0FF0,
            keys,
            models: 3 + dice.below(13) as u32,
            requests_per_minute: (f64::from(keys) * calls_per_key).clamp(10.0, 300.0),
            rotation: [Rotation::RoundRobin, Rotation::Random, Rotation::Sticky][dice.below(3)],
            shape: [Shape::Steady, Shape::Bursts, Shape::Daily][dice.below(3)],
            retries: dice.below(7) as u8,
            unlogged: [0.03, 0.12, 0.3][dice.below(3)],
            unreadable: 0.04,
            background: dice.between(0.2, 3.0),
            latency_sigma: dice.between(0.25, 1.05),
            skew: 3.0,
            incidents: dice.below(8),
            only: None,
        }
    }
}

impl Mix {
    /// One fault of this cause, with about 10 calls a minute on the thing that fails.
    pub fn detection(cause: Cause, seed: u64) -> Self {
        let requests_per_minute = match cause {
            Cause::KeyDead | Cause::KeyUnpaid => 200.0,
            Cause::QuotaExhausted => 400.0,
            Cause::PoolExhausted | Cause::ModelOutage | Cause::ClientFault | Cause::Unknown => 18.0,
            _ => 10.0,
        };
        Self {
            seed,
            keys: 20,
            models: 3,
            requests_per_minute,
            rotation: Rotation::RoundRobin,
            shape: Shape::Steady,
            retries: 3,
            unlogged: 0.06,
            unreadable: 0.0,
            background: 1.0,
            latency_sigma: 0.6,
            skew: 1.0,
            incidents: 0,
            only: Some(cause),
        }
    }
}

/// A fault and its true cause and scope.
#[derive(Clone, Debug)]
pub struct Incident {
    pub cause: Cause,
    /// Empty: all keys.
    pub keys: Vec<u32>,
    /// Empty: all models.
    pub models: Vec<u32>,
    pub since: i64,
    pub until: i64,
    /// The probability that a call in the scope fails, or the factor of the latency.
    strength: f64,
    class: Class,
    /// No rule reads its texts: only the status code is known.
    is_unreadable: bool,
    /// POOL_EXHAUSTED: when each key runs out.
    exhausted_at: Vec<Option<i64>>,
}

impl Incident {
    fn covers(&self, at: i64, key: u32, model: u32) -> bool {
        self.since <= at
            && at < self.until
            && (self.keys.is_empty() || self.keys.contains(&key))
            && (self.models.is_empty() || self.models.contains(&model))
    }
}

pub struct Traffic {
    pub calls: Calls,
    /// The incident that caused each call to fail (or to be slow).
    pub label: Vec<Option<u32>>,
    /// When each row is visible in the database.
    pub visible_at: Vec<i64>,
    pub incidents: Vec<Incident>,
    pub as_of: i64,
}

impl Traffic {
    /// The calls that are visible at a time.
    pub fn visible(&self, as_of: i64) -> Calls {
        let mut calls =
            Calls { keys: self.calls.keys, models: self.calls.models, ..Calls::default() };
        for call in 0..self.calls.len() {
            if self.visible_at[call] <= as_of && self.calls.at[call] <= as_of {
                calls.at.push(self.calls.at[call]);
                calls.key.push(self.calls.key[call]);
                calls.model.push(self.calls.model[call]);
                calls.status.push(self.calls.status[call]);
                calls.latency_ms.push(self.calls.latency_ms[call]);
                calls.outcome.push(self.calls.outcome[call]);
            }
        }
        calls
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Attempt {
    at: i64,
    model: u32,
    retries: u8,
    /// The request fails with every key, by this incident.
    invalid: Option<Option<u32>>,
    /// The client's own key.
    pinned: Option<u32>,
}

struct Row {
    call: LoggedCall,
    label: Option<u32>,
    visible_at: i64,
}

pub fn generate(mix: &Mix) -> Traffic {
    let mut dice = Dice::new(mix.seed);
    let projects = projects(mix.keys, &mut dice);
    let incidents = incidents(mix, &projects, &mut dice);
    let mut simulation = Simulation {
        mix,
        projects,
        incidents,
        order: KeyOrder::new(mix.rotation, mix.keys, &mut dice),
        minute_calls: vec![VecDeque::new(); (mix.keys * mix.models) as usize],
        shares: (0..mix.models).map(|model| 1.0 / f64::from(model + 1)).collect(),
        medians: (0..mix.models).map(|_| dice.lognormal(2_000.0, 0.8)).collect(),
        rows: Vec::new(),
        retries: BinaryHeap::new(),
        dice,
    };
    simulation.run();
    simulation.into_traffic()
}

fn incidents(mix: &Mix, projects: &[u32], dice: &mut Dice) -> Vec<Incident> {
    if let Some(cause) = mix.only {
        return vec![incident(mix, cause, projects, dice)];
    }
    let mut incidents: Vec<Incident> = Vec::new();
    for _ in 0..mix.incidents {
        let cause = Cause::ALL[dice.below(Cause::ALL.len())];
        let incident = incident(mix, cause, projects, dice);
        // Two faults of one cause and scope at once are one.
        let is_same = |other: &Incident| {
            other.cause == incident.cause
                && other.since < incident.until + HOUR
                && incident.since < other.until + HOUR
        };
        if !incidents.iter().any(is_same) {
            incidents.push(incident);
        }
    }
    incidents
}

fn incident(mix: &Mix, cause: Cause, projects: &[u32], dice: &mut Dice) -> Incident {
    let hours = |dice: &mut Dice, from: f64, to: f64| (dice.between(from, to) * HOUR as f64) as i64;
    let since = START + hours(dice, 4.0, 20.0);
    let brief = since + hours(dice, 0.3, 2.5);
    let end = START + WINDOW;
    let key = dice.below(mix.keys as usize) as u32;
    // A model with enough calls.
    let model = dice.below(3) as u32;
    let one = |list: &[Class], dice: &mut Dice| list[dice.below(list.len())];
    let mut incident = Incident {
        cause,
        keys: Vec::new(),
        models: Vec::new(),
        since,
        until: brief,
        strength: 1.0,
        class: Class::Unknown,
        is_unreadable: dice.chance(mix.unreadable),
        exhausted_at: Vec::new(),
    };
    match cause {
        Cause::KeyDead => {
            incident.keys = vec![key];
            incident.until = end;
            incident.class =
                one(&[Class::KeyInvalid, Class::KeySuspended, Class::KeyPermission], dice);
        }
        Cause::KeyUnpaid => {
            incident.keys = vec![key];
            incident.until = end;
            incident.class = Class::Billing;
        }
        Cause::QuotaExhausted => {
            let project = projects[key as usize];
            incident.keys =
                (0..mix.keys).filter(|key| projects[*key as usize] == project).collect();
            incident.models = vec![model];
            incident.until = since + hours(dice, 1.5, 8.0);
            incident.class = one(&[Class::QuotaDay, Class::QuotaDay, Class::QuotaOther], dice);
        }
        Cause::RateTooHigh => {
            incident.keys = vec![key];
            incident.models = vec![model];
            // Requests a minute that the provider accepts.
            incident.strength = dice.between(3.0, 8.0);
            incident.class = one(&[Class::QuotaMinute, Class::QuotaTokens], dice);
        }
        Cause::PoolExhausted => {
            incident.models = vec![model];
            incident.until = since + hours(dice, 1.0, 4.0);
            incident.class = Class::QuotaDay;
            let wave = dice.between(1.0, 25.0);
            let spared = dice.between(0.0, 0.2);
            incident.exhausted_at = (0..mix.keys)
                .map(|_| {
                    let after = dice.between(0.0, wave) * MINUTE as f64;
                    (!dice.chance(spared)).then_some(since + after as i64)
                })
                .collect();
        }
        Cause::AddressBlocked => {
            incident.class =
                one(&[Class::RegionBlocked, Class::IpBlocked, Class::KeyPermission], dice);
        }
        Cause::ModelOutage => {
            incident.models = vec![model];
            incident.strength = dice.between(0.35, 1.0);
            incident.class = one(
                &[Class::ProviderOverloaded, Class::ProviderOverloaded, Class::ProviderError],
                dice,
            );
        }
        Cause::ProviderOutage => {
            incident.strength = dice.between(0.35, 1.0);
            incident.class = one(&[Class::ProviderOverloaded, Class::ProviderError], dice);
        }
        Cause::ClientFault => {
            incident.models = vec![model];
            incident.strength = dice.between(0.25, 0.9);
            incident.class = one(
                &[
                    Class::BadRequest,
                    Class::ContentFilter,
                    Class::ContextTooLong,
                    Class::ModelNotFound,
                ],
                dice,
            );
        }
        Cause::GatewayFault => {
            incident.strength = dice.between(0.3, 1.0);
            incident.class = one(&[Class::Network, Class::Timeout, Class::GatewayOther], dice);
        }
        Cause::Slow => {
            if dice.chance(0.3) {
                incident.keys = vec![key];
            } else {
                incident.models = vec![model];
            }
            incident.until = since + hours(dice, 1.0, 3.0);
            incident.strength = dice.between(4.0, 10.0);
        }
        Cause::Silent => {
            if dice.chance(0.5) {
                incident.keys = vec![key];
                incident.until = end;
            } else {
                incident.until = since + hours(dice, 0.5, 1.5);
            }
        }
        Cause::Unknown => {
            incident.models = vec![model];
            incident.strength = dice.between(0.4, 1.0);
        }
    }
    incident
}

/// Usual failures, as fractions of all calls.
const BACKGROUND: [(Class, f64); 7] = [
    (Class::QuotaMinute, 0.012),
    (Class::ProviderOverloaded, 0.008),
    (Class::ProviderError, 0.004),
    (Class::Network, 0.002),
    (Class::Timeout, 0.0007),
    (Class::KeyPermission, 0.0002),
    (Class::Unknown, 0.0005),
];
/// Requests that are invalid without a fault of the client.
const INVALID: f64 = 0.004;

struct Simulation<'a> {
    mix: &'a Mix,
    projects: Vec<u32>,
    incidents: Vec<Incident>,
    order: KeyOrder,
    /// The accepted calls of the last minute by project and model.
    minute_calls: Vec<VecDeque<i64>>,
    /// The relative share of each model.
    shares: Vec<f64>,
    medians: Vec<f64>,
    rows: Vec<Row>,
    retries: BinaryHeap<Reverse<Attempt>>,
    dice: Dice,
}

impl Simulation<'_> {
    fn run(&mut self) {
        let end = START + WINDOW;
        let mut next = START;
        let mut burst = (START, false);
        loop {
            let retry = self.retries.peek().map(|retry| retry.0.at);
            if retry.is_some_and(|at| at < next) {
                let Some(Reverse(attempt)) = self.retries.pop() else { break };
                self.attempt(attempt);
                continue;
            }
            if next >= end {
                break;
            }
            let model = self.dice.weighted(self.shares.iter().copied()) as u32;
            let attempt = Attempt { at: next, model, retries: 0, invalid: None, pinned: None };
            self.request(attempt);
            self.pinned_requests(next);
            if burst.0 <= next {
                let mean = if burst.1 { 900.0 } else { 240.0 };
                burst = (next + (self.dice.exponential(mean) * 1e6) as i64, !burst.1);
            }
            let rate = self.mix.requests_per_minute / 60.0
                * match self.mix.shape {
                    Shape::Steady => 1.0,
                    Shape::Bursts if burst.1 => 2.2,
                    Shape::Bursts => 0.7,
                    Shape::Daily => {
                        let hour = (next - START) as f64 / HOUR as f64;
                        1.03 - ((hour - 1.0) / 24.0 * std::f64::consts::TAU).cos()
                    }
                };
            next += (self.dice.exponential(1.0 / rate) * 1e6) as i64 + 1;
        }
    }

    fn active(&self, cause: Cause, at: i64, key: u32, model: u32) -> Option<(u32, Incident)> {
        let found = self
            .incidents
            .iter()
            .enumerate()
            .find(|(_, incident)| incident.cause == cause && incident.covers(at, key, model));
        found.map(|(index, incident)| (index as u32, incident.clone()))
    }

    /// A client that uses one key and model far above its limit.
    fn pinned_requests(&mut self, at: i64) {
        let found = self.incidents.iter().find(|incident| {
            incident.cause == Cause::RateTooHigh && incident.since <= at && at < incident.until
        });
        let Some(incident) = found else { return };
        let (key, model) = (incident.keys[0], incident.models[0]);
        let wanted = incident.strength * 2.2 / self.mix.requests_per_minute;
        let mut left = wanted;
        while left > 0.0 {
            if self.dice.chance(left.min(1.0)) {
                let at = at + (self.dice.unit() * 2e6) as i64;
                let attempt = Attempt { at, model, retries: 0, invalid: None, pinned: Some(key) };
                self.retries.push(Reverse(attempt));
            }
            left -= 1.0;
        }
    }

    fn request(&mut self, mut attempt: Attempt) {
        let Attempt { at, model, .. } = attempt;
        let gateway_is_down = self.incidents.iter().any(|incident| {
            incident.cause == Cause::Silent
                && incident.keys.is_empty()
                && incident.since <= at
                && at < incident.until
        });
        if gateway_is_down {
            return;
        }
        let fault = self.active(Cause::ClientFault, at, u32::MAX, model);
        attempt.invalid = match fault {
            Some((index, incident)) if self.dice.chance(incident.strength) => Some(Some(index)),
            _ => self.dice.chance(INVALID).then_some(None),
        };
        self.attempt(attempt);
    }

    fn next_key(&mut self, at: i64) -> u32 {
        loop {
            let key = self.order.next(&mut self.dice);
            let is_removed = self.incidents.iter().any(|incident| {
                incident.cause == Cause::Silent
                    && incident.keys.contains(&key)
                    && incident.since <= at
                    && at < incident.until
            });
            if !is_removed {
                return key;
            }
            self.order.leave();
        }
    }

    fn attempt(&mut self, attempt: Attempt) {
        let Attempt { at, model, .. } = attempt;
        let key = attempt.pinned.unwrap_or_else(|| self.next_key(at));
        let (class, label) = match self.fault(attempt, key) {
            Some((class, label)) => (Some(class), label),
            None => (None, None),
        };
        let mut label = label;
        let latency = match class {
            None => {
                let slow = self.active(Cause::Slow, at, key, model);
                let factor = slow.as_ref().map_or(1.0, |(_, incident)| incident.strength);
                let latency =
                    self.dice.lognormal(self.medians[model as usize], self.mix.latency_sigma);
                if latency * factor > 3.0 * self.medians[model as usize] {
                    label = slow.map(|(index, _)| index);
                }
                latency * factor
            }
            Some(Class::Timeout) => 60_000.0 + self.dice.exponential(200.0),
            Some(Class::Network) => self.dice.lognormal(420.0, 1.1),
            Some(Class::ProviderOverloaded | Class::ProviderError) => {
                self.dice.lognormal(1_300.0, 0.8)
            }
            Some(_) => self.dice.lognormal(220.0, 0.35),
        };
        let latency_ms = latency.clamp(5.0, 300_000.0) as u32;
        let ends_at = at + i64::from(latency_ms) * 1000;
        let status = class.map_or(200, |class| self.status(class));
        let skew = (f64::from(key % 3) - 1.0) * self.mix.skew * 1e6;
        let is_unreadable = label.is_some_and(|it| self.incidents[it as usize].is_unreadable);
        let late = if self.dice.chance(0.01) { 45.0 } else { 0.5 };
        self.rows.push(Row {
            label,
            visible_at: ends_at + (self.dice.exponential(late) * 1e6) as i64,
            call: LoggedCall {
                at: at + skew as i64,
                key,
                model,
                class,
                status,
                latency_ms,
                is_logged: !is_unreadable && !self.dice.chance(self.mix.unlogged),
            },
        });
        if let Some(class) = class {
            self.order.failed();
            let chance = if attempt.invalid.is_some() { 0.3 } else { 0.8 };
            let is_given_up = attempt.retries >= self.mix.retries || !self.dice.chance(chance);
            if !is_given_up && class != Class::ContentFilter {
                self.retries.push(Reverse(Attempt {
                    at: ends_at + ((0.02 + self.dice.exponential(0.3)) * 1e6) as i64,
                    retries: attempt.retries + 1,
                    pinned: None,
                    ..attempt
                }));
            }
        }
    }

    fn fault(&mut self, attempt: Attempt, key: u32) -> Option<(Class, Option<u32>)> {
        let Attempt { at, model, .. } = attempt;
        let certain = [
            Cause::GatewayFault,
            Cause::AddressBlocked,
            Cause::KeyDead,
            Cause::KeyUnpaid,
            Cause::QuotaExhausted,
            Cause::ProviderOutage,
            Cause::ModelOutage,
            Cause::Unknown,
        ];
        for cause in certain {
            if cause == Cause::QuotaExhausted {
                // Requests are read before quotas are counted.
                if let Some(label) = attempt.invalid {
                    let class = label.map(|index| self.incidents[index as usize].class);
                    return Some((class.unwrap_or(Class::BadRequest), label));
                }
                if let Some((index, incident)) = self.active(Cause::PoolExhausted, at, key, model)
                    && incident.exhausted_at[key as usize].is_some_and(|exhausted| exhausted <= at)
                {
                    return Some((incident.class, Some(index)));
                }
                if let Some(refused) = self.rate_limit(at, key, model) {
                    return Some(refused);
                }
            }
            if let Some((index, incident)) = self.active(cause, at, key, model)
                && self.dice.chance(incident.strength)
            {
                return Some((incident.class, Some(index)));
            }
        }
        let mut left = self.dice.unit();
        for (class, part) in BACKGROUND {
            left -= part * self.mix.background;
            if left < 0.0 {
                return Some((class, None));
            }
        }
        None
    }

    /// The requests of a minute: a sliding window for even projects, a fixed one for odd ones.
    fn rate_limit(&mut self, at: i64, key: u32, model: u32) -> Option<(Class, Option<u32>)> {
        let (index, incident) = self.active(Cause::RateTooHigh, at, key, model)?;
        let project = self.projects[key as usize];
        let accepted = &mut self.minute_calls[(project * self.mix.models + model) as usize];
        let is_fixed = project % 2 == 1;
        let start = if is_fixed { at - at % MINUTE } else { at - MINUTE };
        while accepted.front().is_some_and(|accepted| *accepted < start) {
            accepted.pop_front();
        }
        if accepted.len() as f64 >= incident.strength {
            return Some((incident.class, Some(index)));
        }
        accepted.push_back(at);
        None
    }

    fn status(&mut self, class: Class) -> u16 {
        match class {
            Class::KeyInvalid => [400, 401][self.dice.below(2)],
            Class::KeySuspended | Class::KeyPermission | Class::IpBlocked => 403,
            Class::RegionBlocked | Class::BadRequest | Class::ContextTooLong => 400,
            Class::ContentFilter => 400,
            Class::Billing => [402, 429][self.dice.below(2)],
            Class::QuotaDay | Class::QuotaTokens | Class::QuotaMinute | Class::QuotaOther => 429,
            Class::ProviderOverloaded => 503,
            Class::ProviderError => 500,
            Class::ModelNotFound => 404,
            Class::GatewayOther => 502,
            Class::Network | Class::Timeout => 0,
            Class::Unknown => 418,
        }
    }

    fn into_traffic(mut self) -> Traffic {
        self.rows.sort_by_key(|row| row.call.at);
        let mut calls = Calls {
            keys: self.mix.keys as usize,
            models: self.mix.models as usize,
            ..Calls::default()
        };
        let (mut label, mut visible_at) = (Vec::new(), Vec::new());
        for row in &self.rows {
            row.call.add_to(&mut calls);
            label.push(row.label);
            visible_at.push(row.visible_at);
        }
        let as_of = START + WINDOW;
        Traffic { calls, label, visible_at, incidents: self.incidents, as_of }
    }
}

impl Incident {
    /// When half of the keys are out of quota.
    pub fn most_exhausted_at(&self) -> i64 {
        let mut times: Vec<i64> =
            self.exhausted_at.iter().map(|at| at.unwrap_or(i64::MAX)).collect();
        times.sort_unstable();
        times[times.len() / 2]
    }
}
