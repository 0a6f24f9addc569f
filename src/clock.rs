//! The only source of the current time, so that tests can set it. Also checks whether the system time is
//! reliable.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, TimeDelta, Utc};

/// 1970-01-01 to 9998-12-31: a year of four digits, also a year later.
const READINGS: std::ops::RangeInclusive<i64> = 0..=253_370_764_799_999_999;

/// A change of the wall clock against the monotonic clock that is no fault.
const TOLERANCE: TimeDelta = TimeDelta::hours(1);
/// A larger change is trusted after this time: the machine was suspended, or a wrong clock was corrected.
const SHORT_DOUBT: Duration = Duration::from_secs(3600);
/// The same for a change of more than a day.
const LONG_DOUBT: Duration = Duration::from_secs(24 * 3600);

/// The zero of the system's monotonic time.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Returns the time, in UTC and cut to microseconds, the precision of all stored times. Never panics:
/// a reading before 1970 or after 9998 becomes the nearest within.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    #[default]
    System,
    /// Set by a test.
    Fixed(Arc<FixedClock>),
}

/// The clock of a test, in microseconds.
pub struct FixedClock {
    wall: AtomicI64,
    monotonic: AtomicI64,
    /// Runs at each reading.
    on_reading: Box<dyn Fn() + Send + Sync>,
}

impl Clock {
    pub fn fixed(at: DateTime<Utc>) -> Self {
        Self::fixed_with(at, || {})
    }

    /// A fixed clock that calls `on_reading` at each reading of the wall clock.
    pub fn fixed_with(at: DateTime<Utc>, on_reading: impl Fn() + Send + Sync + 'static) -> Self {
        Self::Fixed(Arc::new(FixedClock {
            wall: AtomicI64::new(at.timestamp_micros()),
            monotonic: AtomicI64::new(0),
            on_reading: Box::new(on_reading),
        }))
    }

    /// The wall clock.
    pub fn now(&self) -> DateTime<Utc> {
        let micros = match self {
            Self::System => unix_micros(SystemTime::now()),
            Self::Fixed(fixed) => {
                (fixed.on_reading)();
                fixed.wall.load(Ordering::Relaxed)
            }
        };
        let micros = micros.clamp(*READINGS.start(), *READINGS.end());
        DateTime::from_timestamp_micros(micros).unwrap_or(DateTime::UNIX_EPOCH)
    }

    /// Time that passed, which no change of the wall clock alters.
    fn monotonic(&self) -> Duration {
        match self {
            Self::System => START.elapsed(),
            Self::Fixed(fixed) => {
                let micros = fixed.monotonic.load(Ordering::Relaxed);
                Duration::from_micros(micros.unsigned_abs())
            }
        }
    }

    /// Lets time pass for a fixed clock; the system's clock stays as it is.
    pub fn advance(&self, by: TimeDelta) {
        if let Self::Fixed(fixed) = self {
            let micros = by.num_microseconds().unwrap_or(0);
            fixed.monotonic.fetch_add(micros, Ordering::Relaxed);
            fixed.wall.fetch_add(micros, Ordering::Relaxed);
        }
    }

    /// Sets the wall clock of a fixed clock, while no time passes.
    pub fn set(&self, at: DateTime<Utc>) {
        if let Self::Fixed(fixed) = self {
            fixed.wall.store(at.timestamp_micros(), Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for FixedClock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("FixedClock").field(&self.wall).finish()
    }
}

/// Chrono's own conversion panics at a time before 1970.
fn unix_micros(time: SystemTime) -> i64 {
    let micros = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => micros(since),
        Err(before) => -micros(before.duration()),
    }
}

/// Compares the wall clock with the monotonic clock. Deletions by age use its time: a wall clock that is
/// set one year ahead would expire all rows.
#[derive(Debug)]
pub struct ClockWatch {
    clock: Clock,
    state: Mutex<WatchState>,
}

#[derive(Debug)]
struct WatchState {
    trusted: Reading,
    /// The first reading after a change that is not trusted yet.
    changed: Option<Reading>,
}

/// Both clocks at one instant.
#[derive(Clone, Copy, Debug)]
struct Reading {
    wall: DateTime<Utc>,
    monotonic: Duration,
}

/// The time by the clock watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchedTime {
    /// The wall clock, or the time by the monotonic clock where the wall clock was changed.
    pub now: DateTime<Utc>,
    /// How far the wall clock was changed, until the change is trusted.
    pub change: Option<TimeDelta>,
}

