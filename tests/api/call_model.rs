//! Generated calls, and a simple computation of the expected responses.

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::support::{CallRow, NULL};

/// Every statistic of a set of calls, as [`stats`] computes it.
pub const STATS: &str = "counts { total success failure successRate } \
    latency { count avg min p50 p90 p95 p99 max }";

pub fn at(time: &str) -> DateTime<Utc> {
    time.parse().unwrap_or_else(|error| panic!("{time}: {error}"))
}

/// A time in the format of the API.
pub fn text(time: DateTime<Utc>) -> String {
    let text = time.format("%Y-%m-%dT%H:%M:%S%.6f").to_string();
    format!("{}Z", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A generated call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    pub id: i32,
    pub at: DateTime<Utc>,
    pub key: Option<&'static str>,
    pub model: Option<&'static str>,
    pub status: Option<i32>,
    pub latency: Option<i32>,
}

impl Sample {
    pub fn success(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }

    pub fn row(&self) -> CallRow {
        let row = CallRow::at_stored(self.at).id(self.id);
        row.key(self.key.map_or(NULL, Into::into))
            .model(self.model.map_or(NULL, Into::into))
            .status(self.status.map_or(NULL, Into::into))
            .latency(self.latency.map_or(NULL, Into::into))
    }
}

/// `count` calls at any of `times`, so that fewer times than calls produce ties; the same ones in
/// every run.
pub fn samples(count: usize, times: Vec<DateTime<Utc>>) -> Vec<Sample> {
    let maybe = |values: &'static [&'static str]| prop::option::of(prop::sample::select(values));
    let call = (
        prop::sample::select(times),
        maybe(&["key-a", "KEY-A", "key-b", "密钥"]),
        maybe(&["gemini-2.5-pro", "gemini-2.5-flash"]),
        prop::option::of(prop::sample::select(vec![199, 200, 204, 299, 300, 429, 500])),
        prop::option::of(prop_oneof![Just(0), Just(250), 1..60_000i32]),
    );
    let calls = prop::collection::vec(call, count);
    let calls = calls.new_tree(&mut TestRunner::deterministic()).unwrap().current();
    (1..)
        .zip(calls)
        .map(|(id, (at, key, model, status, latency))| Sample {
            id,
            at,
            key,
            model,
            status,
            latency,
        })
        .collect()
}

/// Evenly spaced times in `[since, until)`, each followed by the last microsecond of its step.
pub fn times(since: &str, until: &str, step: TimeDelta) -> Vec<DateTime<Utc>> {
    let (since, until) = (at(since), at(until));
    let steps = std::iter::successors(Some(since), |time| Some(*time + step));
    let steps = steps.take_while(|time| *time - step < until);
    steps
        .flat_map(|time| [time - TimeDelta::microseconds(1), time])
        .filter(|time| (since..until).contains(time))
        .collect()
}

/// The expected value of [`STATS`].
pub fn stats<'a>(calls: impl IntoIterator<Item = &'a Sample>) -> Value {
    let calls: Vec<&Sample> = calls.into_iter().collect();
    let total = calls.len();
    let success = calls.iter().filter(|call| call.success()).count();
    let mut latencies: Vec<i32> = calls.iter().filter_map(|call| call.latency).collect();
    latencies.sort_unstable();
    let sum: i64 = latencies.iter().copied().map(i64::from).sum();
    let count = latencies.len();
    let share = |part: f64, whole: usize| (whole > 0).then(|| part / whole as f64);
    rounded(&json!({
        "counts": {
            "total": total,
            "success": success,
            "failure": total - success,
            "successRate": share(success as f64, total),
        },
        "latency": {
            "count": count,
            "avg": share(sum as f64, count),
            "min": latencies.first(),
            "p50": percentile(&latencies, 0.50),
            "p90": percentile(&latencies, 0.90),
            "p95": percentile(&latencies, 0.95),
            "p99": percentile(&latencies, 0.99),
            "max": latencies.last(),
        },
    }))
}

/// SQL's PERCENTILE_CONT over sorted values.
pub fn percentile(sorted: &[i32], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let rank = share * last as f64;
    let (below, above) = (f64::from(sorted[rank.floor() as usize]), sorted[rank.ceil() as usize]);
    Some(below + (f64::from(above) - below) * rank.fract())
}

/// Rounds fractions, which differ in the last digits by the order of a computation.
pub fn rounded(value: &Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or_default();
            json!((number * 1e6).round() / 1e6)
        }
        Value::Array(items) => items.iter().map(rounded).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), rounded(value))).collect()
        }
        other => other.clone(),
    }
}
