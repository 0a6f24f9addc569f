//! What the calls of a window show: each failure with its family, its scopes, and the number of successes
//! before it in each of them, so that the detection reads failures only.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::thresholds::{
    CLOCK_DIFFERENCE, HOUR, LONG_QUOTA_REFUSALS, MEDIAN_CALLS, MINUTE_QUOTA_ENDS_WITHIN,
    RETRIED_REQUESTS, RETRY_WEIGHT, RETRY_WITHIN, SAME_CLASS_WITHIN, TIMES_SLOWER, USUAL_CALLS,
    USUAL_HOURS, USUAL_MARGIN, USUAL_RATES,
};
use super::{Calls, NO_LATENCY, NONE, Outcome};
use crate::domain::failure::FailureClass;

/// Classes of failures with the same possible causes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Family {
    Key,
    Money,
    LongQuota,
    ShortQuota,
    Provider,
    Request,
    Address,
    Network,
    Timeout,
    Unknown,
    /// A success that took much longer than usual.
    Slow,
}

const FAMILIES: usize = 11;

impl Family {
    fn of(class: FailureClass) -> Self {
        use FailureClass as Class;
        match class {
            Class::KeyInvalid | Class::KeySuspended | Class::KeyPermission => Self::Key,
            Class::Billing => Self::Money,
            Class::QuotaDay => Self::LongQuota,
            Class::QuotaTokens | Class::QuotaMinute | Class::QuotaOther => Self::ShortQuota,
            Class::ProviderOverloaded | Class::ProviderError => Self::Provider,
            Class::ModelNotFound
            | Class::BadRequest
            | Class::ContentFilter
            | Class::ContextTooLong => Self::Request,
            Class::RegionBlocked | Class::IpBlocked => Self::Address,
            Class::Network | Class::GatewayOther => Self::Network,
            Class::Timeout => Self::Timeout,
            Class::Unknown => Self::Unknown,
        }
    }
}

/// The scopes of a call, from general to specific.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Level {
    All,
    Model,
    Key,
    /// A key and a model.
    Cell,
}

pub(super) const LEVELS: usize = 4;

/// A failure, or a slow success.
pub(super) struct Event {
    pub call: u32,
    pub at: i64,
    pub key: u32,
    pub model: u32,
    pub cell: u32,
    pub family: Family,
    pub class: Option<FailureClass>,
    /// The calls before it in the scope of each level that are evidence against a fault of its family:
    /// successes. Requests are checked before anything else, so that other failures are evidence as well.
    pub contrary: [u32; LEVELS],
    /// Less than 1 for a probable retry.
    pub weight: f32,
}

impl Event {
    /// The index of its scope; None if the call has no key or no model.
    pub fn scope(&self, level: Level) -> Option<usize> {
        let index = match level {
            Level::All => 0,
            Level::Model => self.model,
            Level::Key => self.key,
            Level::Cell if self.key == NONE || self.model == NONE => NONE,
            Level::Cell => self.cell,
        };
        (index != NONE).then_some(index as usize)
    }
}

pub(super) struct Evidence {
    /// In order of time.
    pub events: Vec<Event>,
    /// The events of each family.
    of_family: [Vec<u32>; FAMILIES],
    counters: Counters,
    pub as_of: i64,
    usual: UsualRates,
}

/// The successes, and the failures that no request caused, of each scope so far, by level.
struct Counters {
    successes: [Vec<u32>; LEVELS],
    other_failures: [Vec<u32>; LEVELS],
}

impl Counters {
    fn contrary(&self, level: usize, scope: usize, family: Family) -> u32 {
        let successes = self.successes[level][scope];
        match family {
            Family::Request => successes + self.other_failures[level][scope],
            _ => successes,
        }
    }
}

