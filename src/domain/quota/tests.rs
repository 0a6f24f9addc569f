//! One test for each rule, with the smallest traffic that shows it. `benches/usability` measures all of them
//! together.

use std::time::Duration;

use super::thresholds::{DAY, HOUR, MINUTE, SECOND};
use super::*;
use crate::domain::diagnosis::{Outcome, Past, diagnose};
use crate::domain::failure::FailureClass as Class;

/// 2026-03-02T00:00:00Z. Midnight in California is 8 hours later.
const START: i64 = 1_772_409_600 * SECOND;

/// A provider's answer: the class of a refusal, if it refuses.
type Answer = Option<Class>;

/// One call every `every` of one model.
struct Log {
    calls: Calls,
    refusals: Vec<Refusal>,
    as_of: i64,
}

impl Log {
    fn new(
        keys: u32,
        every: i64,
        lasts: i64,
        answer: impl FnMut(i64, u32, usize) -> Answer,
    ) -> Self {
        Self::in_order(keys, every, lasts, |number| number as u32 % keys, answer)
    }

    fn in_order(
        keys: u32,
        every: i64,
        lasts: i64,
        key: impl Fn(usize) -> u32,
        mut answer: impl FnMut(i64, u32, usize) -> Answer,
    ) -> Self {
        let mut calls = Calls { keys: keys as usize, models: 1, ..Calls::default() };
        for number in 0..(lasts / every) as usize {
            let (at, key) = (START + number as i64 * every, key(number));
            let class = answer(at, key, number);
            calls.at.push(at);
            calls.key.push(key);
            calls.model.push(0);
            calls.status.push(if class.is_some() { 429 } else { 200 });
            calls.latency_ms.push(500);
            calls.outcome.push(class.map_or(Outcome::Success, Outcome::Logged));
        }
        let as_of = calls.at.last().copied().unwrap_or(START) + SECOND;
        Self { calls, refusals: Vec::new(), as_of }
    }

    /// Adds a text to each refused call.
    fn stating(mut self, text: impl Fn(u32, i64) -> (Option<u64>, i64, Option<u32>)) -> Self {
        for call in 0..self.calls.len() {
            let Outcome::Logged(class) = self.calls.outcome[call] else { continue };
            let (limit, delay, project) = text(self.calls.key[call], self.calls.at[call]);
            let seconds = if class == Class::QuotaDay { 86_400 } else { 60 };
            let quota = StatedQuota {
                metric: Some(QuotaMetric::Requests),
                window: Some(Duration::from_secs(seconds)),
                limit,
                ..StatedQuota::default()
            };
            self.refusals.push(Refusal {
                call: call as u32,
                quotas: vec![quota],
                retry_at: Some(self.calls.at[call] + delay),
                project,
            });
        }
        self
    }

    fn learn(&self) -> PoolQuotas {
        let diagnoses = diagnose(&self.calls, &Past::default(), self.as_of);
        PoolQuotas::learn(&self.calls, &self.refusals, &diagnoses, self.as_of)
    }
}

/// A fixed window that accepts a number of calls.
fn fixed(length: i64, offset: i64, ceiling: u64, class: Class) -> impl FnMut(i64) -> Answer {
    let (mut window, mut used) = (i64::MIN, 0);
    move |at| {
        let current = (at - offset).div_euclid(length);
        if current != window {
            (window, used) = (current, 0);
        }
        used += u64::from(used < ceiling) + u64::from(used == ceiling);
        (used > ceiling).then_some(class)
    }
}

fn sliding(length: i64, ceiling: usize, class: Class) -> impl FnMut(i64) -> Answer {
    let mut accepted: Vec<i64> = Vec::new();
    move |at| {
        accepted.retain(|it| *it > at - length);
        if accepted.len() >= ceiling {
            return Some(class);
        }
        accepted.push(at);
        None
    }
}

fn minute_quota(pool: &PoolQuotas) -> KeyQuota {
    let quotas = pool.quotas(0, Some(0));
    quotas.into_iter().find(|quota| quota.window_seconds == 60).unwrap()
}

