//! Diagnosis: which causes explain the failed calls of a window, of which keys and models, since when and
//! until when. Pure; docs/DIAGNOSIS.md explains the method.
//!
//! `evidence` reads the calls once, `segment` finds the times in which a scope fails more than usual, `causes`
//! decides which scope and cause explain them, from general to specific, `silence` finds missing calls,
//! `sentence` describes the result. All thresholds are in `thresholds`.

mod causes;
mod evidence;
mod segment;
mod sentence;
mod silence;
mod thresholds;

#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};

use super::failure::{FailureClass, Remedy};

pub use causes::diagnose;
pub(super) use evidence::Groups;
pub use sentence::{Language, Names};
pub use thresholds::CONTINUES_WITHIN;

/// The key or model of a call without one.
pub const NONE: u32 = u32::MAX;
/// The latency of a call without one.
pub const NO_LATENCY: u32 = u32::MAX;

/// The calls of a window as columns, in order of time. Keys and models are indexes.
#[derive(Clone, Default)]
pub struct Calls {
    /// Microseconds since 1970.
    pub at: Vec<i64>,
    pub key: Vec<u32>,
    pub model: Vec<u32>,
    /// 0 if the call has no status code.
    pub status: Vec<u16>,
    pub latency_ms: Vec<u32>,
    pub outcome: Vec<Outcome>,
    /// The number of keys and of models.
    pub keys: usize,
    pub models: usize,
}

impl Calls {
    pub fn len(&self) -> usize {
        self.at.len()
    }

    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// The keys that fail at their first call in the window: the fault may have started before it.
    pub fn keys_that_fail_first(&self) -> Vec<u32> {
        let mut is_seen = vec![false; self.keys];
        let mut found = Vec::new();
        for (key, outcome) in self.key.iter().zip(&self.outcome) {
            let Some(is_seen) = is_seen.get_mut(*key as usize) else { continue };
            if !std::mem::replace(is_seen, true) && *outcome != Outcome::Success {
                found.push(*key);
            }
        }
        found
    }
}

/// Whether a call succeeded, else the class of its failure: from its error log, or from the status code alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Success,
    Logged(FailureClass),
    Unlogged(FailureClass),
}

/// The calls before the window.
#[derive(Clone, Default)]
pub struct Past {
    /// For a key without a success since then: its first failure after its last success before the window,
    /// in microseconds. Missing entries are unknown.
    pub failing_since: Vec<Option<i64>>,
    /// That success, in microseconds.
    pub last_success: Vec<Option<i64>>,
    /// The last call of all, in microseconds, if it was shortly before the window.
    pub last_call: Option<i64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Cause {
    KeyDead,
    KeyUnpaid,
    QuotaExhausted,
    RateTooHigh,
    PoolExhausted,
    AddressBlocked,
    ModelOutage,
    ProviderOutage,
    ClientFault,
    GatewayFault,
    Slow,
    Silent,
    Unknown,
}

impl Cause {
    pub const ALL: [Self; 13] = [
        Self::KeyDead,
        Self::KeyUnpaid,
        Self::QuotaExhausted,
        Self::RateTooHigh,
        Self::PoolExhausted,
        Self::AddressBlocked,
        Self::ModelOutage,
        Self::ProviderOutage,
        Self::ClientFault,
        Self::GatewayFault,
        Self::Slow,
        Self::Silent,
        Self::Unknown,
    ];

    /// A stable name for ids.
    pub fn name(self) -> &'static str {
        match self {
            Self::KeyDead => "KEY_DEAD",
            Self::KeyUnpaid => "KEY_UNPAID",
            Self::QuotaExhausted => "QUOTA_EXHAUSTED",
            Self::RateTooHigh => "RATE_TOO_HIGH",
            Self::PoolExhausted => "POOL_EXHAUSTED",
            Self::AddressBlocked => "ADDRESS_BLOCKED",
            Self::ModelOutage => "MODEL_OUTAGE",
            Self::ProviderOutage => "PROVIDER_OUTAGE",
            Self::ClientFault => "CLIENT_FAULT",
            Self::GatewayFault => "GATEWAY_FAULT",
            Self::Slow => "SLOW",
            Self::Silent => "SILENT",
            Self::Unknown => "UNKNOWN",
        }
    }

