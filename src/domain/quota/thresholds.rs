//! All thresholds of the quotas, with their reasons.

pub(super) const SECOND: i64 = 1_000_000;
pub(super) const MINUTE: i64 = 60 * SECOND;
pub(super) const HOUR: i64 = 60 * MINUTE;
pub(super) const DAY: i64 = 24 * HOUR;

/// The order of calls within this time is not known: clocks differ, and calls overtake each other.
pub(super) const JITTER: i64 = 4 * SECOND;

/// Refusals that name no quota are of a day if no call is accepted for this time,
pub(super) const LONG_RUN: i64 = 10 * MINUTE;
/// with so many refusals; or for three times as long with fewer.
pub(super) const RUN_REFUSALS: usize = 6;
pub(super) const LONG_REFUSALS: usize = 3;

/// The latest refusals of a cell that are read for its ceiling.
pub(super) const REFUSALS: usize = 256;
/// A refusal with less use than this part of the largest accepted use has another cause.
pub(super) const LEAST_USE: f64 = 0.8;

/// A day window is violated by accepted calls after its first refusal; more than this many say nothing new.
pub(super) const MOST_VIOLATIONS: u32 = 5;
/// The part that the evidence of the other models has.
pub(super) const OTHER_MODELS: f64 = 0.4;

/// A stated delay is used if so many of at least so many were right.
pub(super) const TRUSTED_SHARE: f64 = 0.8;
pub(super) const TRUSTED_DELAYS: u32 = 5;

/// The latest runs of a key and model that are compared with those of other keys.
pub(super) const COMPARED_RUNS: usize = 48;
/// A start of refusals that is common to more keys says nothing about pairs.
pub(super) const COMMON_STARTS: usize = 24;
/// The starts that are compared with one; more than in any usual pool, so that the work is limited.
pub(super) const NEAR_STARTS: usize = 1000;
/// Two keys that share a quota: the next call of the other key is refused with this probability.
pub(super) const REFUSED_TOGETHER: f64 = 0.93;
/// which decreases with the time after the refusal, by e in this time, for a sliding minute.
pub(super) const REFUSED_FOR: i64 = 8 * SECOND;
/// It is the next call if it is sent within this time, of a minute quota and of a day quota.
pub(super) const NEXT_WITHIN: [i64; 2] = [8 * SECOND, 30 * MINUTE];
/// The evidence for one group, in addition to the logarithm of the number of keys.
pub(super) const SHARED: f64 = 3.0;

/// and the least mean of each start; also,
pub(super) const MEAN_SHARED: f64 = 0.12;
/// of two sets of keys as a part of the largest mean of their pairs.
pub(super) const RELATIVE_MEAN: f64 = 0.3;

/// The latest refusals of a key and model at which the calls of other keys are compared.
pub(super) const COMPARED_USES: usize = 96;
/// and the least number of them.
pub(super) const LEAST_USES: usize = 12;
/// The keys that may explain the use of a key; at most one for so many refusals, else any keys explain it.
pub(super) const COMPARED_KEYS: usize = 16;
pub(super) const USES_OF_KEY: usize = 4;
/// No use is exact: the order of calls at the same time is not known.
pub(super) const LEAST_VARIANCE: f64 = 0.05;
/// Keys with very few calls explain nothing: added to the sum of squares of their calls.
pub(super) const SHRINK: f64 = 0.5;

/// Calls for the rate of use.
pub(super) const RATE_OVER: i64 = 3 * HOUR;
