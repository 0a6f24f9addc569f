//! The answers of [`PoolQuotas`]: usability, quotas, candidates and forecast.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::diagnosis::{Cause, Diagnosis};
use crate::domain::failure::QuotaMetric;

use super::cell::{Block, CellState};
use super::history::Kind;
use super::thresholds::{DAY, SECOND};
use super::window::Window;
use super::{KeyQuota, PoolPoint, PoolQuotas, QuotaGroup, Usability, UsabilityState as State};

/// A diagnosis that lasts.
struct Fault {
    index: usize,
    cause: Cause,
    models: Vec<u32>,
    /// The share of failed calls.
    rate: f64,
}

/// From this share of failed calls on, a key is unusable in a fault.
const MOST: f64 = 0.7;

/// The diagnoses that last, in their order. A large pool may have one of each key.
pub(super) struct Faults {
    of_all_keys: Vec<Arc<Fault>>,
    of_key: HashMap<u32, Vec<Arc<Fault>>>,
}

impl Faults {
    pub fn new(diagnoses: &[Diagnosis]) -> Self {
        let mut faults = Self { of_all_keys: vec![], of_key: HashMap::new() };
        let lasts = diagnoses.iter().enumerate().filter(|it| it.1.until.is_none());
        for (index, it) in lasts {
            let fault = Arc::new(Fault {
                index,
                cause: it.cause,
                models: it.models.clone(),
                rate: it.failures as f64 / (it.failures + it.successes).max(1) as f64,
            });
            for key in &it.keys {
                faults.of_key.entry(*key).or_default().push(Arc::clone(&fault));
            }
            if it.keys.is_empty() {
                faults.of_all_keys.push(fault);
            }
        }
        faults
    }

    fn covering(&self, key: u32, model: Option<u32>) -> impl Iterator<Item = &Fault> {
        let of_key = self.of_key.get(&key).into_iter().flatten();
        let all = self.of_all_keys.iter().chain(of_key).map(Arc::as_ref);
        all.filter(move |fault| fault.covers(model))
    }
}

impl Fault {
    fn covers(&self, model: Option<u32>) -> bool {
        let has_model = |model: u32| self.models.is_empty() || self.models.contains(&model);
        model.map_or(self.models.is_empty(), has_model)
    }

    /// The state of the keys that it covers; None if that depends on their quotas or the request.
    fn state(&self) -> Option<State> {
        match self.cause {
            Cause::KeyDead | Cause::KeyUnpaid | Cause::AddressBlocked => Some(State::Unusable),
            Cause::ModelOutage | Cause::ProviderOutage | Cause::GatewayFault | Cause::Unknown => {
                Some(if self.rate >= MOST { State::Unusable } else { State::Limited })
            }
            Cause::RateTooHigh => Some(State::Limited),
            Cause::QuotaExhausted
            | Cause::PoolExhausted
            | Cause::ClientFault
            | Cause::Slow
            | Cause::Silent => None,
        }
    }

    fn is_quota(&self) -> bool {
        matches!(self.cause, Cause::QuotaExhausted | Cause::PoolExhausted | Cause::RateTooHigh)
    }
}

impl PoolQuotas {
    /// Whether the next call of a key is expected to be accepted, of a model or of any.
    pub fn usability(&self, key: u32, model: Option<u32>) -> Usability {
        match model {
            Some(_) => self.of_cell(key, model),
            None => {
                let models = self.cells_of(key).map(|cell| self.of_cell(key, Some(cell.model)));
                let best =
                    models.min_by_key(|it| (rank(it.state), it.usable_at.unwrap_or(i64::MAX)));
                best.unwrap_or_else(|| self.of_cell(key, None))
            }
        }
    }

    fn of_cell(&self, key: u32, model: Option<u32>) -> Usability {
        let faults = self.faults.covering(key, model);
        let worst = faults.filter_map(|fault| Some((fault, fault.state()?)));
        let worst = worst.max_by_key(|(_, state)| rank(*state));
        if let Some((fault, State::Unusable)) = worst {
            let because = Some(fault.index);
            return Usability { state: State::Unusable, usable_at: None, because };
        }
        if let Some(Block { until, .. }) = self.cell(key, model).and_then(|cell| cell.block) {
            let mut faults = self.faults.covering(key, model);
            let because = faults.find(|fault| fault.is_quota()).map(|fault| fault.index);
            return Usability { state: State::Unusable, usable_at: until, because };
        }
        let usable_at = Some(self.as_of);
        let activity = self.activity.get(key as usize).copied().unwrap_or_default();
        match worst {
            Some((fault, state)) => Usability { state, usable_at, because: Some(fault.index) },
            None if activity.rejections > 0 => {
                Usability { state: State::Limited, usable_at, because: None }
            }
            None if activity.last_at.is_none() => {
                Usability { state: State::Unknown, usable_at: None, because: None }
            }
            None => Usability { state: State::Usable, usable_at, because: None },
        }
    }

