//! Quotas: their ceilings, use and resets, which keys share them, and which keys are usable. Pure;
//! docs/DIAGNOSIS.md explains the method.

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
    keys: usize,
}

impl PoolQuotas {
    /// `calls`: 24 to 25 hours before `as_of`, in order of time. `refusals`: the failed calls with a text that
    /// states something. `diagnoses`: those of the same calls at `as_of`.
    pub fn learn(
        calls: &Calls,
        _refusals: &[Refusal],
        _diagnoses: &[Diagnosis],
        _as_of: i64,
    ) -> Self {
        Self { keys: calls.keys }
    }

    /// Whether the next call of a key is expected to be accepted, of a model or of any.
    pub fn usability(&self, _key: u32, _model: Option<u32>) -> Usability {
        Usability { state: UsabilityState::Unknown, usable_at: None, because: None }
    }

    /// The known quotas of a key, of a model or of all.
    pub fn quotas(&self, _key: u32, _model: Option<u32>) -> Vec<KeyQuota> {
        Vec::new()
    }

    /// The keys that share quotas with a key; None if it is alone.
    pub fn group(&self, _key: u32) -> Option<&QuotaGroup> {
        None
    }

    /// The keys that are not UNUSABLE, the best first.
    pub fn candidates(&self, _model: u32) -> Vec<u32> {
        Vec::new()
    }

    /// How many keys are usable at each time.
    pub fn forecast(&self, _model: Option<u32>, times: &[i64]) -> Vec<PoolPoint> {
        times.iter().map(|at| PoolPoint { at: *at, usable: 0, total: self.keys as u32 }).collect()
    }
}
