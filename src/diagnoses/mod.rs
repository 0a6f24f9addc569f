//! The diagnoses of an instant, and the changes of the current ones. All requests and subscriptions of a
//! server share the current ones.

mod days;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use crate::clock::Clock;
use crate::domain::diagnosis::{self, Cause, diagnose};
use crate::domain::quota::{
    KeyQuota, PoolPoint, PoolQuotas, QuotaGroup, Usability, UsabilityState,
};
use crate::domain::window::Window;
use crate::error::{Error, Result};
use crate::observe::request;
use crate::store::Database;
use crate::store::diagnosis::{CALLS_AT_ONCE, LOGS_AT_ONCE, read};
use crate::store::error_log::{ReserveMemory, SHORT_BYTES};

use days::{DayCache, day_cache};

/// The current diagnoses are valid for so long, and for [`PAUSES`] times as long as they took.
const VALID: Duration = Duration::from_secs(10);
const PAUSES: u32 = 10;
/// Computations at the same time, and those of requests that have ended.
const MAX_COMPUTATIONS: usize = 2;
/// How often a subscription looks for newer ones.
const TICK: Duration = Duration::from_secs(2);

/// The most error logs that are kept for a diagnosis.
pub const MAX_EVIDENCE: usize = 100;

/// The diagnoses at an instant, from the calls of the 24 hours before it.
pub struct DiagnosedWindow {
    pub at: DateTime<Utc>,
    /// The names of the indexes of the diagnoses.
    pub keys: Vec<String>,
    pub models: Vec<String>,
    /// Without their calls.
    pub diagnoses: Vec<diagnosis::Diagnosis>,
    /// The ids of error logs of each diagnosis, in order of time.
    pub evidence: Vec<Vec<i64>>,
    quotas: PoolQuotas,
}

impl fmt::Debug for DiagnosedWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiagnosedWindow").field("at", &self.at).finish_non_exhaustive()
    }
}

/// One diagnosis of a window.
#[derive(Clone, Debug)]
pub struct DiagnosisRef {
    pub of: Arc<DiagnosedWindow>,
    pub index: usize,
    /// The end of a diagnosis that is no longer found.
    pub ended: Option<DateTime<Utc>>,
}

impl DiagnosisRef {
    pub fn get(&self) -> &diagnosis::Diagnosis {
        &self.of.diagnoses[self.index]
    }

    pub fn until(&self) -> Option<DateTime<Utc>> {
        self.ended.or(self.get().until)
    }

    pub fn keys(&self) -> impl Iterator<Item = &String> {
        self.get().keys.iter().map(|key| &self.of.keys[*key as usize])
    }

    pub fn models(&self) -> impl Iterator<Item = &String> {
        self.get().models.iter().map(|model| &self.of.models[*model as usize])
    }

    /// Up to `count` ids of error logs, from its whole time.
    pub fn evidence(&self, count: usize) -> Vec<i64> {
        let ids = &self.of.evidence[self.index];
        let count = count.min(ids.len());
        (0..count).map(|index| ids[index * ids.len() / count]).collect()
    }

    /// The same without the other diagnoses of its window, which would use memory.
    fn alone(&self) -> Self {
        Self { ended: self.ended, ..self.single().into_ref(self.of.at) }
    }

    fn single(&self) -> SingleDiagnosis {
        let mut diagnosis = self.get().clone();
        diagnosis.keys = (0..diagnosis.keys.len() as u32).collect();
        diagnosis.models = (0..diagnosis.models.len() as u32).collect();
        SingleDiagnosis {
            diagnosis,
            keys: self.keys().cloned().collect(),
            models: self.models().cloned().collect(),
            evidence: self.of.evidence[self.index].clone(),
        }
    }

    fn identity(&self) -> Identity {
        (self.get().cause, self.keys().cloned().collect(), self.models().cloned().collect())
    }
}