    fn cell(&self, key: u32, model: Option<u32>) -> Option<&CellState> {
        let owner = *self.owner_of.get(key as usize)?;
        self.cells.get(*self.cell_of.get(&(owner, model?))? as usize)
    }

    fn cells_of(&self, key: u32) -> impl Iterator<Item = &CellState> {
        let owner = self.owner_of.get(key as usize);
        let cells = owner.and_then(|owner| self.cells_of.get(*owner as usize));
        cells.into_iter().flatten().filter_map(|cell| self.cells.get(*cell as usize))
    }

    /// The known quotas of a key, of a model or of all.
    pub fn quotas(&self, key: u32, model: Option<u32>) -> Vec<KeyQuota> {
        let cells = self.cells_of(key).filter(|cell| model.is_none_or(|model| model == cell.model));
        cells.flat_map(CellState::current_quotas).collect()
    }

    /// The keys that share quotas with a key; None if it is alone.
    pub fn group(&self, key: u32) -> Option<&QuotaGroup> {
        self.groups.get(*self.group_of.get(key as usize)? as usize)
    }

    /// The keys that are not UNUSABLE: usable ones first, then those with the most of their quotas left, then
    /// those that were used longest ago.
    pub fn candidates(&self, model: u32) -> Vec<u32> {
        let mut keys: Vec<_> = (0..self.owner_of.len() as u32)
            .filter_map(|key| {
                let state = self.of_cell(key, Some(model)).state;
                let last_at = self.activity[key as usize].last_at;
                let tenths = self.cell(key, Some(model)).map_or(10, CellState::tenths_left);
                let order = (rank(state), Reverse(tenths), last_at, key);
                (state != State::Unusable).then_some(order)
            })
            .collect();
        keys.sort_unstable();
        keys.into_iter().map(|order| order.3).collect()
    }

    /// How many keys are usable at each time, if the calls continue as in the latest hours.
    pub fn forecast(&self, model: Option<u32>, times: &[i64]) -> Vec<PoolPoint> {
        let total = self.owner_of.len() as u32;
        let mut points: Vec<PoolPoint> =
            times.iter().map(|at| PoolPoint { at: *at, usable: 0, total }).collect();
        for key in 0..total {
            let now = self.usability(key, model);
            let is_here = |cell: &&CellState| model.is_none_or(|model| model == cell.model);
            let cells: Vec<&CellState> = self.cells_of(key).filter(is_here).collect();
            for point in &mut points {
                let is_usable = match now.state {
                    State::Usable | State::Limited => true,
                    State::Unusable => now.usable_at.is_some_and(|at| at <= point.at),
                    State::Unknown => false,
                };
                let is_left = |cell: &&CellState| !cell.is_used_up(point.at, self.as_of);
                let is_usable = is_usable && (cells.is_empty() || cells.iter().any(is_left));
                point.usable += u32::from(is_usable);
            }
        }
        points
    }
}

/// The best first.
fn rank(state: State) -> u8 {
    match state {
        State::Usable => 0,
        State::Unknown => 1,
        State::Limited => 2,
        State::Unusable => 3,
    }
}

impl CellState {
    /// Its quotas. While calls are refused, nothing remains of a quota, even if fewer calls are in the log: other programs
    /// may use it too.
    fn current_quotas(&self) -> impl Iterator<Item = KeyQuota> {
        let is_refused = |quota: &KeyQuota| {
            let is_requests = quota.metric == QuotaMetric::Requests;
            self.block.as_ref().is_some_and(|block| match block.kind {
                Kind::Day => is_requests && quota.window_seconds == DAY / SECOND,
                Kind::Minute => is_requests && quota.window_seconds <= 60,
                Kind::Tokens => !is_requests,
            })
        };
        self.quotas.iter().map(move |quota| {
            let remaining = if is_refused(quota) { Some(0) } else { quota.remaining };
            KeyQuota { remaining, ..quota.clone() }
        })
    }

    /// The least remaining part of its quotas.
    fn tenths_left(&self) -> u64 {
        let tenths = |quota: &KeyQuota| {
            Some(quota.remaining?.saturating_mul(10) / quota.ceiling?.value.max(1))
        };
        self.quotas.iter().filter_map(tenths).min().unwrap_or(10)
    }

    /// Whether the quota of a fixed day is used up at a later time, at the rate of the latest hours.
    fn is_used_up(&self, at: i64, as_of: i64) -> bool {
        let is_day = |quota: &&KeyQuota| quota.window_seconds == DAY / SECOND;
        let Some(quota) = self.quotas.iter().find(is_day) else { return false };
        let (Some(ceiling), Some(remaining), Some(reset)) =
            (quota.ceiling, quota.remaining, quota.resets_at)
        else {
            return false;
        };
        if self.day == Window::SlidingDay || self.rate <= 0.0 || at <= as_of {
            return false;
        }
        let lasts = |calls: u64| (calls as f64 / self.rate * SECOND as f64) as i64;
        if at < reset {
            return at >= as_of.saturating_add(lasts(remaining));
        }
        (at - reset).rem_euclid(DAY) >= lasts(ceiling.value)
    }
}
