//! SILENT: no calls where there should be some. All calls are compared with the quietest hour of the window, a
//! key with its share of the calls and its longest earlier pause.

use super::thresholds::{
    CONFIDENCE_SILENT, HOUR, KEY_PAUSE_RATIO, KEY_SILENT_FOR, KEY_SILENT_VISITS, KEY_VISITS,
    SILENT_CALLS, SILENT_FOR, USUAL_CALLS, USUAL_HOURS,
};
use super::{Calls, Cause, Diagnosis, Past, time};

pub(super) fn find(calls: &Calls, past: &Past, known: &[Diagnosis], as_of: i64) -> Vec<Diagnosis> {
    let mut found = silence_of_all(calls, past.last_call, as_of);
    found.extend(silences_of_keys(calls, known, as_of));
    found
}

/// `last_call`: the last one before the window.
fn silence_of_all(calls: &Calls, last_call: Option<i64>, as_of: i64) -> Vec<Diagnosis> {
    let Some(start) = calls.at.first().copied() else { return Vec::new() };
    let ends = calls.at.iter().skip(1).copied().map(Some).chain([None]);
    let long = |(since, until): &(i64, Option<i64>)| {
        until.unwrap_or(as_of.max(*since)) - since >= SILENT_FOR
    };
    let first = last_call.map(|last| (last, Some(start)));
    let pauses = first.into_iter().chain(calls.at.iter().copied().zip(ends));
    let pauses: Vec<(i64, Option<i64>)> = pauses.filter(long).collect();
    if pauses.is_empty() {
        return Vec::new();
    }
    let mut hours = vec![0_u32; ((as_of - start).max(0) / HOUR) as usize + 1];
    for at in &calls.at {
        if let Some(hour) = hours.get_mut(((at - start) / HOUR) as usize) {
            *hour += 1;
        }
    }
    // The last hour is not complete.
    let complete = &hours[..hours.len() - 1];
    let is_silent = |(since, until): &(i64, Option<i64>)| {
        let end = until.unwrap_or(as_of);
        let is_outside = |hour: usize| {
            let from = start + hour as i64 * HOUR;
            from + HOUR <= *since || from >= end
        };
        let other = complete.iter().enumerate().filter(|(hour, _)| is_outside(*hour));
        let other: Vec<u32> = other.map(|(_, count)| *count).collect();
        let quietest = other.iter().min().copied().unwrap_or(0);
        let expected = f64::from(quietest) / 2.0 * (end - since) as f64 / HOUR as f64;
        other.len() >= USUAL_HOURS && quietest >= USUAL_CALLS && expected >= SILENT_CALLS
    };
    let silent = pauses.into_iter().filter(is_silent);
    silent.map(|(since, until)| diagnosis(Vec::new(), since, until)).collect()
}

#[derive(Clone, Default)]
struct LastCall {
    at: i64,
    /// Its number among all calls.
    number: u32,
    is_known: bool,
    /// How often it was used after a call of another key.
    visits: u32,
    /// The number of the first call.
    first: u32,
    /// In calls of all keys.
    longest_pause: u32,
}

/// A pause of a key with a fault is part of that fault: the gateway disabled it.
fn silences_of_keys(calls: &Calls, known: &[Diagnosis], as_of: i64) -> Vec<Diagnosis> {
    let mut last = vec![LastCall::default(); calls.keys];
    let mut found = Vec::new();
    let is_silence = |key: &LastCall, number: u32, now: i64| {
        let pause = number - key.number;
        let share = f64::from(key.visits) / f64::from(key.number - key.first + 1);
        key.visits >= KEY_VISITS
            && now - key.at >= KEY_SILENT_FOR
            && share * f64::from(pause) >= KEY_SILENT_VISITS
            && pause > key.longest_pause.saturating_mul(KEY_PAUSE_RATIO)
    };
    let mut add = |key: usize, since: i64, until: Option<i64>| {
        let is_explained = |diagnosis: &Diagnosis| {
            diagnosis.keys.contains(&(key as u32))
                && diagnosis.since <= time(since)
                && diagnosis.until.is_none_or(|end| end >= time(since))
        };
        if !known.iter().any(is_explained) {
            found.push(diagnosis(vec![key as u32], since, until));
        }
    };
    for (number, (key, at)) in calls.key.iter().zip(&calls.at).enumerate() {
        let Some(known) = last.get_mut(*key as usize) else { continue };
        let number = number as u32;
        if !std::mem::replace(&mut known.is_known, true) {
            known.first = number;
        } else if number - known.number > 1 {
            if is_silence(known, number, *at) {
                add(*key as usize, known.at, Some(*at));
            }
            known.longest_pause = known.longest_pause.max(number - known.number);
            known.visits += 1;
        }
        known.at = *at;
        known.number = number;
    }
    for (key, known) in last.iter().enumerate() {
        if is_silence(known, calls.len() as u32, as_of) {
            add(key, known.at, None);
        }
    }
    found
}

fn diagnosis(keys: Vec<u32>, since: i64, until: Option<i64>) -> Diagnosis {
    Diagnosis {
        cause: Cause::Silent,
        confidence: CONFIDENCE_SILENT[usize::from(keys.is_empty())],
        severity: Cause::Silent.severity(&keys, 0.0),
        remedy: Cause::Silent.remedy(&keys),
        keys,
        models: Vec::new(),
        since: time(since),
        until: until.map(time),
        last_success: None,
        failures: 0,
        successes: 0,
        share: 0.0,
        status: None,
        class: None,
        calls: Vec::new(),
    }
}
