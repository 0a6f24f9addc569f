//! Generates the calls: arrival, key, outcome and retries.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use chrono::{DateTime, TimeDelta, Utc};

use super::dice::{Dice, seconds};
use super::fault::Fault;
use super::incident::Incidents;
use super::model::{MODELS, Model};
use super::pool::{Health, Pool};
use super::rhythm::Rhythm;
use super::{Exchange, HISTORY_DAYS, error_text};
use crate::domain::record::{CallRecord, ErrorRecord};

/// Maximum of retries per request.
const MAX_RETRIES: u8 = 3;
/// Fraction of failures without an error log.
const UNLOGGED: f64 = 0.06;
/// Fraction of error logs with a later time than their call.
const LOGGED_LATER: f64 = 0.3;

/// The history: calls before `until`, ordered by time.
pub struct Traffic {
    until: DateTime<Utc>,
    engine: Engine,
}

/// The calls after the history.
pub struct Live(Engine);

struct Engine {
    dice: Dice,
    pool: Pool,
    rhythm: Rhythm,
    incidents: Incidents,
    next_arrival: DateTime<Utc>,
    retries: BinaryHeap<Reverse<Attempt>>,
}

/// A request to the provider. Ordered by time, which is the first field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Attempt {
    at: DateTime<Utc>,
    model: usize,
    endpoint: &'static str,
    retries: u8,
    /// The request fails with every key.
    is_invalid: bool,
}

impl Traffic {
    pub fn new(seed: u64, until: DateTime<Utc>) -> Self {
        let since = until - TimeDelta::days(HISTORY_DAYS);
        let mut dice = Dice::new(seed);
        let pool = Pool::new(&mut dice, until);
        let incidents = Incidents::new(&mut dice, until);
        let rhythm = Rhythm::new(since, until);
        let retries = BinaryHeap::new();
        let engine = Engine { dice, pool, rhythm, incidents, next_arrival: since, retries };
        Self { until, engine }
    }

    /// Skips the rest of the history.
    pub fn into_live(mut self) -> Live {
        self.by_ref().for_each(drop);
        Live(self.engine)
    }
}

impl Iterator for Traffic {
    type Item = Exchange;

    fn next(&mut self) -> Option<Exchange> {
        self.engine.next(self.until)
    }
}

impl Live {
    /// The next calls before `until`. Their error logs are before `until` too.
    pub fn until(&mut self, until: DateTime<Utc>) -> impl Iterator<Item = Exchange> {
        std::iter::from_fn(move || self.0.next(until))
    }
}

impl Engine {
    /// The next call before `limit`, and its error log, also before `limit`.
    fn next(&mut self, limit: DateTime<Utc>) -> Option<Exchange> {
        let attempt = self.next_attempt(limit)?;
        let model = &MODELS[attempt.model];
        let key = self.pool.next();
        let fault = self.fault(attempt, key);
        // Successful calls in an outage are slow.
        let slowdown = if self.incidents.is_down(attempt.at, attempt.model) { 3.0 } else { 1.0 };
        let latency_ms = match fault {
            Some(fault) => fault.latency_ms(&mut self.dice),
            None => model.latency_ms(&mut self.dice, slowdown),
        };
        let latency = TimeDelta::milliseconds(latency_ms as i64);
        let call = CallRecord {
            timestamp: attempt.at,
            key: Some(self.pool.keys[key].text.clone()),
            model: Some(model.name.to_owned()),
            status_code: fault.map_or(Some(200), Fault::status_code),
            latency_ms: i32::try_from(latency.num_milliseconds()).ok(),
        };
        let Some(fault) = fault else { return Some((call, None)) };
        self.retry(attempt, fault, latency);
        if self.dice.chance(UNLOGGED) {
            return Some((call, None));
        }
        let later = self.dice.chance(LOGGED_LATER);
        let delay = if later { latency.as_seconds_f64() * self.dice.unit() } else { 0.0 };
        let error = ErrorRecord {
            timestamp: (attempt.at + seconds(delay)).min(limit - TimeDelta::microseconds(1)),
            key: call.key.clone(),
            model: call.model.clone(),
            error_type: Some(attempt.endpoint.to_owned()),
            error_code: fault.status_code(),
            message: Some(error_text::message(fault, model, &mut self.dice)),
            request: error_text::request(attempt.endpoint, model, &mut self.dice)
                .map(|request| request.to_string()),
        };
        Some((call, Some(error)))
    }

    /// The earlier one of the next retry and the next arrival.
    fn next_attempt(&mut self, limit: DateTime<Utc>) -> Option<Attempt> {
        if let Some(Reverse(retry)) = self.retries.peek().copied()
            && retry.at < self.next_arrival
        {
            return if retry.at < limit { self.retries.pop().map(|retry| retry.0) } else { None };
        }
        if self.next_arrival >= limit {
            return None;
        }
        let at = self.next_arrival;
        let rate = self.rhythm.rate(&mut self.dice, at);
        self.next_arrival = at + seconds(self.dice.exponential(1.0 / rate));
        let model = Model::choose(&mut self.dice);
        let endpoint = MODELS[model].choose_endpoint(&mut self.dice);
        Some(Attempt { at, model, endpoint, retries: 0, is_invalid: false })
    }

    fn fault(&mut self, attempt: Attempt, key: usize) -> Option<Fault> {
        let Attempt { at, model, .. } = attempt;
        let dice = &mut self.dice;
        let owner = &self.pool.keys[key];
        if matches!(owner.health, Health::Dead(since) if since <= at) {
            return Some(Fault::Suspended);
        }
        if attempt.is_invalid {
            return Some(Fault::BadRequest);
        }
        if self.incidents.is_exhausted(at, key, model) {
            return Some(Fault::DailyQuota);
        }
        if matches!(owner.health, Health::Throttled(since) if since <= at) && dice.chance(0.6) {
            return Some(Fault::MinuteQuota);
        }
        if self.incidents.is_down(at, model) && dice.chance(0.85) {
            return Some(if dice.chance(0.8) { Fault::Overloaded } else { Fault::Internal });
        }
        let burst = if self.rhythm.is_bursting() { 2.0 } else { 0.7 };
        Fault::ordinary(dice, owner.strain * burst)
    }

    fn retry(&mut self, failed: Attempt, fault: Fault, latency: TimeDelta) {
        if failed.retries == MAX_RETRIES || !self.dice.chance(fault.retry_chance()) {
            return;
        }
        let pause = seconds(0.02 + self.dice.exponential(0.3));
        self.retries.push(Reverse(Attempt {
            at: failed.at + latency + pause,
            retries: failed.retries + 1,
            is_invalid: failed.is_invalid || fault == Fault::BadRequest,
            ..failed
        }));
    }
}
