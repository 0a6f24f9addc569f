//! The rate of calls over time: hours of the day, weekends, slow growth, and bursts of minutes. Most users
//! of the gateway are in UTC+8.

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, Timelike, Utc, Weekday};

use super::HISTORY_DAYS;
use super::dice::{Dice, seconds};

/// Calls per day without retries, on a weekday at the end of the history.
const CALLS_PER_DAY: f64 = 11_400.0;

/// Rate of each local hour, relative to the average hour.
const HOURS: [f64; 24] = [
    0.85, 0.55, 0.34, 0.24, 0.20, 0.20, 0.26, 0.42, 0.78, 1.22, 1.50, 1.42, //
    1.10, 1.32, 1.62, 1.66, 1.58, 1.46, 1.16, 1.10, 1.30, 1.38, 1.28, 1.06,
];

/// Minimum and maximum of calls per second while the demo runs.
const LIVE_RATE: (f64, f64) = (0.3, 1.0);
/// Rate of the running demo relative to its history.
const LIVE_BOOST: f64 = 3.2;
/// Minutes at the end of the history in which the rate rises to that of the running demo.
const RISE_MINUTES: f64 = 20.0;

/// Average duration of a state in seconds, and its rate factor.
const CALM: (f64, f64) = (18.0 * 60.0, 0.78);
const BURST: (f64, f64) = (3.5 * 60.0, 2.4);

pub struct Rhythm {
    until: DateTime<Utc>,
    bursting: bool,
    changes_at: DateTime<Utc>,
    /// The local day and its random factor.
    day: (NaiveDate, f64),
}

impl Rhythm {
    pub fn new(since: DateTime<Utc>, until: DateTime<Utc>) -> Self {
        Self { until, bursting: false, changes_at: since, day: (NaiveDate::MIN, 1.0) }
    }

    /// Whether the last time of [`Self::rate`] was in a burst.
    pub fn is_bursting(&self) -> bool {
        self.bursting
    }

    /// Calls per second at `at`, which must not decrease between calls.
    pub fn rate(&mut self, dice: &mut Dice, at: DateTime<Utc>) -> f64 {
        while self.changes_at <= at {
            self.bursting = !self.bursting;
            let (mean, _) = if self.bursting { BURST } else { CALM };
            self.changes_at += seconds(1.0 + dice.exponential(mean));
        }
        let day = local_time(at).date();
        if self.day.0 != day {
            self.day = (day, dice.lognormal(1.0, 0.06));
        }
        let (_, burst) = if self.bursting { BURST } else { CALM };
        let rate = CALLS_PER_DAY / 86_400.0 * usual(at) * self.growth(at) * self.day.1 * burst;
        self.rise(at, rate)
    }

    /// From 0.86 at the start of the history to 1 at its end.
    fn growth(&self, at: DateTime<Utc>) -> f64 {
        let days_left = (self.until - at).as_seconds_f64().max(0.0) / 86_400.0;
        1.0 - 0.14 * days_left / HISTORY_DAYS as f64
    }

    /// The rate, raised to that of the running demo at the end.
    fn rise(&self, at: DateTime<Utc>, rate: f64) -> f64 {
        let minutes_left = (self.until - at).as_seconds_f64() / 60.0;
        let risen = (1.0 - minutes_left / RISE_MINUTES).clamp(0.0, 1.0);
        let (floor, ceiling) = LIVE_RATE;
        (rate * (1.0 + (LIVE_BOOST - 1.0) * risen)).clamp(floor * risen, ceiling)
    }
}

/// The relative rate at `at` by hour and weekday.
pub fn usual(at: DateTime<Utc>) -> f64 {
    let local = local_time(at);
    let hour = local.hour() as usize;
    let part = f64::from(local.minute()) / 60.0;
    let by_hour = HOURS[hour] * (1.0 - part) + HOURS[(hour + 1) % 24] * part;
    by_hour * if matches!(local.weekday(), Weekday::Sat | Weekday::Sun) { 0.8 } else { 1.0 }
}

fn local_time(at: DateTime<Utc>) -> chrono::NaiveDateTime {
    at.naive_utc() + TimeDelta::hours(8)
}
