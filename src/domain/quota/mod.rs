//! Quotas: their ceilings, use and resets, which keys share them, and which keys are usable. Pure;
//! docs/DIAGNOSIS.md explains the method.
//!
//! `history` reads what each call shows about quotas, `groups` and `uses` find the keys that share them, `window` the
//! windows in which each model counts, `cell` the quotas of a group and model, `learn` puts them together, `pool` answers
//! queries. All thresholds are in `thresholds`.

mod cell;
mod groups;
mod history;
mod learn;
mod pool;
mod thresholds;
mod uses;
mod window;
mod window_evidence;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use cell::CellState;
use pool::Faults;

use super::diagnosis::{Calls, Diagnosis};
use super::failure::{QuotaMetric, StatedQuota};

/// What the text of a failed call states.
pub struct Refusal {
    /// The index of the call in `Calls`.
    pub call: u32,
    pub quotas: Vec<StatedQuota>,
    /// When the provider said to try again, in microseconds since 1970.
    pub retry_at: Option<i64>,
    /// The index of the project's name.
    pub project: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UsabilityState {
    /// The next call is expected to be accepted.
    Usable,
    /// A part of the calls is expected to fail, or the quota is nearly used.
    Limited,
    /// The next call is expected to fail.
    Unusable,
    /// No recent call shows it.
    Unknown,
}

/// Whether the next call of a key is expected to be accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usability {
    pub state: UsabilityState,
    /// When a call is expected to be accepted; None if that is unknown or never.
    pub usable_at: Option<i64>,
    /// The index of the diagnosis that explains it.
    pub because: Option<usize>,
}

/// Where a fact comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Basis {
    /// From a text of the provider.
    Stated,
    /// From accepted and refused calls.
    Learnt,
}

/// A number with its bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Estimate {
    pub value: u64,
    /// It is expected to be in `low..=high`.
    pub low: u64,
    pub high: u64,
    /// The refusals that it is based on.
    pub observations: u32,
}

/// A quota of a key, or of all keys that share it.
#[derive(Clone, PartialEq, Debug)]
pub struct KeyQuota {
    /// None: of all models.
    pub model: Option<u32>,
    pub metric: QuotaMetric,
    pub window_seconds: i64,
    pub ceiling: Option<Estimate>,
    /// The use in the current window, of all keys that share the quota; 0 for tokens, which the log lacks.
    pub used: u64,
    /// None if the ceiling or the use is unknown.
    pub remaining: Option<u64>,
    /// When the use is 0 again, or for a sliding window: when the next call is accepted.
    pub resets_at: Option<i64>,
    pub basis: Basis,
}

/// Keys that share their quotas.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuotaGroup {
    pub keys: Vec<u32>,
    pub basis: Basis,
}

/// The keys that are usable at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolPoint {
    pub at: i64,
    pub usable: u32,
    pub total: u32,
}

/// The quotas and the usability of all keys at a time.
pub struct PoolQuotas {
    as_of: i64,
    groups: Vec<QuotaGroup>,
    /// The owner of the quotas of each key: the first key of its group, or the key itself.
    owner_of: Vec<u32>,
    group_of: Vec<u32>,
    cells: Vec<CellState>,
    /// By owner and model.
    cell_of: HashMap<(u32, u32), u32>,
    /// The cells of each owner.
    cells_of: Vec<Vec<u32>>,
    /// The faults that last.
    faults: Faults,
    activity: Vec<Activity>,
}

/// The latest calls of a key.
#[derive(Clone, Copy, Default)]
struct Activity {
    last_at: Option<i64>,
    /// Rejections of the key since its last accepted call.
    rejections: u32,
}

impl PoolQuotas {
    /// `calls`: 24 to 25 hours before `as_of`, in order of time. `refusals`: the failed calls with a text that
    /// states something. `diagnoses`: those of the same calls at `as_of`.
    pub fn learn(calls: &Calls, refusals: &[Refusal], diagnoses: &[Diagnosis], as_of: i64) -> Self {
        learn::learn(calls, refusals, diagnoses, as_of)
    }
}
