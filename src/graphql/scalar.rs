//! The scalars of the contract.

use async_graphql::{InputType, InputValueError, InputValueResult, Scalar, ScalarType, Value};
use chrono::{DateTime as ChronoDateTime, Datelike, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;

use crate::domain::duration;
use crate::domain::excerpt::excerpt;

/// An instant, to the microsecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateTime(pub ChronoDateTime<Utc>);

/// An instant. Input: RFC 3339 with any offset, `2026-03-01T12:00:00+08:00`; digits below microseconds
/// are ignored. Output: always UTC, `2026-03-01T04:00:00.25Z`, up to microseconds.
#[Scalar(specified_by_url = "https://scalars.graphql.org/andimarek/date-time")]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        let text = text(value)?;
        let at = ChronoDateTime::parse_from_rfc3339(&text).map_err(|_| {
            let text = excerpt(&text);
            bad(format!("`{text}` is not an instant in RFC 3339 such as 2026-03-01T12:00:00Z"))
        })?;
        let at = ChronoDateTime::from_timestamp_micros(at.timestamp_micros());
        at.filter(|at| (1..=9999).contains(&at.year()))
            .map(Self)
            .ok_or_else(|| bad(format!("`{}` is not in the years 1 to 9999", excerpt(&text))))
    }

    fn to_value(&self) -> Value {
        Value::String(write_instant(self.0))
    }
}

/// Own formatting: a list has an instant in every row, and chrono's formatting takes ten times as long.
fn write_instant(at: ChronoDateTime<Utc>) -> String {
    match at.year() {
        1..=9999 => {}
        // RFC 3339 years have four digits: use the nearest instant.
        ..1 => return "0001-01-01T00:00:00Z".to_owned(),
        _ => return "9999-12-31T23:59:59.999999Z".to_owned(),
    }
    let mut text = *b"0000-00-00T00:00:00.000000";
    let mut put = |range: std::ops::Range<usize>, mut number: u32| {
        for byte in text[range].iter_mut().rev() {
            *byte = b'0' + (number % 10) as u8;
            number /= 10;
        }
    };
    put(0..4, at.year().unsigned_abs());
    put(5..7, at.month());
    put(8..10, at.day());
    put(11..13, at.hour());
    put(14..16, at.minute());
    put(17..19, at.second());
    put(20..26, at.nanosecond() / 1000 % 1_000_000);
    let text = String::from_utf8_lossy(&text);
    let mut text = text.trim_end_matches('0').trim_end_matches('.').to_owned();
    text.push('Z');
    text
}

/// A positive span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duration(pub TimeDelta);

/// A span of time in ISO 8601, of weeks, days, hours, minutes and seconds: `PT1M`, `PT8H`, `P30D`.
#[Scalar(specified_by_url = "https://en.wikipedia.org/wiki/ISO_8601#Durations")]
impl ScalarType for Duration {
    fn parse(value: Value) -> InputValueResult<Self> {
        duration::parse(&text(value)?).map(Self).map_err(bad)
    }

    fn to_value(&self) -> Value {
        Value::String(duration::format(self.0))
    }
}

/// A time zone of the IANA database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeZone(pub Tz);

/// The name of an IANA time zone: `Asia/Shanghai`, `Europe/Berlin`, `UTC`.
#[Scalar(specified_by_url = "https://www.iana.org/time-zones")]
impl ScalarType for TimeZone {
    fn parse(value: Value) -> InputValueResult<Self> {
        let name = text(value)?;
        let zone = name.parse().map(Self);
        zone.map_err(|_| {
            let name = excerpt(&name);
            bad(format!("`{name}` is not an IANA time zone such as Asia/Shanghai"))
        })
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.name().to_owned())
    }
}

/// A count or the id of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BigInt(pub i64);

/// A whole number of up to 53 bits, sent as a JSON number: counts outgrow the 32 bits of `Int`.
#[Scalar]
impl ScalarType for BigInt {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::Number(number) if number.as_i64().is_some() => {
                Ok(Self(number.as_i64().unwrap_or_default()))
            }
            other => Err(bad(format!("{} is not a whole number", excerpt(&other.to_string())))),
        }
    }

    fn to_value(&self) -> Value {
        Value::Number(self.0.into())
    }
}

fn text<T: InputType>(value: Value) -> Result<String, InputValueError<T>> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(bad(format!("{} is not a string", excerpt(&other.to_string())))),
    }
}

fn bad<T: InputType>(message: String) -> InputValueError<T> {
    InputValueError::custom(message).with_extension("code", "BAD_USER_INPUT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_written_without_trailing_zeros() {
        for text in [
            "2026-03-01T12:00:00Z",
            "2026-03-01T12:00:00.25Z",
            "0001-12-31T23:59:59.000001Z",
            "2026-10-20T10:20:30.10203Z",
            "2026-10-20T10:20:00Z",
        ] {
            assert_eq!(write_instant(text.parse().unwrap()), text);
        }
    }
}
