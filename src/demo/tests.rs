//! Properties of the generated traffic, for several ends and seeds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use chrono::{DateTime, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::America::Los_Angeles;

use super::model::MODELS;
use super::pool::{KEYS, PREFIX};
use super::{Exchange, HISTORY_DAYS, Traffic};

const SEEDS: [u64; 2] = [1, 7];

/// Shared by all tests: a history that ends on a weekday, and one that ends on a Sunday night, on a day of
/// 25 hours in California.
static HISTORIES: LazyLock<[(DateTime<Utc>, Vec<Exchange>); 2]> =
    LazyLock::new(|| SEEDS.map(|seed| (end(seed), Traffic::new(seed, end(seed)).collect())));

fn end(seed: u64) -> DateTime<Utc> {
    let text =
        if seed == SEEDS[0] { "2026-11-25T14:30:12.345678Z" } else { "2026-11-01T20:05:00Z" };
    text.parse().unwrap()
}

fn is_failure(exchange: &&Exchange) -> bool {
    !exchange.0.is_success()
}

fn key(exchange: &Exchange) -> &str {
    exchange.0.key.as_deref().unwrap()
}

fn model(exchange: &Exchange) -> &str {
    exchange.0.model.as_deref().unwrap()
}

#[test]
fn the_same_seed_and_end_give_the_same_rows() {
    let [seed, _] = SEEDS;
    let until = end(seed);
    let first: Vec<_> = Traffic::new(seed, until).take(30_000).collect();
    assert!(first == Traffic::new(seed, until).take(30_000).collect::<Vec<_>>());
    assert!(first != Traffic::new(seed + 1, until).take(30_000).collect::<Vec<_>>());
}

#[test]
fn calls_are_ordered_by_time_within_the_history() {
    for &(until, ref calls) in &*HISTORIES {
        assert!(calls.is_sorted_by_key(|(call, _)| call.timestamp));
        assert!(calls.first().unwrap().0.timestamp >= until - TimeDelta::days(HISTORY_DAYS));
        assert!(calls.last().unwrap().0.timestamp < until);
        assert!(calls.iter().all(|(call, _)| call.timestamp.nanosecond() % 1000 == 0));
    }
}

#[test]
fn about_ten_thousand_calls_a_day_and_some_in_the_last_minute() {
    for &(until, ref calls) in &*HISTORIES {
        assert!((300_000..400_000).contains(&calls.len()), "{}", calls.len());
        let since = |span| calls.iter().filter(|it| it.0.timestamp >= until - span).count();
        let (minute, day) = (since(TimeDelta::minutes(1)), since(TimeDelta::hours(24)));
        assert!((8..100).contains(&minute), "{minute}");
        assert!((8_500..16_000).contains(&day), "{day}");
    }
}

#[test]
fn rates_differ_by_hour_and_on_weekends() {
    let &(until, ref calls) = &HISTORIES[0];
    // 04:00 and 15:00 at UTC+8.
    let at_hour = |hour| calls.iter().filter(|it| it.0.timestamp.hour() == hour).count();
    assert!(at_hour(7) > 4 * at_hour(20));
    let mut weekdays = [0_usize; 7];
    for (call, _) in calls {
        let local = call.timestamp + TimeDelta::hours(8);
        if (until - TimeDelta::days(29)..until - TimeDelta::days(1)).contains(&local) {
            weekdays[chrono::Datelike::weekday(&local).num_days_from_monday() as usize] += 1;
        }
    }
    let busiest_weekend_day = weekdays[5].max(weekdays[6]);
    assert!(weekdays[..5].iter().all(|count| *count > busiest_weekend_day), "{weekdays:?}");
}

