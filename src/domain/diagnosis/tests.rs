//! One test for each rule, with the smallest traffic that shows it. `tests/diagnosis.rs` measures all of them
//! together.

use super::*;
use crate::domain::failure::FailureClass as Class;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
/// 2026-03-02T00:00:00Z.
const START: i64 = 1_772_409_600 * SECOND;

/// Cause, keys, models, and the minutes from the start.
type Summary = (Cause, Vec<u32>, Vec<u32>, i64, Option<i64>);

/// One call every 10 seconds for 8 hours; keys and models in turn.
struct Traffic {
    calls: Calls,
    as_of: i64,
}

const KEYS: u32 = 10;
const MODELS: u32 = 3;
const CALLS: usize = 8 * 360;

impl Traffic {
    fn healthy() -> Self {
        let mut calls = Calls { keys: KEYS as usize, models: MODELS as usize, ..Calls::default() };
        for call in 0..CALLS as u32 {
            calls.at.push(START + i64::from(call) * 10 * SECOND);
            calls.key.push(call % KEYS);
            // A prime step, so that each key uses each model.
            calls.model.push(call * 7 / 10 % MODELS);
            calls.status.push(200);
            calls.latency_ms.push(900 + call * 37 % 400);
            calls.outcome.push(Outcome::Success);
        }
        Self { as_of: START + CALLS as i64 * 10 * SECOND, calls }
    }

    /// Lets the calls of these minutes fail if `fails` says so, by key, model and number.
    fn fail(
        mut self,
        minutes: std::ops::Range<i64>,
        status: u16,
        class: Class,
        fails: impl Fn(u32, u32, usize) -> bool,
    ) -> Self {
        for call in 0..self.calls.len() {
            let minute = (self.calls.at[call] - START) / MINUTE;
            let (key, model) = (self.calls.key[call], self.calls.model[call]);
            if minutes.contains(&minute) && fails(key, model, call) {
                self.calls.status[call] = status;
                self.calls.outcome[call] = Outcome::Logged(class);
            }
        }
        self
    }

    fn without(mut self, is_removed: impl Fn(i64, u32) -> bool) -> Self {
        let calls = std::mem::take(&mut self.calls);
        self.calls = Calls { keys: calls.keys, models: calls.models, ..Calls::default() };
        for call in 0..calls.len() {
            if !is_removed((calls.at[call] - START) / MINUTE, calls.key[call]) {
                self.calls.at.push(calls.at[call]);
                self.calls.key.push(calls.key[call]);
                self.calls.model.push(calls.model[call]);
                self.calls.status.push(calls.status[call]);
                self.calls.latency_ms.push(calls.latency_ms[call]);
                self.calls.outcome.push(calls.outcome[call]);
            }
        }
        self
    }

    fn diagnoses(&self) -> Vec<Diagnosis> {
        diagnose(&self.calls, &Past::default(), self.as_of)
    }

    fn summary(&self) -> Vec<Summary> {
        let minutes = |at: DateTime<Utc>| (at.timestamp_micros() - START) / MINUTE;
        let diagnoses = self.diagnoses().into_iter();
        diagnoses
            .map(|it| (it.cause, it.keys, it.models, minutes(it.since), it.until.map(minutes)))
            .collect()
    }
}

#[test]
fn healthy_traffic_and_few_failures_have_no_diagnosis() {
    assert_eq!(diagnose(&Calls::default(), &Past::default(), START), []);
    assert_eq!(Traffic::healthy().diagnoses(), []);
    let noise = Traffic::healthy()
        .fail(0..480, 503, Class::ProviderOverloaded, |_, _, call| call * 7919 % 100 < 2);
    assert_eq!(noise.diagnoses(), []);
}

#[test]
fn a_dead_key_is_no_outage() {
    let traffic = Traffic::healthy().fail(120..480, 403, Class::KeySuspended, |key, _, _| key == 4);
    assert_eq!(traffic.summary(), [(Cause::KeyDead, vec![4], vec![], 120, None)]);
    let diagnosis = &traffic.diagnoses()[0];
    assert_eq!(diagnosis.remedy, Remedy::ReplaceKey);
    assert_eq!((diagnosis.failures, diagnosis.successes, diagnosis.share), (216, 0, 1.0));
}