/// A diagnosis with the names of its keys and models.
#[derive(Clone, Debug)]
struct SingleDiagnosis {
    diagnosis: diagnosis::Diagnosis,
    keys: Vec<String>,
    models: Vec<String>,
    evidence: Vec<i64>,
}

impl SingleDiagnosis {
    fn into_ref(self, at: DateTime<Utc>) -> DiagnosisRef {
        let of = DiagnosedWindow {
            at,
            keys: self.keys,
            models: self.models,
            diagnoses: vec![self.diagnosis],
            evidence: vec![self.evidence],
            quotas: PoolQuotas::learn(&diagnosis::Calls::default(), &[], &[], 0),
        };
        DiagnosisRef { of: Arc::new(of), index: 0, ended: None }
    }
}

impl DiagnosedWindow {
    pub fn all(self: &Arc<Self>) -> impl Iterator<Item = DiagnosisRef> {
        let of = |index| DiagnosisRef { of: Arc::clone(self), index, ended: None };
        (0..self.diagnoses.len()).map(of)
    }

    /// Whether a key can be used; for any model by default.
    pub fn usability(&self, key: &str, model: Option<&str>) -> Usability {
        let key = index(&self.keys, key);
        // A model without calls says nothing, but the key may be dead.
        let model = model.and_then(|model| index(&self.models, model));
        let state = UsabilityState::Unknown;
        let unknown = Usability { state, usable_at: None, because: None };
        key.map_or(unknown, |key| self.quotas.usability(key, model))
    }

    /// The quotas of a key; for all models by default.
    pub fn quotas(&self, key: &str, model: Option<&str>) -> Vec<KeyQuota> {
        let Some(key) = index(&self.keys, key) else { return vec![] };
        match model.map(|model| index(&self.models, model)) {
            Some(None) => vec![],
            model => self.quotas.quotas(key, model.flatten()),
        }
    }

    /// The keys that share a quota with a key.
    pub fn group(&self, key: &str) -> Option<&QuotaGroup> {
        self.quotas.group(index(&self.keys, key)?)
    }

    /// The keys with calls that may be used for a model, the best first.
    pub fn candidates(&self, model: &str) -> Vec<&String> {
        let found = match index(&self.models, model) {
            Some(model) => self.quotas.candidates(model),
            // Without calls of the model, a key that can be used for any model is a candidate.
            None => (0..self.keys.len() as u32)
                .filter(|key| self.quotas.usability(*key, None).state != UsabilityState::Unusable)
                .collect(),
        };
        found.into_iter().filter_map(|key| self.keys.get(key as usize)).collect()
    }

    /// The usable keys at later times, in microseconds; for any model by default.
    pub fn forecast(&self, model: Option<&str>, times: &[i64]) -> Vec<PoolPoint> {
        self.quotas.forecast(model.and_then(|model| index(&self.models, model)), times)
    }
}

fn index(names: &[String], name: &str) -> Option<u32> {
    let found = names.iter().position(|known| known == name)?;
    u32::try_from(found).ok()
}

/// The window of the diagnoses at `at`. It starts at a full hour, so that a diagnosis does not change with each
/// call that leaves the window.
fn window_of(at: DateTime<Utc>) -> Result<Window> {
    let day = Window::last(TimeDelta::hours(24), at);
    let start = |day: Window| day.since.duration_trunc(TimeDelta::hours(1)).ok();
    let window = day.and_then(|day| Some(Window { since: start(day)?, ..day }));
    window.ok_or_else(|| Error::bad_input("asOf", "the window would start before the year 1"))
}

