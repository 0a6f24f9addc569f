//! Compares the diagnoses of labelled traffic with its incidents.

use callscope::domain::diagnosis::{Calls, Cause, Diagnosis, Past, diagnose};

use super::gateway::{HOUR, MINUTE};
use super::traffic::{Incident, Traffic};

/// Results over many mixes.
#[derive(Default)]
pub struct Score {
    /// Failures of incidents, and those with the right cause and scope.
    pub failures: u64,
    pub right: u64,
    /// Incidents with at least this many calls, and those with a right diagnosis.
    pub incidents: usize,
    pub found: usize,
    /// Diagnoses that are right, that are wrong, and more than one of an incident.
    pub right_diagnoses: usize,
    pub false_diagnoses: Vec<(u64, Cause)>,
    pub repeated: usize,
    pub key_months: f64,
    /// By incident that was found, in minutes.
    pub error_of_since: Vec<f64>,
    pub error_of_until: Vec<f64>,
    /// The confidence of each diagnosis that lasted at a time of measurement, and whether it is right.
    pub confidence: Vec<(f64, bool)>,
    pub by_cause: Vec<OfCause>,
}

/// The part of one cause.
pub struct OfCause {
    pub cause: Cause,
    pub failures: u64,
    pub right: u64,
    pub incidents: usize,
    pub found: usize,
}

/// An incident with fewer failed (or slow) calls cannot be seen.
const MIN_FAILURES: usize = 8;

impl Score {
    pub fn add(&mut self, seed: u64, traffic: &Traffic) {
        let calls = &traffic.calls;
        let diagnoses = diagnose(calls, &Past::default(), traffic.as_of);
        let mut explained_by: Vec<Option<usize>> = vec![None; calls.len()];
        for (index, diagnosis) in diagnoses.iter().enumerate() {
            for call in &diagnosis.calls {
                let by = &mut explained_by[*call as usize];
                assert!(by.is_none(), "a call is explained twice");
                *by = Some(index);
            }
        }
        self.key_months += calls.keys as f64 / 30.0;
        self.count_failures(traffic, &diagnoses, &explained_by);
        self.count_diagnoses(seed, traffic, &diagnoses);
        for (index, incident) in traffic.incidents.iter().enumerate() {
            self.count_incident(traffic, index, incident, &diagnoses);
        }
    }

    fn count_failures(
        &mut self,
        traffic: &Traffic,
        diagnoses: &[Diagnosis],
        explained_by: &[Option<usize>],
    ) {
        for (call, label) in traffic.label.iter().enumerate() {
            let Some(incident) = label.map(|label| &traffic.incidents[label as usize]) else {
                continue;
            };
            if incident.cause == Cause::Slow {
                continue;
            }
            let is_right = explained_by[call].is_some_and(|by| {
                fits(&diagnoses[by], incident)
                    && is_of(&diagnoses[by].keys, traffic.calls.key[call])
                    && is_of(&diagnoses[by].models, traffic.calls.model[call])
            });
            self.failures += 1;
            self.right += u64::from(is_right);
            let entry = self.entry(incident.cause);
            entry.failures += 1;
            entry.right += u64::from(is_right);
        }
    }

    fn count_diagnoses(&mut self, seed: u64, traffic: &Traffic, diagnoses: &[Diagnosis]) {
        let mut seen: Vec<(usize, Vec<u32>)> = Vec::new();
        for diagnosis in diagnoses {
            let found = traffic.incidents.iter().position(|incident| {
                fits(diagnosis, incident) && overlaps(diagnosis, incident, traffic.as_of)
            });
            let Some(found) = found else {
                self.false_diagnoses.push((seed, diagnosis.cause));
                continue;
            };
            self.right_diagnoses += 1;
            let name = (found, diagnosis.keys.clone());
            if seen.contains(&name) {
                self.repeated += 1;
            }
            seen.push(name);
        }
    }

    /// Compares the confidence of the diagnoses that last at several times with their truth.
    pub fn add_confidence(&mut self, traffic: &Traffic) {
        for hour in [5, 8, 11, 14, 17, 20, 22] {
            let as_of = traffic.as_of - (24 - hour) * HOUR;
            for diagnosis in diagnose(&traffic.visible(as_of), &Past::default(), as_of) {
                let is_right = traffic.incidents.iter().any(|incident| {
                    fits(&diagnosis, incident) && overlaps(&diagnosis, incident, as_of)
                });
                if diagnosis.until.is_none() {
                    self.confidence.push((diagnosis.confidence, is_right));
                }
            }
        }
    }

