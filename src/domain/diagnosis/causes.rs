//! Decides which cause and scope explain each fault. The scopes are tried from general to specific; a
//! general one is accepted only if its keys and models fail alike (as in RiskLoc and Squeeze), so that an
//! outage is not fifty failing keys, and a dead key is not an outage. A failure is explained once.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::ops::Range;

use super::evidence::{Event, Evidence, Family, Groups, Level};
use super::segment::{Segment, find};
use super::thresholds::{
    COMMON_SHARE, CONFIDENCE, CONFIDENCE_FAILURES, EVERY_CALL, EVERY_CALL_UNLOGGED, LIMITED,
    MANY_CALLS, MOST_CALLS, MOST_KEYS, Rule, SLOW_CALLS, TOGETHER_WITHIN,
};
use super::{Calls, Cause, Diagnosis, NONE, Outcome, Past, silence, time};

/// The diagnoses of the calls of a window that ends at `as_of` (microseconds since 1970), the oldest first.
pub fn diagnose(calls: &Calls, past: &Past, as_of: i64) -> Vec<Diagnosis> {
    let evidence = Evidence::read(calls, as_of);
    let is_explained = vec![false; evidence.events.len()];
    let mut search = Search {
        calls,
        past,
        evidence,
        is_explained,
        found: Vec::new(),
        of_keys: OnceCell::new(),
        of_models: OnceCell::new(),
    };
    search.find_all();
    search.join();
    let mut diagnoses = search.diagnoses();
    diagnoses.extend(silence::find(calls, past, &diagnoses, as_of));
    diagnoses.sort_by_key(|diagnosis| (diagnosis.since, diagnosis.cause));
    diagnoses
}

/// A fault with its cause.
struct Finding {
    cause: Cause,
    key: Option<u32>,
    model: Option<u32>,
    events: Vec<u32>,
    since: i64,
    until: Option<i64>,
    successes: u64,
}

impl Finding {
    fn overlaps(&self, other: &Self) -> bool {
        let ends_after = |until: Option<i64>, since: i64| until.is_none_or(|until| until >= since);
        ends_after(self.until, other.since) && ends_after(other.until, self.since)
    }
}

struct Search<'a> {
    calls: &'a Calls,
    past: &'a Past,
    evidence: Evidence,
    /// By event.
    is_explained: Vec<bool>,
    found: Vec<Finding>,
    /// The calls of each key and of each model, created at the first use.
    of_keys: OnceCell<Groups>,
    of_models: OnceCell<Groups>,
}

/// How the calls of a scope are divided to see whether they fail alike.
#[derive(Clone, Copy, Default)]
struct Member {
    calls: u32,
    failures: u32,
}