#[test]
fn a_key_that_failed_before_the_window_has_its_earlier_start() {
    let traffic = Traffic::healthy().fail(0..480, 403, Class::KeySuspended, |key, _, _| key == 4);
    assert_eq!(traffic.calls.keys_that_fail_first(), [4]);
    let before = START - 1000 * MINUTE;
    let past = Past {
        failing_since: vec![None, None, None, None, Some(before)],
        last_success: vec![None, None, None, None, Some(before - MINUTE)],
        last_call: None,
    };
    let diagnoses = diagnose(&traffic.calls, &past, traffic.as_of);
    assert_eq!(diagnoses.len(), 1);
    assert_eq!(diagnoses[0].since.timestamp_micros(), before);
    let last_success = diagnoses[0].last_success.unwrap();
    assert_eq!(last_success.timestamp_micros(), before - MINUTE);
}

#[test]
fn the_last_success_is_that_of_the_scope() {
    let healthy = Traffic::healthy;
    let faults = [
        healthy().fail(120..480, 403, Class::KeySuspended, |key, _, _| key == 4),
        healthy().fail(120..180, 503, Class::ProviderOverloaded, |_, model, _| model == 1),
        healthy().fail(120..480, 429, Class::QuotaDay, |key, model, _| (key, model) == (3, 1)),
        healthy().fail(120..180, 403, Class::KeyPermission, |key, _, _| key < 8),
        // Without a success before it.
        healthy().fail(0..480, 403, Class::KeySuspended, |key, _, _| key == 4),
    ];
    for (traffic, has_success) in faults.into_iter().zip([true, true, true, true, false]) {
        let Calls { at, key, model, outcome, .. } = &traffic.calls;
        let diagnoses = traffic.diagnoses();
        assert_eq!(diagnoses.len(), 1, "{diagnoses:?}");
        let Diagnosis { keys, models, since, last_success, .. } = &diagnoses[0];
        let successes = (0..at.len()).filter(|call| {
            outcome[*call] == Outcome::Success
                && at[*call] < since.timestamp_micros()
                && (keys.is_empty() || keys.contains(&key[*call]))
                && (models.is_empty() || models.contains(&model[*call]))
        });
        let expected = successes.map(|call| at[call]).max();
        assert_eq!(last_success.map(|at| at.timestamp_micros()), expected, "{diagnoses:?}");
        assert_eq!(last_success.is_some(), has_success);
    }
}

#[test]
fn most_keys_refused_at_once_are_a_blocked_address() {
    let refused = |key: u32, _: u32, _: usize| key < 8;
    let traffic = Traffic::healthy().fail(120..180, 403, Class::KeyPermission, refused);
    // The first success is of a key that was not refused.
    assert_eq!(traffic.summary(), [(Cause::AddressBlocked, vec![], vec![], 120, Some(179))]);
}

#[test]
fn keys_that_die_one_by_one_are_no_blocked_address() {
    let mut traffic = Traffic::healthy();
    for key in 0..8 {
        let since = 60 + 40 * i64::from(key);
        traffic = traffic.fail(since..480, 401, Class::KeyInvalid, |it, _, _| it == key);
    }
    // A key has a call every 100 seconds, the last four of them in the next minute.
    let since = |key: u32| 60 + 40 * i64::from(key) + i64::from(key / 6);
    let dead = |key: u32| (Cause::KeyDead, vec![key], vec![], since(key), None);
    assert_eq!(traffic.summary(), (0..8).map(dead).collect::<Vec<_>>());
}

#[test]
fn an_outage_of_a_model_is_not_its_failing_keys() {
    let fails = |_: u32, model: u32, call: usize| model == 1 && !call.is_multiple_of(4);
    let traffic = Traffic::healthy().fail(120..180, 503, Class::ProviderOverloaded, fails);
    assert_eq!(traffic.summary(), [(Cause::ModelOutage, vec![], vec![1], 120, Some(180))]);
    let diagnosis = &traffic.diagnoses()[0];
    assert_eq!((diagnosis.status, diagnosis.severity), (Some(503), Severity::Critical));
    let evidence = diagnosis.evidence(&traffic.calls, 5);
    assert!(evidence.len() == 5 && evidence.iter().all(|call| diagnosis.calls.contains(call)));
}