/// Computes the diagnoses at `at`.
async fn diagnoses_at(
    db: &Database,
    at: DateTime<Utc>,
    reserve: ReserveMemory<'_>,
    computations: &Arc<Semaphore>,
) -> Result<DiagnosedWindow> {
    let window = window_of(at)?;
    let calls = read(db, window, reserve).await?;
    // Only now: the database's connections are granted by caller, this permit in the order of arrival.
    let permit = Arc::clone(computations).acquire_owned().await.map_err(Error::internal)?;
    // Up to 250 ms of a processor for a million calls. It is not cancelled with its request.
    let work = move || {
        let _permit = permit;
        let as_of = at.timestamp_micros();
        let mut diagnoses = diagnose(&calls.calls, &calls.past, as_of);
        let quotas = PoolQuotas::learn(&calls.calls, &calls.refusals, &diagnoses, as_of);
        let evidence = |diagnosis: &mut diagnosis::Diagnosis| {
            let typical = diagnosis.evidence(&calls.calls, MAX_EVIDENCE);
            let ids = typical.iter().filter_map(|call| calls.error_logs.get(call));
            let mut ids: Vec<i64> = ids.copied().collect();
            // Two calls may have the same error log.
            ids.dedup();
            diagnosis.calls = vec![];
            ids
        };
        let evidence = diagnoses.iter_mut().map(evidence).collect();
        let (keys, models) = (calls.keys, calls.models);
        DiagnosedWindow { at, keys, models, diagnoses, evidence, quotas }
    };
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)
}

/// The memory of a request for a computation. A request that waits for the computation of another one uses none.
pub trait Memory: Sync {
    fn reserve(&self, bytes: u64) -> Result<()>;

    fn free(&self, bytes: u64);

    /// The bytes of a page while it is read: `rows` rows with `text_bytes` of text each.
    fn page_bytes(&self, rows: u32, text_bytes: u64) -> u64;
}

/// For the computations of the server itself.
struct Unlimited;

impl Memory for Unlimited {
    fn reserve(&self, _: u64) -> Result<()> {
        Ok(())
    }

    fn free(&self, _: u64) {}

    fn page_bytes(&self, _: u32, _: u64) -> u64 {
        0
    }
}

/// The current diagnoses of a server.
pub struct CurrentDiagnoses {
    db: Arc<Database>,
    clock: Clock,
    last: Shared,
    /// Computations for other times that requests wait for.
    past: std::sync::Mutex<HashMap<DateTime<Utc>, Weak<Shared>>>,
    /// The days of long windows.
    days: DayCache,
    computations: Arc<Semaphore>,
}

/// The last computation. It is locked during the next one.
type Shared = Mutex<Option<Computed>>;

struct Computed {
    /// An error is kept if it is one of the input: too many calls.
    found: Result<Arc<DiagnosedWindow>>,
    at: DateTime<Utc>,
    finished: Instant,
    valid: Duration,
}

impl CurrentDiagnoses {
    pub fn new(db: Arc<Database>, clock: Clock) -> Self {
        let computations = Arc::new(Semaphore::new(MAX_COMPUTATIONS));
        let (last, past) = Default::default();
        let days = day_cache();
        Self { db, clock, last, past, days, computations }
    }

    /// The diagnoses at `now`, or of a few seconds before. Concurrent callers share one computation.
    pub async fn get(
        &self,
        now: DateTime<Utc>,
        memory: &dyn Memory,
    ) -> Result<Arc<DiagnosedWindow>> {
        let mut last = self.last.lock().await;
        match last.as_ref().filter(|computed| computed.is_valid(now)) {
            Some(computed) => computed.shared(),
            None => self.compute(&mut last, now, memory).await,
        }
    }

    /// The diagnoses at any time. Concurrent callers with the same time share one computation.
    pub async fn at(&self, at: DateTime<Utc>, memory: &dyn Memory) -> Result<Arc<DiagnosedWindow>> {
        let started = Instant::now();
        let shared = self.shared(at);
        let mut last = shared.lock().await;
        match last.as_ref().filter(|computed| computed.finished >= started) {
            Some(computed) => computed.shared(),
            None => self.compute(&mut last, at, memory).await,
        }
    }

    /// The computation for a time, as long as a request waits for it.
    fn shared(&self, at: DateTime<Utc>) -> Arc<Shared> {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        past.retain(|_, shared| shared.strong_count() > 0);
        past.get(&at).and_then(Weak::upgrade).unwrap_or_else(|| {
            let shared = Arc::default();
            past.insert(at, Arc::downgrade(&shared));
            shared
        })
    }