impl Search<'_> {
    fn find_all(&mut self) {
        use Cause as C;
        use Family as F;
        use Level as L;

        // The address: a stated block, or most keys refused at once.
        self.search(&[F::Address], L::All, MANY_CALLS, C::AddressBlocked, Self::is_common);
        self.search(&[F::Key], L::All, MOST_CALLS, C::AddressBlocked, Self::is_sudden);
        self.search(&[F::Address], L::Key, EVERY_CALL, C::AddressBlocked, Self::always);
        // Keys: most of them by one account, one by one, or only for a model.
        self.search(&[F::Money], L::All, MOST_CALLS, C::KeyUnpaid, Self::is_sudden);
        self.search(&[F::Key], L::Model, MOST_CALLS, C::ModelOutage, Self::is_sudden);
        for (family, cause) in [(F::Key, C::KeyDead), (F::Money, C::KeyUnpaid)] {
            self.search(&[family], L::Key, EVERY_CALL, cause, Self::always);
            self.search(&[family], L::Cell, EVERY_CALL, cause, Self::always);
        }
        // Quotas: of most keys, of a key, of a key and model.
        let quotas = &[F::LongQuota, F::ShortQuota];
        self.search(quotas, L::Model, MOST_CALLS, C::PoolExhausted, Self::is_most_keys);
        self.search(&[F::LongQuota], L::Key, EVERY_CALL, C::QuotaExhausted, Self::has_models);
        self.search(&[F::LongQuota], L::Cell, EVERY_CALL, C::QuotaExhausted, Self::always);
        self.search(&[F::ShortQuota], L::Model, LIMITED, C::RateTooHigh, Self::is_common);
        self.search(&[F::ShortQuota], L::Key, LIMITED, C::RateTooHigh, Self::is_common);
        self.search(&[F::ShortQuota], L::Cell, LIMITED, C::RateTooHigh, Self::always);
        // The provider.
        self.search(&[F::Provider], L::All, MANY_CALLS, C::ProviderOutage, Self::is_of_models);
        self.search(&[F::Provider], L::Model, MANY_CALLS, C::ModelOutage, Self::is_common);
        self.search(&[F::Provider], L::Key, MANY_CALLS, C::Unknown, Self::always);
        // The requests. If all calls of a key fail, the client is not the cause.
        self.search(&[F::Request], L::All, MANY_CALLS, C::ClientFault, Self::is_of_models);
        self.search(&[F::Request], L::Model, MANY_CALLS, C::ClientFault, Self::is_common);
        self.search(&[F::Request], L::Key, EVERY_CALL_UNLOGGED, C::KeyDead, Self::is_unlogged);
        self.search(&[F::Request], L::Key, MANY_CALLS, C::ClientFault, Self::always);
        // The way to the provider.
        let network = &[F::Network, F::Timeout];
        self.search(network, L::All, MANY_CALLS, C::GatewayFault, Self::is_common);
        self.search(&[F::Timeout], L::Model, MANY_CALLS, C::ModelOutage, Self::is_common);
        self.search(&[F::Network], L::Model, MANY_CALLS, C::GatewayFault, Self::is_common);
        self.search(network, L::Key, MANY_CALLS, C::GatewayFault, Self::always);
        self.search(&[F::Unknown], L::All, MANY_CALLS, C::Unknown, Self::is_common);
        self.search(&[F::Unknown], L::Model, MANY_CALLS, C::Unknown, Self::is_common);
        self.search(&[F::Unknown], L::Key, MANY_CALLS, C::Unknown, Self::always);
        self.search(&[F::Slow], L::All, SLOW_CALLS, C::Slow, Self::is_of_models);
        self.search(&[F::Slow], L::Model, SLOW_CALLS, C::Slow, Self::is_common);
        self.search(&[F::Slow], L::Key, SLOW_CALLS, C::Slow, Self::always);
    }

    /// Adds the faults of these families at a level that `accept` accepts.
    fn search(
        &mut self,
        families: &[Family],
        level: Level,
        rule: Rule,
        cause: Cause,
        accept: fn(&Self, &Segment) -> bool,
    ) {
        let mut candidates = self.evidence.of_families(families);
        candidates.retain(|index| !self.is_explained[*index as usize]);
        if candidates.is_empty() {
            return;
        }
        let of_all = self.evidence.usual(families, None);
        let rule_of = |scope: usize| match level {
            Level::Model => rule.with_usual(self.evidence.usual(families, Some(scope))),
            _ => rule.with_usual(of_all),
        };
        let segments = find(&self.evidence, level, rule_of, &candidates);
        for segment in segments {
            if accept(self, &segment) {
                self.add(cause, segment);
            }
        }
    }

    fn add(&mut self, cause: Cause, segment: Segment) {
        let level = segment.level;
        let [first, .., last] = &segment.events[..] else { return };
        let (first, last) =
            (&self.evidence.events[*first as usize], &self.evidence.events[*last as usize]);
        let (key, model) = match level {
            Level::All => (NONE, NONE),
            Level::Model => (NONE, first.model),
            Level::Key => (first.key, NONE),
            Level::Cell => (first.key, first.model),
        };
        let named = |index: u32| (index != NONE).then_some(index);
        // A key may have failed since before the window.
        let is_first = |call: u32| self.calls_of_key(first.key).first() == Some(&call);
        let since = match level {
            Level::Key if is_first(first.call) => self.failing_since(first),
            _ => first.at,
        };
        let until = (!segment.lasts).then(|| {
            let success = self.first_success_after(last.call, key, model);
            success.map_or(last.at, |call| self.calls.at[call as usize])
        });
        let successes = last.contrary[level as usize] - first.contrary[level as usize];
        let finding = Finding {
            cause,
            key: named(key),
            model: named(model),
            since,
            until,
            successes: u64::from(successes),
            events: segment.events,
        };
        for event in &finding.events {
            self.is_explained[*event as usize] = true;
        }
        self.found.push(finding);
    }

    /// The first failure of the key after its last success before this one, also before the window.
    fn failing_since(&self, event: &Event) -> i64 {
        let calls = self.calls_of_key(event.key);
        let before = &calls[..calls.partition_point(|call| *call < event.call)];
        let is_failure = |call: &&u32| self.calls.outcome[**call as usize] != Outcome::Success;
        let failures = before.iter().rev().take_while(is_failure).count();
        let past = self.past.failing_since.get(event.key as usize).copied().flatten();
        match before[before.len() - failures..].first() {
            _ if failures == before.len() && past.is_some() => past.unwrap_or(event.at),
            Some(first) => self.calls.at[*first as usize],
            None => event.at,
        }
    }

    fn always(&self, _: &Segment) -> bool {
        true
    }

    /// The keys and, for faults of all models, the models fail alike.
    fn is_common(&self, segment: &Segment) -> bool {
        match segment.level {
            Level::All => self.is_even(segment, Level::Model) && self.is_even(segment, Level::Key),
            Level::Model => self.is_even(segment, Level::Key),
            Level::Key => self.has_models(segment) && self.is_even(segment, Level::Model),
            Level::Cell => true,
        }
    }

    /// Several models fail alike.
    fn is_of_models(&self, segment: &Segment) -> bool {
        self.has_models(segment) && self.is_common(segment)
    }

    fn has_models(&self, segment: &Segment) -> bool {
        let first = self.event(segment.events[0]).model;
        segment.events.iter().any(|event| self.event(*event).model != first)
    }

    fn is_unlogged(&self, segment: &Segment) -> bool {
        let outcome = |event: &u32| self.calls.outcome[self.event(*event).call as usize];
        segment.events.iter().all(|event| matches!(outcome(event), Outcome::Unlogged(_)))
    }

    /// Most of the keys in use fail with most of their calls.
    fn is_most_keys(&self, segment: &Segment) -> bool {
        let members = self.members(segment, Level::Key);
        let failing = members.iter().filter(|member| member.failures * 2 >= member.calls).count();
        failing >= MOST_KEYS && failing * 2 >= members.len()
    }

    /// Most keys, and most of them started to fail together: keys that died one by one are no block.
    fn is_sudden(&self, segment: &Segment) -> bool {
        if !self.is_most_keys(segment) {
            return false;
        }
        let mut starts: HashMap<u32, i64> = HashMap::new();
        for event in &segment.events {
            let event = self.event(*event);
            starts.entry(event.key).or_insert_with(|| self.failing_since(event));
        }
        let mut starts: Vec<i64> = starts.into_values().collect();
        starts.sort_unstable();
        let median = starts[starts.len() / 2];
        let together = |start: &&i64| (**start - median).abs() <= TOGETHER_WITHIN;
        starts.iter().filter(together).count() * 2 >= starts.len()
    }

    /// Whether as many members fail as would if all of them failed at the rate of the scope.
    fn is_even(&self, segment: &Segment, by: Level) -> bool {
        let members = self.members(segment, by);
        let sum = |of: fn(&Member) -> u32| members.iter().map(|it| f64::from(of(it))).sum::<f64>();
        let rate = sum(|member| member.failures) / sum(|member| member.calls).max(1.0);
        let (mut failing, mut expected) = (0.0, 0.0);
        for Member { calls, failures } in members {
            let third = rate * f64::from(calls) / 3.0;
            // The probability of at least one failure; near 1 for members with many calls.
            expected += 1.0 - (1.0 - rate).powi(calls as i32);
            failing += f64::from(u8::from(f64::from(failures) >= third.max(1.0)));
        }
        failing >= COMMON_SHARE * expected
    }

    /// The calls and failures of each key (or model) of a scope, between its first and last failure.
    fn members(&self, segment: &Segment, by: Level) -> Vec<Member> {
        let [first, .., last] = &segment.events[..] else { return Vec::new() };
        let (first, last) = (self.event(*first), self.event(*last));
        let column = if by == Level::Key { &self.calls.key } else { &self.calls.model };
        let (key, model) = match segment.level {
            Level::All => (NONE, NONE),
            Level::Model => (NONE, first.model),
            Level::Key | Level::Cell => (first.key, NONE),
        };
        let count = if by == Level::Key { self.calls.keys } else { self.calls.models };
        let mut members = vec![Member::default(); count];
        let mut count = |call: u32, calls: u32, failures: u32| {
            if let Some(member) = members.get_mut(column[call as usize] as usize) {
                member.calls += calls;
                member.failures += failures;
            }
        };
        for call in self.calls_of(first.call..last.call + 1, key, model) {
            if self.is_success(call) {
                count(call, 1, 0);
            }
        }
        // A slow call is one of the successes.
        let is_failure = u32::from(first.family != Family::Slow);
        for event in &segment.events {
            count(self.event(*event).call, is_failure, 1);
        }
        members.retain(|member| member.calls > 0);
        members
    }

    fn event(&self, index: u32) -> &Event {
        &self.evidence.events[index as usize]
    }

    fn calls_of_key(&self, key: u32) -> &[u32] {
        self.of_keys.get_or_init(|| Groups::new(&self.calls.key, self.calls.keys)).of(key)
    }

    fn calls_of_model(&self, model: u32) -> &[u32] {
        self.of_models.get_or_init(|| Groups::new(&self.calls.model, self.calls.models)).of(model)
    }

    /// The calls of a key, of a model or of all, with these indexes.
    fn calls_of(
        &self,
        within: Range<u32>,
        key: u32,
        model: u32,
    ) -> Box<dyn DoubleEndedIterator<Item = u32> + '_> {
        let part = |calls: &'_ [u32]| {
            let position = |index: u32| calls.partition_point(|call| *call < index);
            position(within.start)..position(within.end)
        };
        if key != NONE {
            let calls = self.calls_of_key(key);
            let is_here =
                move |call: &u32| model == NONE || self.calls.model[*call as usize] == model;
            Box::new(calls[part(calls)].iter().copied().filter(is_here))
        } else if model != NONE {
            let calls = self.calls_of_model(model);
            Box::new(calls[part(calls)].iter().copied())
        } else {
            Box::new(within)
        }
    }

    fn is_success(&self, call: u32) -> bool {
        self.calls.outcome[call as usize] == Outcome::Success
    }

    fn first_success_after(&self, call: u32, key: u32, model: u32) -> Option<u32> {
        let rest = call + 1..self.calls.len() as u32;
        self.calls_of(rest, key, model).find(|call| self.is_success(*call))
    }

    /// The last success of a scope before `since`, in microseconds. Of a key alone also before the window.
    fn last_success_before(&self, since: i64, key: u32, model: u32) -> Option<i64> {
        let end = self.calls.at.partition_point(|at| *at < since) as u32;
        let call = self.calls_of(0..end, key, model).rfind(|call| self.is_success(*call));
        match call {
            Some(call) => Some(self.calls.at[call as usize]),
            None if model == NONE => self.past.last_success.get(key as usize).copied().flatten(),
            None => None,
        }
    }

    /// Joins findings that are parts of one fault.
    fn join(&mut self) {
        // A fault of the same cause and scope that overlaps, such as timeouts in an outage.
        self.absorb(|whole, part| {
            whole.cause == part.cause
                && (whole.key, whole.model) == (part.key, part.model)
                && whole.overlaps(part)
        });
        self.join_exhausted_keys();
        // Keys that ran out shortly before most of them had, and limits while they have.
        self.absorb(|whole, part| {
            let is_quota = matches!(part.cause, Cause::QuotaExhausted | Cause::RateTooHigh);
            whole.cause == Cause::PoolExhausted
                && is_quota
                && whole.model == part.model
                && whole.overlaps(part)
                && part.since >= whole.since - TOGETHER_WITHIN
        });
        // Timeouts in an outage of the provider.
        let timeouts: Vec<u32> = self.evidence.of_families(&[Family::Timeout]);
        self.absorb(|whole, part| {
            let is_timeout = |event: &&u32| timeouts.binary_search(event).is_ok();
            whole.cause == Cause::ProviderOutage
                && matches!(part.cause, Cause::GatewayFault | Cause::ModelOutage)
                && part.key.is_none()
                && whole.overlaps(part)
                && part.since >= whole.since - TOGETHER_WITHIN
                && part.events.iter().filter(is_timeout).count() * 2 > part.events.len()
        });
        // Successes are slow in an outage.
        let is_fault = |finding: &Finding| {
            matches!(
                finding.cause,
                Cause::ModelOutage | Cause::ProviderOutage | Cause::GatewayFault
            )
        };
        let faults: Vec<(Option<i64>, i64, Option<u32>)> = self
            .found
            .iter()
            .filter(|finding| is_fault(finding))
            .map(|finding| (finding.until, finding.since, finding.model))
            .collect();
        self.found.retain(|finding| {
            finding.cause != Cause::Slow
                || !faults.iter().any(|(until, since, model)| {
                    until.is_none_or(|until| until >= finding.since)
                        && finding.until.is_none_or(|until| until >= *since)
                        && (model.is_none() || *model == finding.model || finding.key.is_some())
                })
        });
    }

    /// Where most keys of a model are out of quota at once, one POOL_EXHAUSTED replaces them. A gateway that
    /// stays with a working key sends few calls to the others, so that the share of failures does not show it.
    fn join_exhausted_keys(&mut self) {
        for model in 0..self.calls.models as u32 {
            let is_here = |finding: &Finding| {
                finding.cause == Cause::QuotaExhausted && finding.model == Some(model)
            };
            if self.found.iter().filter(|finding| is_here(finding)).count() < MOST_KEYS {
                continue;
            }
            let calls = self.calls_of_model(model).iter();
            let mut keys: Vec<u32> = calls.map(|call| self.calls.key[*call as usize]).collect();
            keys.sort_unstable();
            keys.dedup();
            let most = MOST_KEYS.max(keys.len().div_ceil(2));
            // Keys that run out and keys that return, in order of time.
            let mut changes: Vec<(i64, i32)> = Vec::new();
            for finding in self.found.iter().filter(|finding| is_here(finding)) {
                changes.push((finding.since, 1));
                changes.extend(finding.until.map(|until| (until, -1)));
            }
            changes.sort_unstable();
            let mut out = 0;
            let mut pools: Vec<(i64, Option<i64>)> = Vec::new();
            for (at, change) in changes {
                let was_most = out >= most as i32;
                out += change;
                match (was_most, out >= most as i32) {
                    (false, true) => pools.push((at, None)),
                    (true, false) => {
                        pools.iter_mut().last().into_iter().for_each(|pool| pool.1 = Some(at))
                    }
                    _ => {}
                }
            }
            for (since, until) in pools {
                self.join_pool(model, since, until);
            }
        }
    }

    fn join_pool(&mut self, model: u32, since: i64, until: Option<i64>) {
        let is_part = |finding: &Finding| {
            finding.cause == Cause::QuotaExhausted
                && finding.model == Some(model)
                && finding.since >= since - TOGETHER_WITHIN
                && until.is_none_or(|until| finding.since < until)
        };
        let (parts, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.found).into_iter().partition(is_part);
        self.found = rest;
        let successes = parts.iter().map(|part| part.successes).sum();
        let mut events: Vec<u32> = parts.into_iter().flat_map(|part| part.events).collect();
        events.sort_unstable();
        let cause = Cause::PoolExhausted;
        self.found.push(Finding {
            cause,
            key: None,
            model: Some(model),
            events,
            since,
            until,
            successes,
        });
        self.absorb(|whole, part| {
            whole.cause == cause
                && part.cause == cause
                && whole.model == part.model
                && whole.overlaps(part)
        });
    }

    fn absorb(&mut self, is_part: impl Fn(&Finding, &Finding) -> bool) {
        let mut kept: Vec<Finding> = Vec::with_capacity(self.found.len());
        let mut found = std::mem::take(&mut self.found);
        // The largest first, so that a part finds its whole.
        found.sort_by_key(|finding| std::cmp::Reverse(finding.events.len()));
        for part in found {
            match kept.iter_mut().find(|whole| is_part(whole, &part)) {
                Some(whole) => {
                    if whole.cause == part.cause {
                        whole.since = whole.since.min(part.since);
                        whole.until = whole.until.zip(part.until).map(|(a, b)| a.max(b));
                        whole.successes = whole.successes.max(part.successes);
                    }
                    whole.events.extend(part.events);
                    whole.events.sort_unstable();
                }
                None => kept.push(part),
            }
        }
        self.found = kept;
    }

    fn diagnoses(&self) -> Vec<Diagnosis> {
        let is_failure = |event: &&Event| event.family != Family::Slow;
        let failed_at: Vec<i64> =
            self.evidence.events.iter().filter(is_failure).map(|event| event.at).collect();
        self.found.iter().map(|finding| self.diagnosis(finding, &failed_at)).collect()
    }

    fn diagnosis(&self, finding: &Finding, failed_at: &[i64]) -> Diagnosis {
        let Finding { cause, key, model, events, since, until, successes } = finding;
        let events: Vec<&Event> = events.iter().map(|event| self.event(*event)).collect();
        let failures = events.len() as u64;
        let first_at = events.first().map_or(*since, |event| event.at).min(*since);
        let last_at = until.unwrap_or(i64::MAX);
        let all = failed_at.partition_point(|at| *at < last_at)
            - failed_at.partition_point(|at| *at < first_at);
        let share = match cause {
            Cause::Slow => 0.0,
            _ => (failures as f64 / (all as f64).max(1.0)).min(1.0),
        };
        let keys: Vec<u32> = key.iter().copied().collect();
        let status = |event: &&&Event| {
            let status = self.calls.status[event.call as usize];
            (status != 0 && event.class.is_some()).then_some(status)
        };
        let status = most_frequent(events.iter().map(|event| status(&event)));
        let last_success = match cause {
            Cause::Slow => None,
            _ => self.last_success_before(*since, key.unwrap_or(NONE), model.unwrap_or(NONE)),
        };
        let class = most_frequent(events.iter().map(|event| event.class));
        Diagnosis {
            cause: *cause,
            severity: cause.severity(&keys, failures as f64 / (failures + successes) as f64),
            remedy: cause.remedy(&keys),
            keys,
            models: model.iter().copied().collect(),
            since: time(*since),
            until: until.map(time),
            last_success: last_success.map(time),
            failures,
            successes: *successes,
            share,
            confidence: self.confidence(&events),
            status,
            class,
            calls: events.iter().map(|event| event.call).collect(),
        }
    }

    /// From the number of failures and how many of them state their class.
    fn confidence(&self, events: &[&Event]) -> f64 {
        let is_stated = |event: &&&Event| {
            matches!(self.calls.outcome[event.call as usize], Outcome::Logged(_) | Outcome::Success)
        };
        let stated = events.iter().filter(is_stated).count() * 2 >= events.len();
        let row = CONFIDENCE_FAILURES.iter().take_while(|least| events.len() >= **least).count();
        CONFIDENCE[usize::from(stated)][row]
    }
}

fn most_frequent<T: PartialEq + Copy>(items: impl Iterator<Item = Option<T>>) -> Option<T> {
    let mut counts: Vec<(T, usize)> = Vec::new();
    for item in items.flatten() {
        match counts.iter_mut().find(|(known, _)| *known == item) {
            Some((_, count)) => *count += 1,
            None => counts.push((item, 1)),
        }
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(item, _)| item)
}