#[test]
fn an_outage_of_most_models_is_one_of_the_provider() {
    let fails = |_: u32, _: u32, call: usize| !call.is_multiple_of(3);
    let traffic = Traffic::healthy().fail(120..180, 500, Class::ProviderError, fails);
    assert_eq!(traffic.summary(), [(Cause::ProviderOutage, vec![], vec![], 120, Some(180))]);
}

#[test]
fn quotas_have_the_scope_that_is_refused() {
    let one = |key: u32, model: u32, _: usize| key == 2 && model == 0;
    let traffic = Traffic::healthy().fail(120..300, 429, Class::QuotaDay, one);
    let [(cause, keys, models, ..)] = &traffic.summary()[..] else { panic!() };
    assert_eq!((*cause, &keys[..], &models[..]), (Cause::QuotaExhausted, &[2][..], &[0][..]));

    let most = |key: u32, model: u32, _: usize| key < 7 && model == 0;
    let traffic = Traffic::healthy().fail(120..300, 429, Class::QuotaDay, most);
    let [(cause, keys, models, ..)] = &traffic.summary()[..] else { panic!() };
    assert_eq!((*cause, &keys[..], &models[..]), (Cause::PoolExhausted, &[][..], &[0][..]));

    let often = |key: u32, _: u32, call: usize| key == 2 && (call / 10).is_multiple_of(2);
    let traffic = Traffic::healthy().fail(120..300, 429, Class::QuotaMinute, often);
    let [(cause, keys, models, ..)] = &traffic.summary()[..] else { panic!() };
    assert_eq!((*cause, &keys[..], &models[..]), (Cause::RateTooHigh, &[2][..], &[][..]));
}

#[test]
fn a_failure_without_an_error_log_has_the_class_of_its_key() {
    let dead = |key: u32, _: u32, _: usize| key == 4;
    let mut traffic = Traffic::healthy().fail(120..480, 400, Class::KeyInvalid, dead);
    for (call, outcome) in traffic.calls.outcome.iter_mut().enumerate() {
        if *outcome != Outcome::Success && call % 3 > 0 {
            *outcome = Outcome::Unlogged(Class::BadRequest);
        }
    }
    assert_eq!(traffic.summary(), [(Cause::KeyDead, vec![4], vec![], 120, None)]);
}

#[test]
fn retries_of_one_request_are_no_fault() {
    let mut traffic = Traffic::healthy();
    let first = (0..CALLS).find(|call| traffic.calls.model[*call] == 0).unwrap() + 1000;
    // One invalid request at a time with little traffic, sent with eight keys.
    let (at, model) = (traffic.calls.at[first], traffic.calls.model[first]);
    for retry in 0..8 {
        traffic.calls.at[first + retry] = at + retry as i64 * SECOND;
        traffic.calls.model[first + retry] = model;
        traffic.calls.latency_ms[first + retry] = 500;
        traffic.calls.status[first + retry] = 400;
        traffic.calls.outcome[first + retry] = Outcome::Logged(Class::BadRequest);
    }
    assert_eq!(traffic.summary(), []);
}

#[test]
fn requests_and_the_network_are_common_to_keys() {
    let fails = |_: u32, model: u32, call: usize| model == 2 && call * 7919 / 13 % 5 < 3;
    let traffic = Traffic::healthy().fail(120..180, 400, Class::ContextTooLong, fails);
    let [(cause, keys, models, ..)] = &traffic.summary()[..] else { panic!() };
    assert_eq!((*cause, &keys[..], &models[..]), (Cause::ClientFault, &[][..], &[2][..]));

    let fails = |_: u32, _: u32, call: usize| call * 7919 / 13 % 5 < 3;
    let traffic = Traffic::healthy().fail(120..180, 0, Class::Network, fails);
    let [(cause, keys, models, ..)] = &traffic.summary()[..] else { panic!() };
    assert_eq!((*cause, keys.len(), models.len()), (Cause::GatewayFault, 0, 0));
}