impl Evidence {
    pub fn read(calls: &Calls, as_of: i64) -> Self {
        let cells = Cells::of_failures(calls);
        let classes = classes(calls, &cells);
        // A few percent of the successes are slow.
        let mut events = Vec::with_capacity(classes.len() + calls.len() / 16);
        let mut classes = classes.into_iter();
        let slow = slow_latencies(calls);
        // The last scope of a level is for calls without a key or model, and for cells without failures.
        let scopes = [1, calls.models + 1, calls.keys + 1, cells.count + 1];
        let mut counters = Counters {
            successes: scopes.map(|count| vec![0; count]),
            other_failures: scopes.map(|count| vec![0; count]),
        };
        let mut usual = UsualRates::new(calls);
        let mut retries = Retries(vec![[i64::MIN; RETRY_SLOTS]; calls.models + 1]);
        for call in 0..calls.len() {
            let (at, key, model) = (calls.at[call], calls.key[call], calls.model[call]);
            let (key_slot, model_slot) = cells.slots(calls.keys, key, model);
            let slots = [0, model_slot, key_slot, cells.find(key_slot, model_slot)];
            let latency = calls.latency_ms[call];
            let class = match calls.outcome[call] {
                Outcome::Success => None,
                _ => classes.next(),
            };
            let family = match class {
                // Without a status code and a text, the provider did not answer.
                Some(FailureClass::Unknown)
                    if calls.status[call] == 0 && is_unlogged(calls.outcome[call]) =>
                {
                    Some(Family::Network)
                }
                Some(class) => Some(Family::of(class)),
                None if latency != NO_LATENCY && latency > slow[model_slot] => Some(Family::Slow),
                None => None,
            };
            usual.count(at, model_slot, family);
            if let Some(family) = family {
                let latency = if latency == NO_LATENCY { 0 } else { i64::from(latency) };
                let is_retry = class.is_some() && retries.replace(model_slot, at, latency);
                events.push(Event {
                    call: call as u32,
                    at,
                    key,
                    model,
                    cell: slots[Level::Cell as usize] as u32,
                    family,
                    class,
                    contrary: std::array::from_fn(|level| {
                        counters.contrary(level, slots[level], family)
                    }),
                    weight: if is_retry { RETRY_WEIGHT } else { 1.0 },
                });
            }
            match family {
                None | Some(Family::Slow) => count(&mut counters.successes, slots),
                Some(Family::Request) => {}
                Some(_) => count(&mut counters.other_failures, slots),
            }
        }
        separate_long_quotas(calls, &mut events, cells.count);
        let mut of_family: [Vec<u32>; FAMILIES] = Default::default();
        for (index, event) in events.iter().enumerate() {
            of_family[event.family as usize].push(index as u32);
        }
        Self { events, of_family, counters, as_of, usual }
    }

    /// The number of scopes of a level.
    pub fn scopes(&self, level: Level) -> usize {
        self.counters.successes[level as usize].len()
    }

    /// All evidence of a scope against a fault of this family.
    pub fn contrary(&self, level: Level, scope: usize, family: Family) -> u32 {
        self.counters.contrary(level as usize, scope, family)
    }

    /// The usual rate of these families, of a model or of all calls.
    pub fn usual(&self, families: &[Family], model: Option<usize>) -> f64 {
        self.usual.rate(families, model)
    }

    /// The events of these families in order of time.
    pub fn of_families(&self, families: &[Family]) -> Vec<u32> {
        let mut events: Vec<u32> = Vec::new();
        for family in families {
            events.extend(&self.of_family[*family as usize]);
        }
        if families.len() > 1 {
            events.sort_unstable();
        }
        events
    }
}

fn count(counts: &mut [Vec<u32>; LEVELS], slots: [usize; LEVELS]) {
    for (counts, slot) in counts.iter_mut().zip(slots) {
        counts[slot] += 1;
    }
}

