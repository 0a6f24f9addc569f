//! Months of stored times, as partitions have them.

use std::fmt;
use std::str::FromStr;

use chrono::{Datelike, Months, NaiveDate, NaiveDateTime, NaiveTime};

/// A month. Displayed as `2026-12`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(NaiveDate);

impl Month {
    /// The month of a stored time.
    pub fn of(at: NaiveDateTime) -> Self {
        Self(at.date().with_day(1).unwrap_or(at.date()))
    }

    pub fn start(self) -> NaiveDateTime {
        self.0.and_time(NaiveTime::MIN)
    }

    /// The month that is so many months later.
    pub fn plus(self, months: u32) -> Self {
        Self(self.0.checked_add_months(Months::new(months)).unwrap_or(NaiveDate::MAX))
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.format("%Y-%m").fmt(f)
    }
}

impl FromStr for Month {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let day = NaiveDate::parse_from_str(&format!("{text}-01"), "%Y-%m-%d").ok();
        let month = day.map(Self).filter(|month| month.to_string() == text);
        month.ok_or_else(|| format!("`{text}` is not a month such as 2026-12"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_parsed_and_counted() {
        let month: Month = "2026-12".parse().unwrap();
        assert_eq!(
            (month.to_string(), month.plus(2).to_string()),
            ("2026-12".into(), "2027-02".into())
        );
        assert_eq!(month.start().to_string(), "2026-12-01 00:00:00");
        let at = "2026-12-31T23:59:59.999".parse().unwrap();
        assert_eq!(Month::of(at), month);
        for wrong in ["2026-13", "2026-1", "2026", "2026-12-01", "x"] {
            assert!(wrong.parse::<Month>().is_err(), "{wrong}");
        }
    }
}
