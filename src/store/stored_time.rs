//! Stored times: reads every form that a gateway may have written, writes the form of SQLAlchemy.

use std::cmp::Ordering;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Timelike};
use sea_orm::sqlx::Row;
use sea_orm::{ColIdx, DbErr, QueryResult, RuntimeErr, TryGetError, TryGetable};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer};

use super::dialect::Dialect;

/// A stored time: naive, in the storage zone. An unreadable text of SQLite reads as the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoredTime {
    pub at: NaiveDateTime,
    /// The text in SQLite, unless it has the usual form with six digits.
    pub text: Option<Box<str>>,
}

const CANONICAL: &str = "%Y-%m-%d %H:%M:%S%.6f";

impl StoredTime {
    pub fn new(at: NaiveDateTime) -> Self {
        Self { at, text: None }
    }

    pub fn from_text(text: &str) -> Self {
        match parse_canonical(text.as_bytes()) {
            Some(at) => Self { at, text: None },
            None => Self { at: parse(text).unwrap_or_default(), text: Some(text.into()) },
        }
    }

    /// Whether it was a time.
    pub fn is_readable(&self) -> bool {
        self.text.as_deref().is_none_or(|text| parse(text).is_some())
    }

    /// Whether it has the form `2026-03-01 12:00:00`, with or without a fraction, so that its text sorts as
    /// the time.
    pub fn is_ordinary(&self) -> bool {
        let Some(text) = self.text.as_deref() else { return true };
        let (seconds, fraction) = text.split_at_checked(19).unwrap_or((text, ""));
        let digits = fraction.strip_prefix('.');
        let is_fraction = digits.is_some_and(|digits| {
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        });
        (fraction.is_empty() || is_fraction)
            && parse_canonical(format!("{seconds}.000000").as_bytes()).is_some()
    }

    /// The order of the database, which compares the texts of SQLite.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        match (&self.text, &other.text) {
            (None, None) => self.at.cmp(&other.at),
            _ => self.sqlite_text().cmp(&other.sqlite_text()),
        }
    }

    fn sqlite_text(&self) -> String {
        self.text.as_deref().map_or_else(|| sqlite_text(self.at), str::to_owned)
    }

    /// The value that equals the stored one.
    pub(super) fn value(&self, dialect: Dialect) -> sea_orm::Value {
        match (dialect, &self.text) {
            (Dialect::Sqlite, Some(text)) => text.as_ref().into(),
            (Dialect::Sqlite, None) => self.at.format(CANONICAL).to_string().into(),
            _ => self.at.into(),
        }
    }
}

/// Any other form.
fn parse(text: &str) -> Option<NaiveDateTime> {
    let formats = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M"];
    let date = || text.parse::<NaiveDate>().map(NaiveDateTime::from).ok();
    formats
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .or_else(|| chrono::DateTime::parse_from_rfc3339(text).ok().map(|at| at.naive_utc()))
        .or_else(date)
        // For other years, a conversion to another zone could leave chrono's range and panic.
        .filter(|at| (0..=9999).contains(&at.year()))
}

/// The usual form, `2026-03-01 12:00:00.000000`. Parsed by hand, since every row has one.
fn parse_canonical(text: &[u8]) -> Option<NaiveDateTime> {
    let separators = [(4, b'-'), (7, b'-'), (10, b' '), (13, b':'), (16, b':'), (19, b'.')];
    if text.len() != 26 || separators.iter().any(|(place, separator)| text[*place] != *separator) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| {
        text[range].iter().try_fold(0u32, |number, byte| {
            byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0'))
        })
    };
    let date =
        NaiveDate::from_ymd_opt(number(0..4)?.try_into().ok()?, number(5..7)?, number(8..10)?)?;
    date.and_hms_micro_opt(number(11..13)?, number(14..16)?, number(17..19)?, number(20..26)?)
}

impl<'de> Deserialize<'de> for StoredTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StoredTimeVisitor)
    }
}

struct StoredTimeVisitor;

