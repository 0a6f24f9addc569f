//! The windows in which providers count calls.

use chrono::{DateTime, Days, NaiveTime, TimeZone, Utc};
use chrono_tz::America::Los_Angeles;

use super::thresholds::{DAY, MINUTE};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Window {
    FixedMinute,
    SlidingMinute,
    PacificDay,
    UtcDay,
    SlidingDay,
    /// A stated one, in microseconds.
    Sliding(i64),
}

impl Window {
    pub fn length(self) -> i64 {
        match self {
            Self::FixedMinute | Self::SlidingMinute => MINUTE,
            Self::PacificDay | Self::UtcDay | Self::SlidingDay => DAY,
            Self::Sliding(length) => length,
        }
    }

    pub fn is_sliding(self) -> bool {
        matches!(self, Self::SlidingMinute | Self::SlidingDay | Self::Sliding(_))
    }
}

/// When days start, for the time of the calls and some days after it.
pub(super) struct Calendar {
    pacific: Vec<i64>,
}

impl Calendar {
    pub fn new(from: i64, to: i64) -> Self {
        let mut pacific = Vec::new();
        let local = |micros: i64| {
            let at = DateTime::<Utc>::from_timestamp_micros(micros).unwrap_or_default();
            at.with_timezone(&Los_Angeles).date_naive()
        };
        let (mut day, last) = (local(from - DAY), local(to + 3 * DAY));
        while day <= last {
            let midnight = Los_Angeles.from_local_datetime(&day.and_time(NaiveTime::MIN));
            if let Some(midnight) = midnight.earliest() {
                pacific.push(midnight.timestamp_micros());
            }
            let Some(next) = day.checked_add_days(Days::new(1)) else { break };
            day = next;
        }
        Self { pacific }
    }

    /// The start of the window that a call at this time belongs to; of a sliding one, the oldest call in it.
    pub fn start(&self, window: Window, at: i64) -> i64 {
        match window {
            Window::FixedMinute => at.div_euclid(MINUTE) * MINUTE,
            Window::UtcDay => at.div_euclid(DAY) * DAY,
            Window::PacificDay => {
                let next = self.pacific.partition_point(|midnight| *midnight <= at);
                let found = self.pacific.get(next.saturating_sub(1)).copied();
                found.filter(|midnight| *midnight <= at).unwrap_or(at - DAY)
            }
            sliding => at - sliding.length() + 1,
        }
    }

    /// The end of a fixed window.
    pub fn end(&self, window: Window, at: i64) -> i64 {
        match window {
            Window::PacificDay => {
                let next = self.pacific.partition_point(|midnight| *midnight <= at);
                self.pacific.get(next).copied().unwrap_or(at + DAY)
            }
            window => self.start(window, at) + window.length(),
        }
    }
}

/// The windows of a model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows {
    pub minute: Window,
    pub day: Window,
    /// The part of the failed calls that use the quota.
    pub failed: f64,
}