    async fn compute(
        &self,
        last: &mut Option<Computed>,
        at: DateTime<Utc>,
        memory: &dyn Memory,
    ) -> Result<Arc<DiagnosedWindow>> {
        // Others share the result, and it must not be older than the last one.
        request::read_primary();
        let started = Instant::now();
        let reserved = AtomicU64::new(0);
        let reserve = |bytes: u64| {
            reserved.fetch_add(bytes, Ordering::Relaxed);
            memory.reserve(bytes)
        };
        let pages =
            memory.page_bytes(CALLS_AT_ONCE, 0) + memory.page_bytes(LOGS_AT_ONCE, SHORT_BYTES);
        let found = match reserve(pages) {
            Ok(()) => diagnoses_at(&self.db, at, &reserve, &self.computations).await.map(Arc::new),
            Err(error) => Err(error),
        };
        memory.free(reserved.into_inner());
        if matches!(found, Ok(_) | Err(Error::BadInput { .. })) {
            let valid = VALID.max(started.elapsed().saturating_mul(PAUSES));
            let found = found.clone();
            *last = Some(Computed { found, at, finished: Instant::now(), valid });
        }
        found
    }

    /// The changes from now on.
    pub async fn subscribe(self: &Arc<Self>) -> Result<DiagnosisChanges> {
        let found = self.get(self.clock.now(), &Unlimited).await?;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (current, pending) = (Arc::clone(self), VecDeque::new());
        let lasting = lasting(&found);
        Ok(DiagnosisChanges { current, ticks, lasting, pending, has_failed: false })
    }
}

impl Computed {
    /// The result, for a request that has not computed it. The error logs that it names are not older.
    fn shared(&self) -> Result<Arc<DiagnosedWindow>> {
        request::read_after(self.finished);
        self.found.clone()
    }

    fn is_valid(&self, now: DateTime<Utc>) -> bool {
        // Requests may run in another order than their times. A clock that was set has no valid result.
        let age = now.signed_duration_since(self.at).abs().to_std();
        self.finished.elapsed() < self.valid && age.is_ok_and(|age| age < 2 * self.valid)
    }
}

/// What stays the same while a diagnosis lasts: cause, keys and models.
type Identity = (Cause, Vec<String>, Vec<String>);

fn lasting(found: &Arc<DiagnosedWindow>) -> HashMap<Identity, DiagnosisRef> {
    let lasting = found.all().filter(|diagnosis| diagnosis.until().is_none());
    lasting.map(|diagnosis| (diagnosis.identity(), diagnosis.alone())).collect()
}

/// The diagnoses that start and end, for one subscription.
pub struct DiagnosisChanges {
    current: Arc<CurrentDiagnoses>,
    ticks: Interval,
    lasting: HashMap<Identity, DiagnosisRef>,
    pending: VecDeque<DiagnosisRef>,
    has_failed: bool,
}

impl DiagnosisChanges {
    /// The next diagnosis that has started or ended; one with other keys or models ends, and another one
    /// starts. An error is returned once, until the diagnoses can be computed again. Cancellation safe: dropping
    /// the future loses no change.
    pub async fn next(&mut self) -> Result<DiagnosisRef> {
        loop {
            if let Some(change) = self.pending.pop_front() {
                return Ok(change);
            }
            self.ticks.tick().await;
            let now = self.current.clock.now();
            match self.current.get(now, &Unlimited).await {
                Ok(found) => {
                    self.has_failed = false;
                    self.pending.extend(changes(&mut self.lasting, &found));
                }
                Err(error) if !std::mem::replace(&mut self.has_failed, true) => return Err(error),
                Err(error) => tracing::debug!(%error, "no diagnoses; retrying"),
            }
        }
    }
}