impl Visitor<'_> for StoredTimeVisitor {
    type Value = StoredTime;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a stored time")
    }

    fn visit_str<E>(self, text: &str) -> Result<StoredTime, E> {
        Ok(StoredTime::from_text(text))
    }

    fn visit_i64<E>(self, number: i64) -> Result<StoredTime, E> {
        Ok(StoredTime::from_text(&number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<StoredTime, E> {
        Ok(StoredTime::from_text(&number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<StoredTime, E> {
        Ok(StoredTime::from_text(&number.to_string()))
    }
}

impl TryGetable for StoredTime {
    fn try_get_by<I: ColIdx>(row: &QueryResult, index: I) -> Result<Self, TryGetError> {
        if let Some(row) = row.try_as_pg_row() {
            // By hand: sqlx panics at times outside of chrono's range, such as infinity.
            let micros: Option<i64> = row
                .try_get_unchecked(index.as_sqlx_postgres_index())
                .map_err(|error| TryGetError::DbErr(unreadable(error)))?;
            return micros
                .map(from_postgres)
                .ok_or_else(|| TryGetError::Null(format!("{index:?}")));
        }
        match NaiveDateTime::try_get_by(row, index) {
            Err(TryGetError::DbErr(error)) => {
                // MySQL has dates such as 2026-03-00.
                let row = row.try_as_mysql_row().ok_or(TryGetError::DbErr(error))?;
                let bytes: Vec<u8> = row
                    .try_get_unchecked(index.as_sqlx_mysql_index())
                    .map_err(|error| TryGetError::DbErr(unreadable(error)))?;
                Ok(Self::new(from_mysql(&bytes).unwrap_or_default()))
            }
            other => other.map(Self::new),
        }
    }
}

fn unreadable(error: sea_orm::SqlxError) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(error.into()))
}

/// From microseconds since 2000, limited to the years 1 to 9999.
fn from_postgres(micros: i64) -> StoredTime {
    let since_1970 = micros.saturating_add(946_684_800_000_000);
    let nearest = since_1970.clamp(-62_135_596_800_000_000, 253_402_300_799_999_999);
    let at = DateTime::from_timestamp_micros(nearest).unwrap_or_default();
    StoredTime::new(at.naive_utc())
}

/// From MySQL's binary form: length, year (16 bits, little endian), month, day, then optionally hour,
/// minute, second. Month or day 0 reads as 1, a day that is too high as the last of the month.
fn from_mysql(bytes: &[u8]) -> Option<NaiveDateTime> {
    let [_, low, high, month, day, time @ ..] = bytes else { return None };
    let (year, month) =
        (i32::from(u16::from_le_bytes([*low, *high])), u32::from(*month).clamp(1, 12));
    let date = (1..=u32::from(*day).max(1))
        .rev()
        .find_map(|day| NaiveDate::from_ymd_opt(year, month, day))?;
    let part = |place: usize| time.get(place).copied().map_or(0, u32::from);
    date.and_hms_opt(part(0), part(1), part(2))
}

/// A time in the form of SQLAlchemy, always with six digits: texts of different lengths compare wrongly.
/// Written by hand: chrono's formatter would double the time of an insert outside of SQLite.
pub(super) fn sqlite_text(time: NaiveDateTime) -> String {
    let parts = [
        (time.year().clamp(0, 9999).unsigned_abs(), 4, '-'),
        (time.month(), 2, '-'),
        (time.day(), 2, ' '),
        (time.hour(), 2, ':'),
        (time.minute(), 2, ':'),
        (time.second(), 2, '.'),
        (time.nanosecond() / 1000 % 1_000_000, 6, ' '),
    ];
    let mut text = String::with_capacity(27);
    for (number, digits, after) in parts {
        for power in (0..digits).rev() {
            text.push(char::from(b'0' + (number / 10_u32.pow(power) % 10) as u8));
        }
        text.push(after);
    }
    text.truncate(26);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_always_have_six_digits() {
        for text in ["2023-01-09 08:05:04.000000", "2023-11-16 18:15:46.680590"] {
            let time = NaiveDateTime::parse_from_str(text, "%F %T%.f").unwrap();
            assert_eq!(sqlite_text(time), text);
        }
    }

    #[test]
    fn times_outside_of_chronos_range_are_limited() {
        assert_eq!(from_postgres(0).at.to_string(), "2000-01-01 00:00:00");
        assert_eq!(from_postgres(i64::MAX).at.to_string(), "9999-12-31 23:59:59.999999");
        assert_eq!(from_postgres(i64::MIN).at.to_string(), "0001-01-01 00:00:00");
        let read = |bytes: &[u8]| from_mysql(bytes).map(|at| at.to_string());
        assert_eq!(read(&[4, 0xea, 7, 0, 0]).as_deref(), Some("2026-01-01 00:00:00"));
        assert_eq!(read(&[7, 0xea, 7, 2, 31, 10, 5, 1]).as_deref(), Some("2026-02-28 10:05:01"));
        assert_eq!(read(&[0]), None);
    }

    #[test]
    fn unusual_texts_are_read() {
        let usual = StoredTime::from_text("2026-03-01 12:00:00.250000");
        assert_eq!(usual.at.to_string(), "2026-03-01 12:00:00.250");
        assert_eq!(usual.text, None);
        for text in ["2026-03-01 12:00:00.25", "2026-03-01T12:00:00.250", "2026-03-01T12:00:00.25Z"]
        {
            let other = StoredTime::from_text(text);
            assert_eq!(other.at, usual.at, "{text}");
            assert_eq!(other.text.as_deref(), Some(text));
        }
        let none = StoredTime::from_text("soon");
        assert_eq!(none.at.to_string(), "1970-01-01 00:00:00");
        assert!(usual.is_readable() && !none.is_readable());
        for (text, is_ordinary) in [
            ("2026-03-01 12:00:00", true),
            ("2026-03-01 12:00:00.25", true),
            ("2026-03-01 12:00:00.250000", true),
            ("2026-03-01 12:00:00.", false),
            ("2026-03-01 12:00:00Z", false),
            ("2026-03-01T12:00:00", false),
            ("2026-03-01 12:00", false),
            ("2026-02-30 12:00:00", false),
            ("soon", false),
        ] {
            assert_eq!(StoredTime::from_text(text).is_ordinary(), is_ordinary, "{text}");
        }
    }
}