/// The class of each failure, in order. One without an error log has the class of the nearest failure with
/// the same status code: of its key and model, else of its model, else of its key. A fault of another key, or a
/// quota of another model, explains nothing.
fn classes(calls: &Calls, cells: &Cells) -> Vec<FailureClass> {
    let mut failures: Vec<u32> = Vec::new();
    let mut classes: Vec<FailureClass> = Vec::new();
    let mut unlogged: Vec<usize> = Vec::new();
    for (call, outcome) in calls.outcome.iter().enumerate() {
        let class = match outcome {
            Outcome::Success => continue,
            Outcome::Logged(class) => *class,
            Outcome::Unlogged(class) => {
                unlogged.push(failures.len());
                *class
            }
        };
        failures.push(call as u32);
        classes.push(class);
    }
    if unlogged.is_empty() {
        return classes;
    }
    let column = |of: &dyn Fn(usize) -> u32| -> Vec<u32> {
        failures.iter().map(|call| of(*call as usize)).collect()
    };
    let of_cells = column(&|call| {
        let (key, model) = cells.slots(calls.keys, calls.key[call], calls.model[call]);
        cells.find(key, model) as u32
    });
    let of_models = column(&|call| calls.model[call]);
    let of_keys = column(&|call| calls.key[call]);
    let groups = [
        (Groups::new(&of_cells, cells.count), &of_cells),
        (Groups::new(&of_models, calls.models), &of_models),
        (Groups::new(&of_keys, calls.keys), &of_keys),
    ];
    let nearest = |index: usize, number: usize| -> Option<FailureClass> {
        let (groups, column) = &groups[number];
        let call = failures[index] as usize;
        let (at, status) = (calls.at[call], calls.status[call]);
        let members = groups.of(column[index]);
        let is_foreign = |class: FailureClass| match Family::of(class) {
            Family::Key | Family::Money => number == OF_MODEL,
            Family::LongQuota | Family::ShortQuota => number == OF_KEY,
            _ => false,
        };
        let position = members.partition_point(|member| (*member as usize) < index);
        let class = |member: &&u32| {
            let other = failures[**member as usize] as usize;
            let distance = (calls.at[other] - at).abs();
            match calls.outcome[other] {
                Outcome::Logged(class)
                    if calls.status[other] == status
                        && distance <= SAME_CLASS_WITHIN
                        && !is_foreign(class) =>
                {
                    Some((distance, class))
                }
                _ => None,
            }
        };
        let before = members[..position].iter().rev().take(NEAREST).find_map(|it| class(&it));
        let after = members[position + 1..].iter().take(NEAREST).find_map(|it| class(&it));
        let found = [before, after].into_iter().flatten().min_by_key(|(distance, _)| *distance);
        found.map(|(_, class)| class)
    };
    for index in unlogged {
        let found = [OF_CELL, OF_MODEL, OF_KEY].into_iter().find_map(|of| nearest(index, of));
        classes[index] = found.unwrap_or(classes[index]);
    }
    classes
}

const OF_CELL: usize = 0;
const OF_MODEL: usize = 1;
const OF_KEY: usize = 2;

/// The failures of a scope that are compared with one without an error log, in each direction.
const NEAREST: usize = 32;

fn is_unlogged(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Unlogged(_))
}

/// Refusals with a text that names no quota, or with no text, and without a success of their cell for longer
/// than a quota of a minute lasts, are those of a longer quota.
fn separate_long_quotas(calls: &Calls, events: &mut [Event], cells: usize) {
    let is_unnamed = |event: &Event| {
        event.family == Family::ShortQuota
            && (event.class == Some(FailureClass::QuotaOther)
                || is_unlogged(calls.outcome[event.call as usize]))
    };
    // The events of the current run of each cell.
    let mut runs: Vec<Vec<usize>> = vec![Vec::new(); cells];
    let mut long: Vec<usize> = Vec::new();
    let mut end = |run: &mut Vec<usize>, events: &[Event]| {
        let [first, .., last] = run[..] else { return run.clear() };
        let is_long = events[last].at - events[first].at >= MINUTE_QUOTA_ENDS_WITHIN;
        if is_long && run.len() >= LONG_QUOTA_REFUSALS {
            long.append(run);
        }
        run.clear();
    };
    let successes = |event: &Event| event.contrary[Level::Cell as usize];
    for (index, event) in events.iter().enumerate().filter(|(_, event)| is_unnamed(event)) {
        let run = &mut runs[event.cell as usize];
        if run.last().is_some_and(|last| successes(&events[*last]) != successes(event)) {
            end(run, events);
        }
        run.push(index);
    }
    runs.iter_mut().for_each(|run| end(run, events));
    for index in long {
        events[index].family = Family::LongQuota;
    }
}

