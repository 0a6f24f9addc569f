//! Buckets of a series, aligned to the clock of a time zone, also across daylight saving changes.

use chrono::{DateTime, LocalResult, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use super::window::Window;

/// The most buckets that a series may have.
pub const MAX_BUCKETS: usize = 1500;

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;
const DAY: i64 = 86_400;
/// A Monday, so that buckets of weeks start on Mondays.
const ORIGIN: i64 = 4 * DAY;

/// Round intervals, in seconds.
const NICE: [i64; 26] = [
    1,
    2,
    5,
    10,
    15,
    30,
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    15 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    7 * DAY,
    14 * DAY,
    28 * DAY,
    56 * DAY,
    112 * DAY,
    364 * DAY,
    3640 * DAY,
];

/// The shortest round interval that splits `window` into at most 120 buckets. A window of 30 seconds or
/// more has at least 30.
pub fn default_interval(window: Window) -> TimeDelta {
    let seconds = window.length().num_seconds();
    // An unaligned window has a partial bucket at each end.
    let fits = NICE.into_iter().find(|interval| seconds / interval + 2 <= 120);
    TimeDelta::seconds(fits.unwrap_or(NICE[NICE.len() - 1]))
}

/// The first instant at which the clock of `zone` shows `local` or later.
pub fn first_instant(local: NaiveDateTime, zone: Tz) -> DateTime<Utc> {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => at.to_utc(),
        // Skipped by the clock: the first later instant is the change itself.
        LocalResult::None => {
            let before = zone.from_local_datetime(&(local - TimeDelta::hours(24))).earliest();
            let before = before.map_or(local.and_utc(), |at| at.to_utc());
            jump_between(before, before + TimeDelta::hours(48), zone)
        }
    }
}

/// The bounds of the buckets of `window`: its two ends and, between them, each instant at which the clock
/// of `zone` shows a multiple of `interval`, counted from midnight on a Monday. Buckets of whole days
/// start at local midnight, so a day of 23 or 25 hours is one bucket. `None` for more than
/// [`MAX_BUCKETS`].
pub fn bounds(window: Window, interval: TimeDelta, zone: Tz) -> Option<Vec<DateTime<Utc>>> {
    let seconds = interval.num_seconds();
    let mut bounds = vec![window.since];
    if window.since >= window.until {
        return Some(bounds);
    }
    let mut last = window.since;
    loop {
        last = if seconds % DAY == 0 {
            next_day(last, seconds / DAY, zone)
        } else {
            next_multiple(last, seconds, zone)
        };
        if last >= window.until {
            bounds.push(window.until);
            return Some(bounds);
        }
        bounds.push(last);
        if bounds.len() > MAX_BUCKETS {
            return None;
        }
    }
}

/// Adjacent buckets of the same length: a division gives the number of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The number of its first bucket.
    pub first: usize,
    pub start: NaiveDateTime,
    /// The seconds of each of its buckets; None for a single bucket of any length.
    pub step: Option<i64>,
}

/// The buckets between `bounds` as runs. The first and the last bucket, which a window may have cut
/// between whole seconds, are separate runs.
pub fn runs(bounds: &[NaiveDateTime]) -> Vec<Run> {
    let lengths: Vec<TimeDelta> = bounds.windows(2).map(|ends| ends[1] - ends[0]).collect();
    let last = lengths.len().saturating_sub(1);
    let mut runs: Vec<Run> = vec![];
    for (bucket, (length, start)) in lengths.iter().zip(bounds).enumerate() {
        let goes_on = bucket > 1 && bucket < last && *length == lengths[bucket - 1];
        match runs.last_mut() {
            Some(run) if goes_on => run.step = Some(length.num_seconds()),
            _ => runs.push(Run { first: bucket, start: *start, step: None }),
        }
    }
    runs
}

/// The start of the first day after `at` with a number that is a multiple of `days`.
fn next_day(at: DateTime<Utc>, days: i64, zone: Tz) -> DateTime<Utc> {
    let local = at.with_timezone(&zone).naive_local();
    let number = (local.and_utc().timestamp() - ORIGIN).div_euclid(DAY);
    let next = local.date() + TimeDelta::days(days - number.rem_euclid(days));
    first_instant(next.and_time(NaiveTime::MIN), zone)
}

/// The first instant after `at` at which the clock shows a multiple of `seconds`.
fn next_multiple(at: DateTime<Utc>, seconds: i64, zone: Tz) -> DateTime<Utc> {
    let step = |from: DateTime<Utc>| {
        let local = from.timestamp() + offset(from, zone) - ORIGIN;
        let start = DateTime::from_timestamp(from.timestamp(), 0).unwrap_or(from);
        start + TimeDelta::seconds(seconds - local.rem_euclid(seconds))
    };
    let next = step(at);
    if offset(at, zone) == offset(next, zone) {
        return next;
    }
    let jump = jump_between(at, next, zone);
    let shown = jump.timestamp() + offset(jump, zone) - ORIGIN;
    if shown.rem_euclid(seconds) == 0 { jump } else { step(jump) }
}

