//! Windows of time. Every window is half open: it includes `since` and excludes `until`.

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;

use super::bucket::first_instant;

/// `[since, until)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Window {
    pub since: DateTime<Utc>,
    pub until: DateTime<Utc>,
}

/// A window that ends at a given instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    LastMinute,
    LastHour,
    Last8Hours,
    Last24Hours,
    Last7Days,
    Last30Days,
    /// From the start of the calendar month.
    CurrentMonth,
}

impl Window {
    /// The last `span` before `until`; None if it starts before the year 1.
    pub fn last(span: TimeDelta, until: DateTime<Utc>) -> Option<Self> {
        let since = until.checked_sub_signed(span).filter(|since| since.year() > 0)?;
        Some(Self { since, until })
    }

    /// The calendar month of `until` in `zone`, up to `until`.
    pub fn month(until: DateTime<Utc>, zone: Tz) -> Option<Self> {
        let day = until.with_timezone(&zone).date_naive();
        let first = NaiveDate::from_ymd_opt(day.year(), day.month(), 1)?;
        Some(Self { since: first_instant(first.and_time(NaiveTime::MIN), zone), until })
    }

    pub fn of(period: Period, until: DateTime<Utc>, zone: Tz) -> Option<Self> {
        let span = match period {
            Period::LastMinute => TimeDelta::minutes(1),
            Period::LastHour => TimeDelta::hours(1),
            Period::Last8Hours => TimeDelta::hours(8),
            Period::Last24Hours => TimeDelta::hours(24),
            Period::Last7Days => TimeDelta::days(7),
            Period::Last30Days => TimeDelta::days(30),
            Period::CurrentMonth => return Self::month(until, zone),
        };
        Self::last(span, until)
    }

    pub fn length(self) -> TimeDelta {
        self.until - self.since
    }

    pub fn contains(self, other: Self) -> bool {
        self.since <= other.since && other.until <= self.until
    }
}

/// Splits `windows` at the ends of all of them. Overlapping windows share pieces, so each piece is
/// counted only once.
pub fn pieces(windows: &[Window]) -> Vec<Window> {
    let mut ends: Vec<_> = windows.iter().flat_map(|window| [window.since, window.until]).collect();
    ends.sort_unstable();
    ends.dedup();
    ends.windows(2)
        .map(|pair| Window { since: pair[0], until: pair[1] })
        .filter(|piece| windows.iter().any(|window| window.contains(*piece)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn the_month_starts_in_its_zone() {
        let month = |until: &str, zone: Tz| Window::month(at(until), zone).unwrap().since;
        assert_eq!(month("2026-03-31T20:00:00Z", Tz::UTC), at("2026-03-01T00:00:00Z"));
        assert_eq!(month("2026-03-31T20:00:00Z", Tz::Asia__Shanghai), at("2026-03-31T16:00:00Z"));
        // Daylight saving started within the month.
        assert_eq!(month("2026-03-30T12:00:00Z", Tz::Europe__Berlin), at("2026-02-28T23:00:00Z"));
    }

    #[test]
    fn overlapping_windows_share_pieces() {
        let until = at("2026-03-01T12:00:00Z");
        let windows = [
            Window::last(TimeDelta::hours(1), until).unwrap(),
            Window::last(TimeDelta::hours(8), until).unwrap(),
            Window { since: at("2026-01-01T00:00:00Z"), until: at("2026-01-02T00:00:00Z") },
        ];
        let pieces = pieces(&windows);
        assert_eq!(pieces.len(), 3);
        assert_eq!(pieces[1].until, pieces[2].since);
        let total: TimeDelta = pieces.iter().map(|piece| piece.length()).sum();
        assert_eq!(total, TimeDelta::hours(32));
    }
}