/// Three times the median latency of each model; the last entry is for calls without a model.
fn slow_latencies(calls: &Calls) -> Vec<u32> {
    // Eight buckets per doubling: a median within 9 %.
    const BUCKETS: usize = 32 * 8;
    let bucket = |latency: u32| {
        let exponent = latency.max(8).ilog2();
        (exponent * 8 + (latency.max(8) >> (exponent - 3) & 7)) as usize
    };
    let mut counts = vec![[0_u32; BUCKETS]; calls.models + 1];
    for call in 0..calls.len() {
        let latency = calls.latency_ms[call];
        if calls.outcome[call] == Outcome::Success && latency != NO_LATENCY {
            counts[(calls.model[call] as usize).min(calls.models)][bucket(latency)] += 1;
        }
    }
    let threshold = |counts: &[u32; BUCKETS]| {
        let total: u32 = counts.iter().sum();
        if total < MEDIAN_CALLS {
            return u32::MAX;
        }
        let mut left = total / 2;
        let median = counts.iter().position(|count| {
            let is_here = left < *count;
            left = left.saturating_sub(*count);
            is_here
        });
        let median = median.unwrap_or(0) as u32;
        let (exponent, eighth) = (median / 8, median % 8);
        ((1 << exponent) + (eighth << exponent) / 8).saturating_mul(TIMES_SLOWER)
    };
    counts.iter().map(threshold).collect()
}

const RETRY_SLOTS: usize = 8;

/// The ends of the latest failures of each model, one for each request that may be retried.
struct Retries(Vec<[i64; RETRY_SLOTS]>);

impl Retries {
    /// Whether a failure is probably a retry of one before. With more failing requests at once, retries
    /// cannot be separated from them, and a fault needs no such distinction.
    fn replace(&mut self, model: usize, at: i64, latency_ms: i64) -> bool {
        let slots = &mut self.0[model];
        let is_before = |end: &i64| (at - RETRY_WITHIN..=at + CLOCK_DIFFERENCE).contains(end);
        let found = slots.iter().position(is_before);
        let failing_requests = slots.iter().filter(|end| is_before(end)).count();
        let oldest = || (0..RETRY_SLOTS).min_by_key(|slot| slots[*slot]).unwrap_or(0);
        slots[found.unwrap_or_else(oldest)] = at + latency_ms * 1000;
        (1..=RETRIED_REQUESTS).contains(&failing_requests)
    }
}

/// Counts by hour and model, for the usual rates.
struct UsualRates {
    models: usize,
    /// Successes, then the families, of each hour and model.
    counts: Vec<[u32; 1 + FAMILIES]>,
    /// The end of the current hour.
    hour_ends: i64,
}

impl UsualRates {
    fn new(calls: &Calls) -> Self {
        let start = calls.at.first().copied().unwrap_or(0);
        Self { models: calls.models + 1, counts: Vec::new(), hour_ends: start }
    }

    fn count(&mut self, at: i64, model: usize, family: Option<Family>) {
        if at >= self.hour_ends {
            // Hours without calls have no usual rate.
            self.hour_ends += ((at - self.hour_ends) / HOUR + 1) * HOUR;
            self.counts.resize(self.counts.len() + self.models, [0; 1 + FAMILIES]);
        }
        let current = self.counts.len() - self.models;
        let counts = &mut self.counts[current + model];
        if let Some(family) = family {
            counts[1 + family as usize] += 1;
        }
        counts[0] += u32::from(matches!(family, None | Some(Family::Slow)));
    }