#[test]
fn a_fixed_minute_has_its_ceiling_and_ends_with_the_minute() {
    let mut quota = fixed(MINUTE, 0, 9, Class::QuotaMinute);
    let log = Log::new(1, 4 * SECOND, 2 * HOUR, |at, _, _| quota(at));
    let pool = log.learn();
    let found = minute_quota(&pool);
    let ceiling = found.ceiling.unwrap();
    assert_eq!((ceiling.value, ceiling.low, ceiling.high), (9, 9, 9));
    assert_eq!((found.used, found.remaining, found.basis), (9, Some(0), Basis::Learnt));
    let usability = pool.usability(0, Some(0));
    assert_eq!(usability.state, UsabilityState::Unusable);
    assert_eq!(usability.usable_at, Some(START + 2 * HOUR));
}

#[test]
fn a_sliding_minute_accepts_a_call_when_the_oldest_leaves_it() {
    let mut quota = sliding(MINUTE, 7, Class::QuotaMinute);
    // Bursts of ten calls, so that a fixed minute does not explain the refusals.
    let log = Log::new(1, 5 * SECOND, 2 * HOUR + 37 * SECOND, |at, _, _| quota(at));
    let pool = log.learn();
    assert_eq!(minute_quota(&pool).ceiling.unwrap().value, 7);
    let usability = pool.usability(0, Some(0));
    let accepted: Vec<i64> = (0..log.calls.len())
        .filter(|call| log.calls.outcome[*call] == Outcome::Success)
        .map(|call| log.calls.at[call])
        .collect();
    if usability.state == UsabilityState::Unusable {
        assert_eq!(usability.usable_at, Some(accepted[accepted.len() - 7] + MINUTE));
    }
}

#[test]
fn a_day_ends_at_midnight_in_california_despite_a_stated_delay() {
    let mut quota = fixed(DAY, 8 * HOUR, 300, Class::QuotaDay);
    let log = Log::new(1, 2 * MINUTE, 24 * HOUR, |at, _, _| quota(at));
    let log = log.stating(|_, _| (None, 36 * SECOND, None));
    let pool = log.learn();
    let usability = pool.usability(0, Some(0));
    assert_eq!(usability.state, UsabilityState::Unusable);
    assert_eq!(usability.usable_at, Some(START + 32 * HOUR));
    assert_eq!(usability.because, Some(0));
    let quotas = pool.quotas(0, None);
    let day = quotas.iter().find(|quota| quota.window_seconds == 86_400).unwrap();
    let ceiling = day.ceiling.unwrap();
    assert!((ceiling.low..=ceiling.high).contains(&300) && ceiling.value.abs_diff(300) <= 1);
    let hours = [1, 9].map(|hour| log.as_of + hour * HOUR);
    let usable: Vec<u32> = pool.forecast(Some(0), &hours).iter().map(|it| it.usable).collect();
    assert_eq!(usable, [0, 1]);
}

#[test]
fn a_day_in_utc_is_learnt_from_the_end_of_its_refusals() {
    let mut quota = fixed(DAY, 0, 300, Class::QuotaDay);
    let mut log =
        Log::new(2, MINUTE, 44 * HOUR, |at, key, _| if key == 0 { quota(at) } else { None });
    // The last 24 hours.
    let first = 20 * 60;
    for column in [&mut log.calls.key, &mut log.calls.model, &mut log.calls.latency_ms] {
        column.drain(..first);
    }
    log.calls.at.drain(..first);
    log.calls.status.drain(..first);
    log.calls.outcome.drain(..first);
    let usability = log.learn().usability(0, Some(0));
    assert_eq!(usability.usable_at, Some(START + 48 * HOUR));
}

#[test]
fn stated_limits_are_used() {
    let mut quota = fixed(MINUTE, 0, 9, Class::QuotaMinute);
    let log = Log::new(1, 4 * SECOND, HOUR, |at, _, _| quota(at));
    let pool = log.stating(|_, _| (Some(9), 20 * SECOND, None)).learn();
    let found = minute_quota(&pool);
    let ceiling = found.ceiling.unwrap();
    assert_eq!((ceiling.value, ceiling.low, ceiling.high), (9, 9, 9));
    assert_eq!(found.basis, Basis::Stated);
}