#[test]
fn calls_arrive_in_bursts() {
    let (_, calls) = &HISTORIES[0];
    let mut minutes = BTreeMap::<i64, f64>::new();
    for (call, _) in calls {
        *minutes.entry(call.timestamp.timestamp() / 60).or_default() += 1.0;
    }
    let counts: Vec<f64> = (*minutes.first_key_value().unwrap().0..)
        .take(31 * 1440)
        .map(|minute| minutes.get(&minute).copied().unwrap_or(0.0))
        .collect();
    // Per hour. Without bursts, the variance would equal the mean.
    let dispersions = counts.chunks(60).map(|hour| {
        let mean = hour.iter().sum::<f64>() / 60.0;
        let variance = hour.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / 59.0;
        variance / mean.max(0.01)
    });
    let average = dispersions.sum::<f64>() / (31.0 * 24.0);
    assert!(average > 2.0, "{average}");
}

#[test]
fn five_to_seven_percent_of_calls_fail() {
    for (_, calls) in &*HISTORIES {
        let share = calls.iter().filter(is_failure).count() as f64 / calls.len() as f64;
        assert!((0.05..=0.07).contains(&share), "{share}");
        let codes: BTreeSet<_> =
            calls.iter().filter(is_failure).map(|it| it.0.status_code).collect();
        let expected = [None, Some(400), Some(403), Some(429), Some(500), Some(503)];
        assert_eq!(codes, BTreeSet::from(expected));
    }
}

#[test]
fn every_key_is_a_fake_and_has_the_length_of_a_real_one() {
    for (_, calls) in &*HISTORIES {
        let keys: BTreeSet<&str> = calls.iter().map(key).collect();
        assert_eq!(keys.len(), KEYS);
        assert!(keys.iter().all(|key| key.starts_with(PREFIX) && key.len() == 39));
        assert!(keys.iter().all(|key| !key.contains("AIza")));
        let models: BTreeSet<&str> = calls.iter().map(model).collect();
        assert_eq!(models.len(), MODELS.len());
    }
}

#[test]
fn exactly_one_key_dies_and_never_succeeds_again() {
    for &(until, ref calls) in &*HISTORIES {
        let week = until - TimeDelta::days(7);
        let mut alive = BTreeSet::new();
        let mut tried = BTreeSet::new();
        for call in calls.iter().filter(|it| it.0.timestamp >= week) {
            tried.insert(key(call));
            if call.0.is_success() {
                alive.insert(key(call));
            }
        }
        let dead: Vec<_> = tried.difference(&alive).copied().collect();
        let [dead] = dead[..] else { panic!("{dead:?}") };
        let of_dead: Vec<_> = calls.iter().filter(|it| key(it) == dead).collect();
        let died = of_dead.iter().position(|it| it.0.status_code == Some(403)).unwrap();
        assert!(of_dead[..died].iter().filter(|it| it.0.is_success()).count() > 1000);
        assert!(of_dead[died..].len() > 1000);
        assert!(of_dead[died..].iter().all(|it| it.0.status_code == Some(403)));
        assert!(calls.iter().all(|it| it.0.status_code != Some(403) || key(it) == dead));
    }
}

#[test]
fn one_key_is_throttled_in_the_last_hours_only() {
    for &(until, ref calls) in &*HISTORIES {
        let start = until - TimeDelta::hours(5);
        let mut lately = BTreeMap::<&str, (f64, f64, f64)>::new();
        for call in calls.iter().filter(|it| it.0.timestamp >= start) {
            let counts = lately.entry(key(call)).or_default();
            counts.0 += 1.0;
            counts.1 += f64::from(u8::from(call.0.status_code == Some(429)));
            counts.2 += f64::from(u8::from(call.0.is_success()));
        }
        let is_throttled = |it: &&(&str, (f64, f64, f64))| it.1.1 / it.1.0 > 0.4 && it.1.2 > 0.0;
        let lately: Vec<_> = lately.into_iter().collect();
        let throttled: Vec<_> = lately.iter().filter(is_throttled).collect();
        let [(throttled, _)] = throttled[..] else { panic!("{throttled:?}") };
        let before = calls.iter().filter(|it| it.0.timestamp < start && key(it) == *throttled);
        let failed = before.clone().filter(is_failure).count() as f64;
        assert!(failed / (before.count() as f64) < 0.1);
    }
}