    /// The median of the hours, rounded up.
    fn rate(&self, families: &[Family], model: Option<usize>) -> f64 {
        let mut rates: Vec<f64> = Vec::new();
        for hour in self.counts.chunks(self.models) {
            let models = model.map_or(hour, |model| &hour[model..=model]);
            let sum = |column: usize| models.iter().map(|counts| counts[column]).sum::<u32>();
            let failures: u32 = families.iter().map(|family| sum(1 + *family as usize)).sum();
            let is_slow = families.contains(&Family::Slow);
            let total = sum(0) + if is_slow { 0 } else { failures };
            if total >= USUAL_CALLS {
                rates.push(f64::from(failures) / f64::from(total));
            }
        }
        if rates.len() < USUAL_HOURS {
            return 0.0;
        }
        rates.sort_by(f64::total_cmp);
        let usual = rates[(rates.len() - 1) / 2] * USUAL_MARGIN;
        let [.., highest] = USUAL_RATES;
        USUAL_RATES.into_iter().find(|rate| *rate >= usual).unwrap_or(highest)
    }
}

/// The pairs of key and model with failures.
struct Cells {
    /// By key and model, if that is small enough,
    table: Vec<u32>,
    /// else the pairs that occur.
    map: HashMap<u64, u32, BuildHasherDefault<PairHasher>>,
    models: usize,
    count: usize,
}

const LARGEST_TABLE: usize = 1 << 22;

impl Cells {
    fn of_failures(calls: &Calls) -> Self {
        let (keys, models) = (calls.keys + 1, calls.models + 1);
        let is_small = keys.saturating_mul(models) <= LARGEST_TABLE;
        let table = if is_small { vec![NONE; keys * models] } else { Vec::new() };
        let mut cells = Self { table, map: HashMap::default(), models, count: 0 };
        for call in 0..calls.len() {
            if calls.outcome[call] == Outcome::Success {
                continue;
            }
            let (key, model) = cells.slots(calls.keys, calls.key[call], calls.model[call]);
            let next = cells.count as u32;
            let index = if is_small {
                &mut cells.table[key * models + model]
            } else {
                cells.map.entry((key as u64) << 32 | model as u64).or_insert(NONE)
            };
            if *index == NONE {
                *index = next;
                cells.count += 1;
            }
        }
        cells
    }

    fn slots(&self, keys: usize, key: u32, model: u32) -> (usize, usize) {
        ((key as usize).min(keys), (model as usize).min(self.models - 1))
    }

    /// The index of a pair of slots; `count` if it has no failures.
    fn find(&self, key: usize, model: usize) -> usize {
        let index = if self.table.is_empty() {
            self.map.get(&((key as u64) << 32 | model as u64)).copied().unwrap_or(NONE)
        } else {
            self.table[key * self.models + model]
        };
        (index as usize).min(self.count)
    }
}

/// Multiplies: the pairs are small numbers, which no client chooses.
#[derive(Default)]
struct PairHasher(u64);

impl Hasher for PairHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        let product = u128::from(number ^ self.0) * 0x9E37_79B9_7F4A_7C15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

/// Rows sorted by group, and the start of each group.
pub(in crate::domain) struct Groups {
    rows: Vec<u32>,
    starts: Vec<u32>,
}

impl Groups {
    /// Rows with a group of `groups` or more are in no group.
    pub fn new(column: &[u32], groups: usize) -> Self {
        let mut starts = vec![0_u32; groups + 2];
        for group in column {
            starts[(*group as usize).min(groups) + 1] += 1;
        }
        for group in 1..starts.len() {
            starts[group] += starts[group - 1];
        }
        let mut next = starts.clone();
        let mut rows = vec![0; column.len()];
        for (row, group) in column.iter().enumerate() {
            let next = &mut next[(*group as usize).min(groups)];
            rows[*next as usize] = row as u32;
            *next += 1;
        }
        Self { rows, starts }
    }

    pub fn of(&self, group: u32) -> &[u32] {
        let groups = self.starts.len() - 2;
        let group = (group as usize).min(groups);
        &self.rows[self.starts[group] as usize..self.starts[group + 1] as usize]
    }
}