impl ClockWatch {
    /// Trusts the wall clock as it is now.
    pub fn new(clock: Clock) -> Self {
        let trusted = Reading::of(&clock);
        Self { clock, state: Mutex::new(WatchState { trusted, changed: None }) }
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    pub fn time(&self) -> WatchedTime {
        let reading = Reading::of(&self.clock);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.check(reading)
    }
}

impl WatchState {
    fn check(&mut self, reading: Reading) -> WatchedTime {
        let change = reading.change_since(self.trusted);
        if change.abs() <= TOLERANCE {
            self.changed = None;
            return WatchedTime { now: reading.wall, change: None };
        }
        let first = self.changed.filter(|first| reading.change_since(*first).abs() <= TOLERANCE);
        let first = *self.changed.insert(first.unwrap_or(reading));
        let doubt = if change.abs() > TimeDelta::days(1) { LONG_DOUBT } else { SHORT_DOUBT };
        if reading.monotonic.saturating_sub(first.monotonic) >= doubt {
            *self = Self { trusted: reading, changed: None };
            return WatchedTime { now: reading.wall, change: None };
        }
        let now = self.trusted.after(reading.monotonic.saturating_sub(self.trusted.monotonic));
        WatchedTime { now, change: Some(change) }
    }
}

impl Reading {
    fn of(clock: &Clock) -> Self {
        Self { wall: clock.now(), monotonic: clock.monotonic() }
    }

    /// How much further the wall clock went than the monotonic clock.
    fn change_since(self, earlier: Self) -> TimeDelta {
        let passed = self.monotonic.saturating_sub(earlier.monotonic);
        let passed = TimeDelta::from_std(passed).unwrap_or(TimeDelta::MAX);
        // Two readings differ by less than the range of a `TimeDelta`.
        let moved = self.wall.signed_duration_since(earlier.wall);
        moved.checked_sub(&passed).unwrap_or(TimeDelta::MIN)
    }

    fn after(self, passed: Duration) -> DateTime<Utc> {
        let passed = TimeDelta::from_std(passed).unwrap_or(TimeDelta::MAX);
        self.wall.checked_add_signed(passed).unwrap_or(self.wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-03-01T12:00:00Z";

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn every_reading_of_the_system_is_a_time() {
        let second = Duration::from_secs(1);
        assert_eq!(unix_micros(UNIX_EPOCH + second), 1_000_000);
        assert_eq!(unix_micros(UNIX_EPOCH - second), -1_000_000);
        for time in [UNIX_EPOCH - second, UNIX_EPOCH - second * u32::MAX] {
            let clock = Clock::fixed(DateTime::from_timestamp_micros(unix_micros(time)).unwrap());
            assert_eq!(clock.now(), DateTime::UNIX_EPOCH);
        }
    }

    #[test]
    fn every_reading_leaves_room_for_arithmetic() {
        for at in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
            let now = Clock::fixed(at).now();
            let year = TimeDelta::days(365);
            for near in [now - year, now, now + year] {
                assert_eq!(near.to_rfc3339().find('-'), Some(4), "{near}");
            }
        }
    }

    #[test]
    fn a_change_is_trusted_once_it_has_lasted() {
        let clock = Clock::fixed(at(NOW));
        let watch = ClockWatch::new(clock.clone());
        let trusted = |now: &str| WatchedTime { now: at(now), change: None };
        clock.advance(TimeDelta::days(400));
        assert_eq!(watch.time(), trusted("2027-04-05T12:00:00Z"), "time passes");
        let year = TimeDelta::days(365);
        clock.set(clock.now() + year);
        let doubted = WatchedTime { now: at("2027-04-05T12:00:00Z"), change: Some(year) };
        assert_eq!(watch.time(), doubted);
        clock.advance(TimeDelta::hours(23));
        assert_eq!(watch.time().change, Some(year));
        clock.set(clock.now() - year);
        assert_eq!(watch.time(), trusted("2027-04-06T11:00:00Z"), "it was set back");
        clock.set(clock.now() + year);
        for hours in [0, 1, 22] {
            clock.advance(TimeDelta::hours(hours));
            assert_eq!(watch.time().change, Some(year));
        }
        clock.advance(TimeDelta::hours(1));
        assert_eq!(watch.time(), trusted("2028-04-06T11:00:00Z"));
    }

    #[test]
    fn a_suspended_machine_is_doubted_for_an_hour() {
        let clock = Clock::fixed(at(NOW));
        let watch = ClockWatch::new(clock.clone());
        // The monotonic clock does not count the time of a suspension.
        clock.set(clock.now() + TimeDelta::hours(8));
        assert_eq!(watch.time().change, Some(TimeDelta::hours(8)));
        clock.advance(TimeDelta::minutes(60));
        assert_eq!(watch.time().change, None);
    }

    #[test]
    fn a_clock_that_changes_again_and_again_is_not_trusted() {
        let clock = Clock::fixed(at(NOW));
        let watch = ClockWatch::new(clock.clone());
        for _ in 0..100 {
            clock.set(clock.now() + TimeDelta::hours(2));
            assert!(watch.time().change.is_some());
            clock.advance(TimeDelta::minutes(30));
            assert!(watch.time().change.is_some());
        }
        let times = [watch.time().now, at(NOW) + TimeDelta::hours(50)];
        assert_eq!(times[0], times[1], "the time by the monotonic clock");
    }
}
