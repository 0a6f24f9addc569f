//! Matches failed calls with error logs. The rules: candidates are the error logs of the same key within
//! the window (both ends inclusive) with the code of the call, or, if none has this code, all of them. The
//! nearest in time matches; of two at the same distance the later one, of two at the same time the one
//! with the higher id.

use std::collections::HashMap;

use chrono::{NaiveDateTime, TimeDelta};

/// The key, time and code of a failed call, whose error log is searched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Probe {
    pub key: String,
    pub at: NaiveDateTime,
    pub code: Option<i32>,
    pub window: TimeDelta,
}

/// An error log that may match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    pub at: NaiveDateTime,
    pub id: i64,
    pub code: Option<i32>,
}

/// The error logs of many keys, sorted to find the match of a probe in logarithmic time.
#[derive(Debug, Default)]
pub struct Candidates {
    of_key: HashMap<String, Vec<Candidate>>,
    of_code: HashMap<(String, i32), Vec<Candidate>>,
}

impl Candidates {
    pub fn new(candidates: impl IntoIterator<Item = (String, Candidate)>) -> Self {
        let mut all = Self::default();
        for (key, candidate) in candidates {
            if let Some(code) = candidate.code {
                all.of_code.entry((key.clone(), code)).or_default().push(candidate);
            }
            all.of_key.entry(key).or_default().push(candidate);
        }
        for sorted in all.of_key.values_mut().chain(all.of_code.values_mut()) {
            sorted.sort_unstable();
        }
        all
    }

    /// The error log that matches by the rules above.
    pub fn find(&self, probe: &Probe) -> Option<Candidate> {
        let with_code = probe
            .code
            .and_then(|code| self.of_code.get(&(probe.key.clone(), code)))
            .and_then(|sorted| nearest(sorted, probe));
        with_code.or_else(|| nearest(self.of_key.get(&probe.key)?, probe))
    }
}

fn nearest(sorted: &[Candidate], probe: &Probe) -> Option<Candidate> {
    // The last entry up to an instant has the highest id of its time.
    let last_until = |at: NaiveDateTime| {
        let end = sorted.partition_point(|candidate| candidate.at <= at);
        (end.checked_sub(1).map(|last| sorted[last]), sorted.get(end))
    };
    let (before, after) = last_until(probe.at);
    let after = after.and_then(|first| last_until(first.at).0);
    let distance = |candidate: &Candidate| (candidate.at - probe.at).abs();
    [before, after]
        .into_iter()
        .flatten()
        .filter(|candidate| distance(candidate) <= probe.window)
        .min_by_key(|candidate| (distance(candidate), std::cmp::Reverse(candidate.at)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The rules as written, applied to every candidate.
    fn brute_force(candidates: &[(String, Candidate)], probe: &Probe) -> Option<Candidate> {
        let near: Vec<Candidate> = candidates
            .iter()
            .filter(|(key, found)| *key == probe.key && (found.at - probe.at).abs() <= probe.window)
            .map(|(_, found)| *found)
            .collect();
        let with_code: Vec<Candidate> = near
            .iter()
            .copied()
            .filter(|found| probe.code.is_some() && found.code == probe.code)
            .collect();
        let preferred = if with_code.is_empty() { near } else { with_code };
        preferred.into_iter().min_by(|a, b| {
            let distance = |found: &Candidate| (found.at - probe.at).abs();
            distance(a).cmp(&distance(b)).then(b.at.cmp(&a.at)).then(b.id.cmp(&a.id))
        })
    }

    fn instant() -> impl Strategy<Value = NaiveDateTime> {
        // Few distinct instants, so that ties and window ends are frequent.
        prop_oneof![0i64..12, 595i64..606].prop_map(|tenths| {
            chrono::DateTime::from_timestamp_micros(tenths * 500_000).unwrap().naive_utc()
        })
    }

    fn code() -> impl Strategy<Value = Option<i32>> {
        prop_oneof![Just(None), Just(Some(429)), Just(Some(403))]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn the_match_equals_brute_force(
            rows in prop::collection::vec((0u8..2, instant(), code()), 0..24),
            key in 0u8..2,
            at in instant(),
            code in code(),
            seconds in prop_oneof![1i64..4, Just(300i64)],
        ) {
            let candidates: Vec<_> = rows
                .into_iter()
                .enumerate()
                .map(|(id, (key, at, code))| (key.to_string(), Candidate { at, id: id as i64, code }))
                .collect();
            let probe = Probe { key: key.to_string(), at, code, window: TimeDelta::seconds(seconds) };
            let expected = brute_force(&candidates, &probe);
            prop_assert_eq!(Candidates::new(candidates).find(&probe), expected);
        }
    }
}