#[test]
fn slow_models_are_found_by_their_usual_latency() {
    let mut traffic = Traffic::healthy();
    for call in 720..1080 {
        if traffic.calls.model[call] == 0 {
            traffic.calls.latency_ms[call] *= 5;
        }
    }
    let [(cause, keys, models, since, _)] = &traffic.summary()[..] else { panic!() };
    assert_eq!((*cause, keys.len(), &models[..], *since), (Cause::Slow, 0, &[0][..], 120));
    let diagnosis = &traffic.diagnoses()[0];
    assert_eq!((diagnosis.share, diagnosis.severity), (0.0, Severity::Info));
}

#[test]
fn a_silence_may_have_started_before_the_window() {
    let Traffic { calls, as_of } = Traffic::healthy();
    let silent = |last_call| {
        let found = diagnose(&calls, &Past { last_call, ..Past::default() }, as_of);
        let times = found.iter().map(|one| (one.cause, one.since.timestamp_micros()));
        times.collect::<Vec<_>>()
    };
    let last = START - 30 * MINUTE;
    assert_eq!(silent(Some(last)), [(Cause::Silent, last)]);
    assert_eq!(silent(Some(START - MINUTE)), []);
    assert_eq!(silent(None), []);
}

#[test]
fn missing_calls_are_silence() {
    let traffic = Traffic::healthy().without(|minute, _| (120..150).contains(&minute));
    assert_eq!(traffic.summary(), [(Cause::Silent, vec![], vec![], 119, Some(150))]);
    let traffic = Traffic::healthy().without(|minute, key| minute >= 240 && key == 5);
    assert_eq!(traffic.summary(), [(Cause::Silent, vec![5], vec![], 239, None)]);
    // A dead key that the gateway disabled is not silent as well.
    let traffic = Traffic::healthy()
        .fail(200..480, 403, Class::KeySuspended, |key, _, _| key == 5)
        .without(|minute, key| minute >= 240 && key == 5);
    assert_eq!(traffic.summary(), [(Cause::KeyDead, vec![5], vec![], 200, None)]);
}

#[test]
fn calls_without_key_or_model_are_counted() {
    let fails = |_: u32, _: u32, call: usize| !call.is_multiple_of(3);
    let mut traffic = Traffic::healthy().fail(120..180, 0, Class::Network, fails);
    for call in (0..CALLS).step_by(5) {
        traffic.calls.key[call] = NONE;
        traffic.calls.model[call] = NONE;
    }
    let [(cause, ..)] = &traffic.summary()[..] else { panic!() };
    assert_eq!(*cause, Cause::GatewayFault);
}

#[test]
fn a_sentence_states_cause_scope_time_and_remedy() {
    let fails = |_: u32, model: u32, call: usize| model == 1 && !call.is_multiple_of(4);
    let traffic = Traffic::healthy().fail(400..480, 503, Class::ProviderOverloaded, fails);
    let names = Names { keys: vec![], models: vec!["gemini-2.5-flash".to_owned()] };
    let diagnosis = &traffic.diagnoses()[0];
    assert_eq!(
        diagnosis.sentence(&names, Language::English),
        "gemini-2.5-flash has been failing for all keys since 2026-03-02 06:40 UTC \
         (503, 120 of 160 calls): wait, or use another model."
    );
    assert_eq!(
        diagnosis.sentence(&names, Language::Chinese),
        "自 2026-03-02 06:40 UTC 起，gemini-2.5-flash 对所有密钥都失败（503，120/160 次调用）：\
         等待，或使用其他模型。"
    );
    let dead = Traffic::healthy().fail(120..480, 403, Class::KeySuspended, |key, _, _| key == 4);
    let names = Names { keys: vec!["Fake...PzJ5".to_owned()], models: vec![] };
    assert_eq!(
        dead.diagnoses()[0].sentence(&names, Language::English),
        "The provider has rejected key Fake...PzJ5 since 2026-03-02 02:00 UTC (403, 216 of 216 calls): \
         replace the key."
    );
}