    fn count_incident(
        &mut self,
        traffic: &Traffic,
        index: usize,
        incident: &Incident,
        diagnoses: &[Diagnosis],
    ) {
        let calls = &traffic.calls;
        let labelled: Vec<usize> =
            (0..calls.len()).filter(|call| traffic.label[*call] == Some(index as u32)).collect();
        let is_silence = incident.cause == Cause::Silent;
        if !is_silence && labelled.len() < MIN_FAILURES {
            return;
        }
        let in_scope = |call: &usize| {
            is_of(&incident.keys, calls.key[*call]) && is_of(&incident.models, calls.model[*call])
        };
        if is_silence {
            // Expected calls in the silence.
            let before = (0..calls.len()).filter(in_scope).filter(|call| {
                (incident.since - 3 * HOUR..incident.since).contains(&calls.at[*call])
            });
            let per_hour = before.count() as f64 / 3.0;
            let hours = (incident.until.min(traffic.as_of) - incident.since) as f64 / HOUR as f64;
            if per_hour * hours < 40.0 {
                return;
            }
        }
        self.incidents += 1;
        self.entry(incident.cause).incidents += 1;
        let found = diagnoses.iter().find(|diagnosis| {
            fits(diagnosis, incident) && overlaps(diagnosis, incident, traffic.as_of)
        });
        let Some(found) = found else { return };
        self.found += 1;
        self.entry(incident.cause).found += 1;
        if is_silence {
            return;
        }
        let key_of = |call: &usize| calls.key[*call];
        let own: Vec<usize> =
            labelled.iter().copied().filter(|call| is_of(&found.keys, key_of(call))).collect();
        let (Some(first), Some(last)) = (own.first(), own.last()) else { return };
        let start = if incident.cause == Cause::PoolExhausted {
            incident.most_exhausted_at()
        } else {
            calls.at[*first]
        };
        let minutes = |a: i64, b: i64| (a - b).abs() as f64 / MINUTE as f64;
        self.error_of_since.push(minutes(found.since.timestamp_micros(), start));
        if let Some(until) = found.until {
            self.error_of_until.push(minutes(until.timestamp_micros(), calls.at[*last]));
        }
    }

    fn entry(&mut self, cause: Cause) -> &mut OfCause {
        let index = self.by_cause.iter().position(|entry| entry.cause == cause);
        let index = index.unwrap_or_else(|| {
            self.by_cause.push(OfCause { cause, failures: 0, right: 0, incidents: 0, found: 0 });
            self.by_cause.len() - 1
        });
        &mut self.by_cause[index]
    }

    pub fn accuracy(&self) -> f64 {
        self.right as f64 / (self.failures as f64).max(1.0)
    }

    pub fn false_per_key_month(&self) -> f64 {
        self.false_diagnoses.len() as f64 / self.key_months
    }
}

/// The minutes from the first failure of an incident until it was found; None if it was not, after 400 failures.
pub fn minutes_to_detect(traffic: &Traffic, number: usize) -> Option<f64> {
    let incident = &traffic.incidents[number];
    let is_own = |call: &usize| traffic.label[*call] == Some(number as u32);
    let labelled: Vec<usize> = (0..traffic.calls.len()).filter(is_own).collect();
    for count in [1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 30, 40, 60, 100, 200, 400] {
        let now = traffic.visible_at[*labelled.get(count - 1)?];
        let visible: Calls = traffic.visible(now);
        let is_found = diagnose(&visible, &Past::default(), now).iter().any(|diagnosis| {
            fits(diagnosis, incident)
                && diagnosis.until.is_none()
                && diagnosis.since.timestamp_micros() >= incident.since - HOUR
        });
        if is_found {
            return Some((now - traffic.calls.at[labelled[0]]) as f64 / MINUTE as f64);
        }
    }
    None
}

fn is_of(list: &[u32], item: u32) -> bool {
    list.is_empty() || list.contains(&item)
}

/// Whether cause and scope are right. Keys that share a quota may have a diagnosis each.
fn fits(diagnosis: &Diagnosis, incident: &Incident) -> bool {
    diagnosis.cause == incident.cause
        && diagnosis.models == incident.models
        && diagnosis.keys.is_empty() == incident.keys.is_empty()
        && diagnosis.keys.iter().all(|key| incident.keys.contains(key))
}

fn overlaps(diagnosis: &Diagnosis, incident: &Incident, as_of: i64) -> bool {
    let until = diagnosis.until.map_or(as_of, |until| until.timestamp_micros());
    diagnosis.since.timestamp_micros() <= incident.until && until >= incident.since
}

pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (part * (sorted.len().max(1) - 1) as f64) as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}