#[test]
fn a_storm_affects_many_keys_and_ends_at_midnight_in_california() {
    for &(until, ref calls) in &*HISTORIES {
        // The last midnight in California.
        let today = until.with_timezone(&Los_Angeles).date_naive().and_hms_opt(0, 0, 0).unwrap();
        let reset = Los_Angeles.from_local_datetime(&today).unwrap().to_utc();
        let mut worst = BTreeMap::<&str, usize>::new();
        for name in MODELS.iter().map(|model| model.name) {
            let throttled_keys = |since: DateTime<Utc>| {
                let ten_minutes = since..since + TimeDelta::minutes(10);
                let throttled = calls.iter().filter(|it| {
                    ten_minutes.contains(&it.0.timestamp)
                        && it.0.status_code == Some(429)
                        && model(it) == name
                });
                throttled.map(key).collect::<BTreeSet<_>>().len()
            };
            let before = throttled_keys(reset - TimeDelta::minutes(10));
            assert!(throttled_keys(reset) <= 3, "the reset ends it");
            worst.insert(name, before);
        }
        assert!(worst.values().any(|keys| *keys >= 20), "{worst:?}");
    }
}

#[test]
fn an_outage_is_within_the_last_day() {
    for &(until, ref calls) in &*HISTORIES {
        let day = until - TimeDelta::hours(24);
        // Per model and 20 minutes: calls, and those that failed with 500 or 503.
        let mut steps = BTreeMap::<(&str, i64), (usize, usize)>::new();
        for call in calls.iter().filter(|it| it.0.timestamp >= day) {
            let step = (call.0.timestamp - day).num_minutes() / 20;
            let counts = steps.entry((model(call), step)).or_default();
            counts.0 += 1;
            counts.1 += usize::from(matches!(call.0.status_code, Some(500 | 503)));
        }
        let down = |(calls, failed): &(usize, usize)| *calls >= 20 && failed * 2 > *calls;
        assert!(steps.values().any(down));
        assert!(steps.values().filter(|counts| down(counts)).count() <= 3, "it ends");
    }
}

#[test]
fn error_logs_belong_to_failures_and_follow_within_their_latency() {
    for &(until, ref calls) in &*HISTORIES {
        let (mut failures, mut logged, mut later, mut kept) = (0.0, 0.0, 0.0, 0.0);
        for (call, error) in calls {
            failures += f64::from(u8::from(!call.is_success()));
            let Some(error) = error else { continue };
            assert!(!call.is_success());
            assert_eq!((&error.key, &error.model), (&call.key, &call.model));
            assert_eq!(error.error_code, call.status_code);
            let latency = TimeDelta::milliseconds(call.latency_ms.unwrap().into());
            assert!((TimeDelta::zero()..=latency).contains(&(error.timestamp - call.timestamp)));
            assert!(error.timestamp < until);
            logged += 1.0;
            later += f64::from(u8::from(error.timestamp > call.timestamp));
            kept += f64::from(u8::from(error.request.is_some()));
        }
        assert!((0.92..0.96).contains(&(logged / failures)), "{}", logged / failures);
        assert!((0.2..0.4).contains(&(later / logged)));
        assert!((0.2..0.4).contains(&(kept / logged)));
    }
}

#[test]
fn error_texts_match_the_status_code() {
    let mut types = BTreeSet::new();
    for error in HISTORIES[0].1.iter().filter_map(|(_, error)| error.as_ref()) {
        let message = error.message.as_deref().unwrap();
        match error.error_code {
            Some(code) => {
                let body: serde_json::Value = serde_json::from_str(message).unwrap();
                assert_eq!(body["error"]["code"], code);
                let delay = body["error"]["details"][1]["retryDelay"].as_str();
                assert_eq!(delay.is_some(), code == 429, "{message}");
            }
            None => assert!(message.starts_with("Generic error: ")),
        }
        let error_type = error.error_type.as_deref().unwrap();
        assert!(error_type.len() <= 50);
        types.insert(error_type);
    }
    assert_eq!(types.len(), 9);
}