#[test]
fn keys_of_one_project_share_its_quota() {
    let mut quota = fixed(MINUTE, 0, 5, Class::QuotaMinute);
    let log = Log::new(3, 4 * SECOND, HOUR, |at, key, _| if key < 2 { quota(at) } else { None });
    let pool = log.stating(|_, _| (None, 20 * SECOND, Some(5))).learn();
    let group = pool.group(0).unwrap();
    assert_eq!((&group.keys[..], group.basis), (&[0, 1][..], Basis::Stated));
    assert!(pool.group(2).is_none());
    assert_eq!(minute_quota(&pool).ceiling.unwrap().value, 5);
}

#[test]
fn keys_that_are_refused_together_share_a_quota() {
    let mut quotas: Vec<_> =
        (0..4).map(|project| sliding(MINUTE, 4 + project, Class::QuotaMinute)).collect();
    let random = |number: usize| {
        let product = (number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        ((product ^ product >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 61) as u32
    };
    let answer = |at: i64, key: u32, _: usize| quotas[key as usize / 2](at);
    let log = Log::in_order(8, 2_300_000, 6 * HOUR, random, answer);
    let pool = log.learn();
    let learnt: Vec<_> = (0..8).filter_map(|key| pool.group(key)).map(|it| it.keys.len()).collect();
    assert_eq!(learnt, [2; 8]);
}

/// A gateway that uses one key for 3 to 10 calls, then the next one. Keys of one project are half a turn apart, so
/// that none of them is called soon after a refusal of the other.
fn one_after_another(project: impl Fn(u32) -> usize) -> Log {
    let visits = [0, 2, 4, 1, 3, 5].into_iter().cycle().enumerate();
    let keys = visits.flat_map(|(visit, key)| {
        let product = (visit as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let length = 3 + (product ^ product >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9) % 8;
        std::iter::repeat_n(key, length as usize)
    });
    let (every, lasts) = (1_500_000, 6 * HOUR);
    let keys: Vec<u32> = keys.take((lasts / every) as usize).collect();
    let mut quotas: Vec<_> = (0..6).map(|_| sliding(MINUTE, 12, Class::QuotaMinute)).collect();
    let answer = |at: i64, key: u32, _: usize| quotas[project(key)](at);
    Log::in_order(6, every, lasts, |number| keys[number], answer)
}

#[test]
fn keys_that_use_up_a_quota_together_share_it() {
    let pool = one_after_another(|key| key as usize / 2).learn();
    let learnt = [0, 2, 4].map(|key| pool.group(key).map(|group| group.keys.clone()));
    assert_eq!(learnt, [Some(vec![0, 1]), Some(vec![2, 3]), Some(vec![4, 5])]);
    let ceiling = minute_quota(&pool).ceiling.unwrap();
    assert_eq!((ceiling.value, ceiling.low, ceiling.high), (12, 12, 12));
}

#[test]
fn keys_with_quotas_of_their_own_are_in_no_group() {
    // Two keys share a quota, the others do not.
    let pool = one_after_another(|key| if key < 2 { 0 } else { key as usize }).learn();
    let learnt: Vec<bool> = (0..6).map(|key| pool.group(key).is_some()).collect();
    assert_eq!(learnt, [true, true, false, false, false, false]);
}

#[test]
fn a_dead_key_is_never_usable_again_and_no_candidate() {
    let log = Log::new(4, 10 * SECOND, 3 * HOUR, |at, key, _| {
        (key == 2 && at > START + HOUR).then_some(Class::KeySuspended)
    });
    let pool = log.learn();
    let usability = pool.usability(2, None);
    assert_eq!(usability.state, UsabilityState::Unusable);
    assert_eq!((usability.usable_at, usability.because), (None, Some(0)));
    // Those that were used longest ago first.
    assert_eq!(pool.candidates(0), [0, 1, 3]);
    let point = pool.forecast(None, &[log.as_of])[0];
    assert_eq!((point.usable, point.total), (3, 4));
}

#[test]
fn a_key_without_calls_is_unknown() {
    let mut log = Log::new(2, 10 * SECOND, HOUR, |_, _, _| None);
    log.calls.keys = 3;
    let pool = log.learn();
    assert_eq!(pool.usability(2, Some(0)).state, UsabilityState::Unknown);
    assert_eq!(pool.usability(9, None).state, UsabilityState::Unknown);
    assert_eq!(pool.usability(0, None).state, UsabilityState::Usable);
    assert!(pool.quotas(9, None).is_empty() && pool.group(9).is_none());
}