/// Replaces the lasting diagnoses, and returns those that ended and started, in order of time.
fn changes(
    lasting: &mut HashMap<Identity, DiagnosisRef>,
    found: &Arc<DiagnosedWindow>,
) -> Vec<DiagnosisRef> {
    let before = std::mem::replace(lasting, self::lasting(found));
    let ended = before.iter().filter(|(identity, _)| !lasting.contains_key(*identity));
    let ended = ended.map(|(identity, last)| {
        let same = found.all().filter(|diagnosis| diagnosis.identity() == *identity);
        // Otherwise its calls have left the window, or another diagnosis explains them.
        let gone = || DiagnosisRef { ended: Some(found.at), ..last.clone() };
        same.max_by_key(DiagnosisRef::until).map_or_else(gone, |ended| ended.alone())
    });
    let started = lasting.iter().filter(|(identity, _)| !before.contains_key(*identity));
    let started = started.map(|(_, diagnosis)| diagnosis.clone());
    let mut changes: Vec<_> = ended.chain(started).collect();
    changes.sort_by_key(|change| change.until().unwrap_or(change.get().since));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::diagnosis::Severity;
    use crate::domain::failure::Remedy;

    fn minute(minute: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minute)
    }

    fn of_key(key: u32, since: i64, until: Option<i64>) -> diagnosis::Diagnosis {
        diagnosis::Diagnosis {
            cause: Cause::KeyDead,
            severity: Severity::Warning,
            remedy: Remedy::ReplaceKey,
            keys: vec![key],
            models: vec![],
            since: minute(since),
            until: until.map(minute),
            last_success: None,
            failures: 3,
            successes: 0,
            share: 1.0,
            confidence: 0.9,
            status: Some(403),
            class: None,
            calls: vec![],
        }
    }

    /// The order of the keys differs between windows.
    fn window(
        at: i64,
        keys: &[&str],
        diagnoses: Vec<diagnosis::Diagnosis>,
    ) -> Arc<DiagnosedWindow> {
        let evidence = diagnoses.iter().map(|_| (0..10).collect()).collect();
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        let quotas = PoolQuotas::learn(&diagnosis::Calls::default(), &[], &[], 0);
        Arc::new(DiagnosedWindow {
            at: minute(at),
            keys,
            models: vec![],
            diagnoses,
            evidence,
            quotas,
        })
    }

    fn texts(changes: &[DiagnosisRef]) -> Vec<String> {
        let text = |change: &DiagnosisRef| {
            let keys: Vec<_> = change.keys().map(String::as_str).collect();
            let until = change.until().map(|until| (until - minute(0)).num_minutes());
            format!("{} {until:?}", keys.join(" "))
        };
        changes.iter().map(text).collect()
    }

    #[test]
    fn starts_and_ends_are_changes() {
        let first = window(10, &["a", "b"], vec![of_key(0, 1, None), of_key(1, 2, None)]);
        let mut known = lasting(&first);
        assert!(changes(&mut known, &first).is_empty());
        // The first diagnosis lasts, with another start. The second one has ended, the third one starts.
        let second = vec![of_key(2, 3, None), of_key(1, 5, None), of_key(0, 2, Some(11))];
        let second = window(20, &["b", "a", "c"], second);
        assert_eq!(texts(&changes(&mut known, &second)), ["c None", "b Some(11)"]);
        // Two are no longer found.
        let third = window(30, &["a"], vec![of_key(0, 6, Some(25))]);
        assert_eq!(texts(&changes(&mut known, &third)), ["a Some(25)", "c Some(30)"]);
        assert!(changes(&mut known, &third).is_empty());
    }

    #[test]
    fn evidence_is_of_the_whole_time() {
        let found = window(10, &["a"], vec![of_key(0, 1, None)]);
        let diagnosis = found.all().next().unwrap();
        assert_eq!(diagnosis.evidence(3), [0, 3, 6]);
        assert_eq!(diagnosis.evidence(20).len(), 10);
    }
}