#[test]
fn a_failed_call_is_retried_with_another_key() {
    let (_, calls) = &HISTORIES[0];
    let (mut failures, mut retried) = (0.0, 0.0);
    for (index, failed) in calls.iter().enumerate().filter(|it| is_failure(&it.1)) {
        let Some(latency) = failed.0.latency_ms.filter(|latency| *latency < 5_000) else {
            continue;
        };
        let end = failed.0.timestamp + TimeDelta::milliseconds(latency.into());
        let soon = end..end + TimeDelta::seconds(2);
        let mut after = calls[index + 1..].iter().take_while(|it| it.0.timestamp < soon.end);
        failures += 1.0;
        retried += f64::from(u8::from(after.any(|it| {
            it.0.timestamp >= soon.start && model(it) == model(failed) && key(it) != key(failed)
        })));
    }
    assert!(retried / failures > 0.6, "{}", retried / failures);
}

#[test]
fn slow_models_take_seconds_with_a_long_tail() {
    let mut latencies = BTreeMap::<&str, Vec<i32>>::new();
    for call in HISTORIES[0].1.iter().filter(|it| it.0.is_success()) {
        latencies.entry(model(call)).or_default().push(call.0.latency_ms.unwrap());
    }
    let mut quantile = |model: &str, part: f64| {
        let sorted = latencies.get_mut(model).unwrap();
        sorted.sort_unstable();
        sorted[(sorted.len() as f64 * part) as usize]
    };
    assert!((10_000..17_000).contains(&quantile("gemini-2.5-pro", 0.5)));
    assert!(quantile("gemini-2.5-pro", 0.99) > 45_000);
    assert!((100..400).contains(&quantile("text-embedding-004", 0.5)));
}

#[test]
fn live_calls_continue_the_history() {
    for seed in SEEDS {
        let until = end(seed);
        let mut live = Traffic::new(seed, until).into_live();
        let mut again = Traffic::new(seed, until).into_live();
        let mut calls = Vec::new();
        for second in 1..=3600 {
            let now = until + TimeDelta::seconds(second);
            let arrived: Vec<_> = live.until(now).collect();
            let ends = arrived.iter().filter_map(|it| it.1.as_ref()).map(|error| error.timestamp);
            assert!(ends.chain(arrived.iter().map(|it| it.0.timestamp)).all(|at| at < now));
            calls.extend(arrived);
        }
        assert!(calls.is_sorted_by_key(|(call, _)| call.timestamp));
        assert!(calls.first().unwrap().0.timestamp >= until);
        assert!((0.28..1.1).contains(&(calls.len() as f64 / 3600.0)), "{}", calls.len());
        // The calls do not depend on the steps of time.
        let at_once: Vec<_> = again.until(until + TimeDelta::hours(1)).map(|it| it.0).collect();
        assert!(at_once == calls.into_iter().map(|it| it.0).collect::<Vec<_>>());
    }
}

#[test]
fn a_dead_key_stays_dead_while_the_demo_runs() {
    let [seed, _] = SEEDS;
    let until = end(seed);
    let mut live = Traffic::new(seed, until).into_live();
    let day: Vec<_> = live.until(until + TimeDelta::hours(24)).collect();
    let dead = day.iter().find(|it| it.0.status_code == Some(403)).map(key).unwrap();
    assert!(day.iter().filter(|it| key(it) == dead).all(|it| it.0.status_code == Some(403)));
    assert!(day.iter().filter(is_failure).count() * 5 < day.len());
}