/// The instant in `(from, to]` at which the zone's offset changes, to the second.
fn jump_between(from: DateTime<Utc>, to: DateTime<Utc>, zone: Tz) -> DateTime<Utc> {
    let (mut low, mut high) = (from.timestamp(), to.timestamp());
    let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap_or(from);
    let old = offset(at(low), zone);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if offset(at(middle), zone) == old { low = middle } else { high = middle }
    }
    at(high)
}

/// Seconds east of UTC.
fn offset(at: DateTime<Utc>, zone: Tz) -> i64 {
    let local = at.with_timezone(&zone).naive_local().and_utc();
    (local - at).num_seconds()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn lengths(since: &str, until: &str, interval: TimeDelta, zone: Tz) -> Vec<i64> {
        let window = Window { since: at(since), until: at(until) };
        let bounds = bounds(window, interval, zone).unwrap();
        bounds.windows(2).map(|pair| (pair[1] - pair[0]).num_minutes()).collect()
    }

    #[test]
    fn inner_buckets_are_aligned_and_the_ends_are_cut() {
        let found =
            lengths("2026-01-05T10:37:00Z", "2026-01-05T13:20:00Z", TimeDelta::hours(1), Tz::UTC);
        assert_eq!(found, [23, 60, 60, 20]);
    }

    #[test]
    fn days_follow_daylight_saving() {
        // Berlin: daylight saving starts on 2026-03-29 and ends on 2026-10-25.
        let day = TimeDelta::days(1);
        let zone = Tz::Europe__Berlin;
        assert_eq!(
            lengths("2026-03-27T23:00:00Z", "2026-03-30T22:00:00Z", day, zone),
            [24 * 60, 23 * 60, 24 * 60]
        );
        assert_eq!(
            lengths("2026-10-23T22:00:00Z", "2026-10-26T23:00:00Z", day, zone),
            [24 * 60, 25 * 60, 24 * 60]
        );
    }

    #[test]
    fn hours_and_quarters_of_a_day_follow_daylight_saving() {
        let zone = Tz::Europe__Berlin;
        let spring =
            lengths("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z", TimeDelta::hours(6), zone);
        assert_eq!(spring, [5 * 60, 360, 360, 360]);
        let autumn =
            lengths("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z", TimeDelta::hours(6), zone);
        assert_eq!(autumn, [7 * 60, 360, 360, 360]);
        let hours =
            lengths("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z", TimeDelta::hours(1), zone);
        assert_eq!(hours, [60; 25]);
    }

    #[test]
    fn zones_off_the_hour_are_aligned_to_their_own_clock() {
        let window =
            Window { since: at("2026-01-05T00:10:00Z"), until: at("2026-01-05T02:00:00Z") };
        let bounds = bounds(window, TimeDelta::hours(1), Tz::Asia__Kathmandu).unwrap();
        assert_eq!(bounds[1], at("2026-01-05T00:15:00Z"));
    }

    #[test]
    fn a_day_without_midnight_starts_at_the_change() {
        // Beirut skipped midnight on 2026-03-29.
        let midnight = "2026-03-29T00:00:00".parse().unwrap();
        assert_eq!(first_instant(midnight, Tz::Asia__Beirut), at("2026-03-28T22:00:00Z"));
    }

    #[test]
    fn weeks_start_on_mondays() {
        let window =
            Window { since: at("2026-11-18T00:00:00Z"), until: at("2026-12-02T00:00:00Z") };
        let bounds = bounds(window, TimeDelta::days(7), Tz::UTC).unwrap();
        assert_eq!(bounds[1], at("2026-11-23T00:00:00Z"));
    }

    #[test]
    fn the_default_gives_30_to_120_buckets() {
        let until = at("2026-11-23T10:37:11.5Z");
        for seconds in
            [30, 59, 60, 61, 119, 3600, 8 * HOUR, DAY, 7 * DAY, 30 * DAY, 366 * DAY, 4000 * DAY]
        {
            let window = Window::last(TimeDelta::seconds(seconds), until).unwrap();
            let count = bounds(window, default_interval(window), Tz::UTC).unwrap().len() - 1;
            assert!((30..=120).contains(&count), "{seconds} s gave {count}");
        }
    }

    #[test]
    fn buckets_of_one_length_are_one_run() {
        let window =
            Window { since: at("2026-03-28T10:30:00Z"), until: at("2026-03-29T20:00:00Z") };
        let bounds = bounds(window, TimeDelta::hours(6), Tz::Europe__Berlin).unwrap();
        let bounds: Vec<_> = bounds.iter().map(|at| at.naive_utc()).collect();
        let found: Vec<_> = runs(&bounds).iter().map(|run| (run.first, run.step)).collect();
        // 10:30, 11:00, 17:00, 23:00 (five hours), 04:00, 10:00, 16:00.
        let six_hours = Some(6 * HOUR);
        assert_eq!(found, [(0, None), (1, six_hours), (3, None), (4, six_hours), (6, None)]);
    }

    #[test]
    fn too_many_buckets_are_refused() {
        let window =
            Window { since: at("2026-01-01T00:00:00Z"), until: at("2026-01-01T00:25:00Z") };
        assert_eq!(bounds(window, TimeDelta::seconds(1), Tz::UTC).unwrap().len(), 1501);
        let longer = Window { until: at("2026-01-01T00:25:01Z"), ..window };
        assert!(bounds(longer, TimeDelta::seconds(1), Tz::UTC).is_none());
    }
}
