//! Whether and when a key can be used, and its quotas.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, Object, SimpleObject};

use super::api_key::ApiKey;
use super::diagnosis::Diagnosis;
use super::failure::QuotaMetric;
use crate::diagnoses::{DiagnosedWindow, DiagnosisRef};
use crate::domain::quota;
use crate::graphql::error::Result;
use crate::graphql::scalar::{BigInt, DateTime, Duration};
use crate::graphql::scope::{count_list, scope};

/// Whether a key can be used.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "quota::UsabilityState")]
pub enum UsabilityState {
    /// Calls are likely to succeed.
    Usable,
    /// Some calls succeed: it is near its quota, or it fails sometimes.
    Limited,
    /// Calls are likely to fail until `usableAt`.
    Unusable,
    /// No calls in the last 24 hours.
    Unknown,
}

/// Where a quota is known from.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "quota::Basis")]
pub enum QuotaBasis {
    /// The provider's texts state it.
    Stated,
    /// Learnt from accepted and refused calls.
    Learnt,
}

/// Whether and when a key can be used for a model.
pub struct Usability {
    of: Arc<DiagnosedWindow>,
    found: quota::Usability,
}

/// Whether and when a key can be used for a model, learnt from the calls of the last 24 hours.
#[Object]
impl Usability {
    /// Whether it can be used now.
    async fn state(&self) -> UsabilityState {
        self.found.state.into()
    }

    /// From when on it can be used: `asOf` if it can be used now; null if the time is unknown, or never.
    async fn usable_at(&self) -> Option<DateTime> {
        self.found.usable_at.and_then(time)
    }

    /// The diagnosis that makes it unusable or limited, if one does.
    async fn because(&self) -> Option<Diagnosis> {
        let index = self.found.because.filter(|index| *index < self.of.diagnoses.len())?;
        Some(Diagnosis(DiagnosisRef { of: Arc::clone(&self.of), index, ended: None }))
    }
}

/// An estimated number.
#[derive(SimpleObject)]
pub struct Estimate {
    /// The estimate.
    value: BigInt,
    /// The least likely number.
    low: BigInt,
    /// The largest likely number.
    high: BigInt,
    /// How many observations it is based on.
    observations: i32,
}

/// A quota of a key, or of the keys of its quota group.
#[derive(SimpleObject)]
pub struct KeyQuota {
    /// The model; null: all models.
    model: Option<String>,
    /// What is counted.
    metric: QuotaMetric,
    /// Its window, for example `PT1M` or `P1D`.
    window: Duration,
    /// The largest number in a window.
    ceiling: Option<Estimate>,
    /// The use in the current window, as far as the log has it; 0 for tokens, which the log lacks.
    used: BigInt,
    /// What is left of the ceiling; 0 while calls are refused, null if it is unknown.
    remaining: Option<BigInt>,
    /// The end of the current window; for a sliding window, when the next call is accepted.
    resets_at: Option<DateTime>,
    /// Where it is known from.
    basis: QuotaBasis,
}

/// Keys that share a quota.
#[derive(SimpleObject)]
pub struct QuotaGroup {
    /// An opaque id, the same for all keys of the group.
    id: ID,
    /// The keys that share the quota.
    keys: Vec<ApiKey>,
    /// Whether the provider states it, or it was learnt from refusals that start and end together.
    basis: QuotaBasis,
}

/// The usable keys at a time.
#[derive(SimpleObject)]
pub struct PoolPoint {
    /// The time.
    at: DateTime,
    /// The number of keys that are likely to be usable.
    usable: i32,
    /// The number of keys with a call in the last 24 hours.
    total: i32,
}

fn time(micros: i64) -> Option<DateTime> {
    chrono::DateTime::from_timestamp_micros(micros).map(DateTime)
}

fn big(number: u64) -> BigInt {
    BigInt(i64::try_from(number).unwrap_or(i64::MAX))
}

fn int(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

impl Usability {
    /// Of a key for a model; for any model by default.
    pub fn of(of: &Arc<DiagnosedWindow>, key: &str, model: Option<&str>) -> Self {
        Self { of: Arc::clone(of), found: of.usability(key, model) }
    }
}

impl KeyQuota {
    pub fn of(of: &DiagnosedWindow, found: &quota::KeyQuota) -> Self {
        let estimate = |found: &quota::Estimate| Estimate {
            value: big(found.value),
            low: big(found.low),
            high: big(found.high),
            observations: int(found.observations),
        };
        Self {
            model: found.model.and_then(|model| of.models.get(model as usize)).cloned(),
            metric: found.metric.into(),
            window: Duration(chrono::TimeDelta::seconds(found.window_seconds)),
            ceiling: found.ceiling.as_ref().map(estimate),
            used: big(found.used),
            remaining: found.remaining.map(big),
            resets_at: found.resets_at.and_then(time),
            basis: found.basis.into(),
        }
    }
}

impl QuotaGroup {
    pub fn of(
        ctx: &Context<'_>,
        of: &DiagnosedWindow,
        found: &quota::QuotaGroup,
    ) -> Result<Option<Self>> {
        let keys: Vec<&String> =
            found.keys.iter().filter_map(|key| of.keys.get(*key as usize)).collect();
        let Some(first) = keys.iter().min() else { return Ok(None) };
        let id = ID(format!("group_{}", scope(ctx).services.keys.id(first)));
        let keys: Vec<ApiKey> = keys.into_iter().map(|key| ApiKey::new(key)).collect();
        count_list(ctx, &keys, |_| 0)?;
        Ok(Some(Self { id, keys, basis: found.basis.into() }))
    }
}

impl PoolPoint {
    pub fn of(found: &quota::PoolPoint) -> Option<Self> {
        Some(Self { at: time(found.at)?, usable: int(found.usable), total: int(found.total) })
    }
}
