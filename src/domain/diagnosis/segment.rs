//! Finds the times in which a scope fails more than usual: a cumulative sum of log-likelihood ratios
//! (CUSUM, Page 1954). Each failure adds evidence for the faulty rate, each success for the usual one; the
//! sum never falls below zero. The last time at zero is the start of a fault, the maximum its end.

use super::evidence::{Evidence, Level};
use super::thresholds::{CONTINUES_WITHIN, Rule};

/// A time in which a scope fails more than usual.
pub(super) struct Segment {
    pub level: Level,
    /// The indexes of its failures, in order of time.
    pub events: Vec<u32>,
    /// Whether it lasts at the end of the window.
    pub lasts: bool,
}

#[derive(Clone, Default)]
struct Sum {
    score: f64,
    peak: f64,
    /// The events since the sum was zero, and how many of them until the maximum.
    events: Vec<u32>,
    until_peak: usize,
    weight: f64,
    weight_at_peak: f64,
    successes: u32,
    last_at: i64,
    /// The latest segment of the scope, and the events after it.
    found: Option<usize>,
    between: Vec<u32>,
}

/// The segments of all scopes of a level, from the events that `candidates` lists in order of time.
pub(super) fn find(
    evidence: &Evidence,
    level: Level,
    rule_of: impl Fn(usize) -> Rule,
    candidates: &[u32],
) -> Vec<Segment> {
    let scopes = evidence.scopes(level);
    let rules: Vec<Rule> = (0..scopes).map(rule_of).collect();
    let mut finder = Finder {
        evidence,
        level,
        candidates,
        losses: rules.iter().map(Rule::evidence_of_success).collect(),
        gains: rules.iter().map(Rule::evidence_of_failure).collect(),
        rules,
        sums: vec![Sum::default(); scopes],
        found: Vec::new(),
    };
    for position in 0..candidates.len() {
        finder.add(position);
    }
    for scope in 0..scopes {
        finder.finish(scope);
    }
    finder.found
}

struct Finder<'a> {
    evidence: &'a Evidence,
    level: Level,
    candidates: &'a [u32],
    rules: Vec<Rule>,
    gains: Vec<f64>,
    losses: Vec<f64>,
    sums: Vec<Sum>,
    found: Vec<Segment>,
}

impl Finder<'_> {
    fn add(&mut self, position: usize) {
        let index = self.candidates[position];
        let event = &self.evidence.events[index as usize];
        let Some(scope) = event.scope(self.level) else { return };
        let (sum, rule) = (&mut self.sums[scope], &self.rules[scope]);
        let contrary = event.contrary[self.level as usize];
        if !sum.events.is_empty() {
            sum.score -= self.losses[scope] * f64::from(contrary - sum.successes);
            let is_late = rule.gap.is_some_and(|gap| event.at - sum.last_at > gap);
            if sum.score <= 0.0 || sum.peak - sum.score >= rule.end || is_late {
                self.close(scope, false);
            }
        }
        let (sum, rule) = (&mut self.sums[scope], &self.rules[scope]);
        let weight = if rule.discount_retries { f64::from(event.weight) } else { 1.0 };
        sum.score += self.gains[scope] * weight;
        sum.weight += weight;
        sum.events.push(index);
        sum.successes = contrary;
        sum.last_at = event.at;
        if sum.score >= sum.peak {
            sum.peak = sum.score;
            sum.until_peak = sum.events.len();
            sum.weight_at_peak = sum.weight;
        }
    }

    fn finish(&mut self, scope: usize) {
        let (sum, rule) = (&self.sums[scope], &self.rules[scope]);
        let Some(last) = sum.events.last() else { return };
        let family = self.evidence.events[*last as usize].family;
        let since_last = self.evidence.contrary(self.level, scope, family) - sum.successes;
        let score = sum.score - self.losses[scope] * f64::from(since_last);
        let is_late = rule.gap.is_some_and(|gap| self.evidence.as_of - sum.last_at > gap);
        let lasts = score > 0.0 && sum.peak - score < rule.end && !is_late;
        self.close(scope, lasts);
    }

    /// Ends the sum of a scope. What it found continues the segment before if that ended shortly before.
    fn close(&mut self, scope: usize, lasts: bool) {
        let sum = std::mem::take(&mut self.sums[scope]);
        let Sum { peak, mut events, until_peak, weight_at_peak, found, mut between, .. } = sum;
        let rule = &self.rules[scope];
        let rest = events.split_off(until_peak);
        let at = |index: &u32| self.evidence.events[*index as usize].at;
        let span = |from: Option<&u32>, to: Option<&u32>| from.zip(to).map(|(a, b)| at(b) - at(a));
        let is_fault = peak >= rule.start
            && weight_at_peak >= rule.failures
            && span(events.first(), events.last()) >= Some(rule.lasts);
        let sum = &mut self.sums[scope];
        if !is_fault {
            if found.is_some() {
                between.extend(events);
                between.extend(rest);
            }
            (sum.found, sum.between) = (found, between);
            return;
        }
        sum.between = rest;
        let before = found.map(|found| &self.found[found].events);
        let pause = before.and_then(|before| span(before.last(), events.first()));
        match found.filter(|_| pause.is_some_and(|pause| pause <= CONTINUES_WITHIN)) {
            Some(before) => {
                let segment = &mut self.found[before];
                segment.events.append(&mut between);
                segment.events.append(&mut events);
                segment.lasts = lasts;
                sum.found = Some(before);
            }
            None => {
                sum.found = Some(self.found.len());
                self.found.push(Segment { level: self.level, events, lasts });
            }
        }
    }
}