    fn remedy(self, keys: &[u32]) -> Remedy {
        match self {
            Self::KeyDead => Remedy::ReplaceKey,
            Self::KeyUnpaid => Remedy::Pay,
            Self::QuotaExhausted
            | Self::RateTooHigh
            | Self::PoolExhausted
            | Self::ModelOutage
            | Self::ProviderOutage
            | Self::Slow => Remedy::Wait,
            Self::AddressBlocked => Remedy::ChangeAddress,
            Self::ClientFault => Remedy::FixRequest,
            Self::GatewayFault => Remedy::CheckGateway,
            Self::Silent if keys.is_empty() => Remedy::CheckGateway,
            Self::Silent | Self::Unknown => Remedy::None,
        }
    }

    /// `rate`: the share of failed calls in the scope.
    fn severity(self, keys: &[u32], rate: f64) -> Severity {
        match self {
            Self::AddressBlocked | Self::PoolExhausted | Self::ProviderOutage => Severity::Critical,
            Self::Silent if keys.is_empty() => Severity::Critical,
            Self::ModelOutage | Self::GatewayFault | Self::ClientFault | Self::KeyUnpaid
                if keys.is_empty() && rate >= 0.5 =>
            {
                Severity::Critical
            }
            Self::KeyDead
            | Self::KeyUnpaid
            | Self::ModelOutage
            | Self::GatewayFault
            | Self::ClientFault
            | Self::Unknown => Severity::Warning,
            Self::QuotaExhausted | Self::RateTooHigh | Self::Slow | Self::Silent => Severity::Info,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

/// One cause, its scope and its time.
#[derive(Clone, PartialEq, Debug)]
pub struct Diagnosis {
    pub cause: Cause,
    pub severity: Severity,
    pub remedy: Remedy,
    /// Empty: all keys.
    pub keys: Vec<u32>,
    /// Empty: all models.
    pub models: Vec<u32>,
    /// The first failure; for SLOW the first slow call, for SILENT the last call.
    pub since: DateTime<Utc>,
    /// The first success after the last failure; None while it lasts.
    pub until: Option<DateTime<Utc>>,
    /// The last success of its scope before `since`, if it is known; None for SLOW and SILENT.
    pub last_success: Option<DateTime<Utc>>,
    /// The failed calls that it explains. For SLOW the slow calls, which did not fail.
    pub failures: u64,
    /// The successes of its scope between the first and the last failure.
    pub successes: u64,
    /// `failures` divided by all failed calls of its time; 0 for SLOW and SILENT.
    pub share: f64,
    /// The probability that cause and scope are right.
    pub confidence: f64,
    /// The most frequent status code, if there is one.
    pub status: Option<u16>,
    /// The most frequent class of its failures.
    pub class: Option<FailureClass>,
    /// The indexes of all calls that it explains, in order of time.
    pub calls: Vec<u32>,
}

impl Diagnosis {
    /// Some of its calls, the most typical ones first: of the most frequent class and with an error log, from
    /// its whole time.
    pub fn evidence(&self, calls: &Calls, count: usize) -> Vec<u32> {
        let typical = |call: &&u32| {
            let outcome = calls.outcome[**call as usize];
            self.class.is_some_and(|class| outcome == Outcome::Logged(class))
        };
        let typical: Vec<u32> = self.calls.iter().filter(typical).copied().collect();
        let from = if typical.is_empty() { &self.calls } else { &typical };
        let count = count.min(from.len());
        (0..count).map(|index| from[index * from.len() / count]).collect()
    }
}

fn time(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}
