//! All thresholds of the diagnosis, with their reasons. docs/DIAGNOSIS.md explains the method.

pub(super) const SECOND: i64 = 1_000_000;
pub(super) const MINUTE: i64 = 60 * SECOND;
pub(super) const HOUR: i64 = 60 * MINUTE;

/// What a fault looks like, and how much evidence is required.
#[derive(Clone, Copy)]
pub(super) struct Rule {
    /// The rate of failures without a fault,
    pub usual: f64,
    /// and with it.
    pub faulty: f64,
    /// The log-likelihood ratio that shows a fault,
    pub start: f64,
    /// and the loss from its maximum that shows the end.
    pub end: f64,
    /// Whether a scope with a higher usual rate is compared with that.
    pub is_relative: bool,
    /// The minimum of failures; retries count less if they are discounted.
    pub failures: f64,
    /// A longer time between two failures separates faults, in microseconds.
    pub gap: Option<i64>,
    /// The minimum time between the first and the last failure: the retries of a few requests are no fault.
    pub lasts: i64,
    pub discount_retries: bool,
}

impl Rule {
    /// The rule for a scope with this usual rate.
    pub fn with_usual(self, rate: f64) -> Self {
        if self.is_relative { Self { usual: self.usual.max(rate), ..self } } else { self }
    }

    /// What a failure adds.
    pub fn evidence_of_failure(&self) -> f64 {
        (self.faulty / self.usual).ln()
    }

    /// What a success takes away.
    pub fn evidence_of_success(&self) -> f64 {
        ((1.0 - self.usual) / (1.0 - self.faulty)).ln()
    }
}

/// A fault of one key (dead, unpaid, out of quota): every call fails. Background failures of these classes
/// are rare. Three failures in a row without a success reach `start`; two successes end it.
pub(super) const EVERY_CALL: Rule = Rule {
    usual: 0.01,
    faulty: 0.95,
    start: 11.5,
    end: 5.0,
    is_relative: false,
    failures: 3.0,
    gap: None,
    lasts: 0,
    discount_retries: false,
};

/// A fault shared by keys (an outage, the network, the requests): a part of the calls fails. `usual` is the
/// least value; a scope with a higher usual rate is compared with that. A start needs 4 to 5 failures in a
/// row, or more among successes: a likelihood ratio of a million, since thousands of scopes are
/// tested at each call. 21 successes in a row end it. An outage without calls for half an hour has ended.
pub(super) const MANY_CALLS: Rule = Rule {
    usual: 0.02,
    faulty: 0.5,
    start: 13.8,
    end: 13.8,
    is_relative: true,
    failures: 5.0,
    gap: Some(30 * MINUTE),
    lasts: 30 * SECOND,
    discount_retries: true,
};

/// A rate limit of one key: like [`MANY_CALLS`], but retries go to other keys.
pub(super) const LIMITED: Rule = Rule { discount_retries: false, ..MANY_CALLS };

/// Most keys fail: the rate of failures is nearer to `faulty` than to `usual`, so more than about 56 %.
/// A lower rate is explained key by key.
pub(super) const MOST_CALLS: Rule = Rule {
    usual: 0.3,
    faulty: 0.8,
    start: 5.0,
    end: 5.0,
    is_relative: false,
    failures: 6.0,
    gap: Some(2 * HOUR),
    lasts: 30 * SECOND,
    discount_retries: false,
};

/// Slow calls are frequent by chance, so that more of them are required.
pub(super) const SLOW_CALLS: Rule =
    Rule { usual: 0.06, failures: 10.0, discount_retries: false, ..MANY_CALLS };

/// All calls of a key fail with 400, without an error log: as for [`EVERY_CALL`], but it needs more failures,
/// since 400 usually means an invalid request.
pub(super) const EVERY_CALL_UNLOGGED: Rule = Rule { failures: 8.0, ..EVERY_CALL };

/// A fault that starts again within this time after its end has not ended.
pub const CONTINUES_WITHIN: i64 = 10 * MINUTE;

/// A usual rate is rounded up to one of these, so that a diagnosis does not change with each call. A higher
/// rate than the last is never usual.
pub(super) const USUAL_RATES: [f64; 5] = [0.02, 0.05, 0.1, 0.2, 0.25];
/// The usual rate is the median of the hours with so many calls, of at least so many hours.
pub(super) const USUAL_CALLS: u32 = 20;
pub(super) const USUAL_HOURS: usize = 3;
/// Margin over the median, for hours above it.
pub(super) const USUAL_MARGIN: f64 = 1.5;

/// A failure within this time after the end of another one of its model is probably its retry,
pub(super) const RETRY_WITHIN: i64 = 5 * SECOND;
/// with clocks that differ by up to this,
pub(super) const CLOCK_DIFFERENCE: i64 = 2 * SECOND;
/// if at most this many requests of the model fail at once,
pub(super) const RETRIED_REQUESTS: usize = 2;
/// and weighs less than a failure of a separate request.
pub(super) const RETRY_WEIGHT: f32 = 0.25;

/// A failure without an error log has the class of the nearest failure with the same code within this time.
pub(super) const SAME_CLASS_WITHIN: i64 = HOUR;
/// Refusals that name no quota count as a day quota if no call succeeds for this time: twice the longest
/// time for which a quota of a minute can refuse all calls, and a margin for bursts.
pub(super) const MINUTE_QUOTA_ENDS_WITHIN: i64 = 10 * MINUTE;
/// and if there are at least this many of them.
pub(super) const LONG_QUOTA_REFUSALS: usize = 6;

/// A fault is common to the keys (or models) of a scope if at least this share of the keys that should fail
/// at the rate of the scope do fail.
pub(super) const COMMON_SHARE: f64 = 0.7;
/// Fewer keys are not "most keys".
pub(super) const MOST_KEYS: usize = 3;
/// Keys that start to fail within this time fail together.
pub(super) const TOGETHER_WITHIN: i64 = 30 * MINUTE;

/// A success is slow if it takes this many times the median of its model.
pub(super) const TIMES_SLOWER: u32 = 3;
/// The median of fewer calls is not known.
pub(super) const MEDIAN_CALLS: u32 = 50;

/// All calls: a pause in which this many calls would be sent in the quietest hour, at half its rate, and of
/// at least this time. The probability of a shorter one by chance is below e^-14.
pub(super) const SILENT_CALLS: f64 = 14.0;
pub(super) const SILENT_FOR: i64 = 3 * MINUTE;
/// One key: a pause in which it would be used this many times, by its earlier use,
pub(super) const KEY_SILENT_VISITS: f64 = 30.0;
/// this many times its longest earlier pause, measured in calls of all keys,
pub(super) const KEY_PAUSE_RATIO: u32 = 4;
/// and of at least this time.
pub(super) const KEY_SILENT_FOR: i64 = HOUR;
/// A key must have returned so often after calls of other keys, so that its pauses are known.
pub(super) const KEY_VISITS: u32 = 20;

/// The measured share of right diagnoses, of those in progress, with fewer failures than the first number,
/// than the second, and so on.
pub(super) const CONFIDENCE_FAILURES: [usize; 3] = [6, 15, 50];
/// If most failures have no error log, and if most have one.
pub(super) const CONFIDENCE: [[f64; 4]; 2] = [[0.5, 0.5, 0.55, 0.6], [0.8, 0.97, 0.98, 0.99]];
/// Of SILENT: of a key, and of all keys.
pub(super) const CONFIDENCE_SILENT: [f64; 2] = [0.95, 0.9];
