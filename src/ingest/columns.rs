//! Converts one row of any source to a record: files, databases and streams share these rules.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use serde_json::Number;

use crate::domain::record::{CallRecord, ErrorRecord, Record};
use crate::domain::table::LogTable;
use crate::store::zone::StorageZone;

/// The position of `request_msg` among the error columns.
pub const REQUEST: usize = 6;

/// The values of one row by column; calls do not use the last one.
pub type Fields<'a> = [Field<'a>; 7];

/// One value of a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Field<'a> {
    #[default]
    Null,
    Text(Cow<'a, str>),
    Number(Number),
    Instant(DateTime<Utc>),
}

impl<'a> Field<'a> {
    pub fn text(text: Option<&'a str>) -> Self {
        text.map_or(Self::Null, |text| Self::Text(text.into()))
    }

    pub fn into_text(self) -> Option<String> {
        match self {
            Self::Null => None,
            Self::Text(text) => Some(text.into_owned()),
            Self::Number(number) => Some(number.to_string()),
            Self::Instant(at) => Some(at.to_rfc3339()),
        }
    }
}

/// The table that has these columns.
pub fn detect_table<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Result<LogTable, String> {
    let own = |own: LogTable, other: LogTable| {
        let mut names = names.clone();
        names.find(|name| own.column(name).is_some() && other.column(name).is_none())
    };
    let (calls, errors) = (LogTable::Calls, LogTable::ErrorLogs);
    match (own(calls, errors), own(errors, calls)) {
        (Some(_), None) => Ok(calls),
        (None, Some(_)) => Ok(errors),
        (Some(call), Some(error)) => Err(format!(
            "`{call}` belongs to calls and `{error}` to error logs; one file holds one kind"
        )),
        (None, None) => Err(format!(
            "neither calls ({}) nor error logs ({})",
            calls.column_list(),
            errors.column_list()
        )),
    }
}

/// The table that has the columns of a header, and the position of each column; `None` for the id, which
/// is ignored.
pub fn layout<'a>(
    names: impl Iterator<Item = &'a str> + Clone,
) -> Result<(LogTable, Vec<Option<usize>>), String> {
    let table = detect_table(names.clone())?;
    let mut positions = vec![];
    for name in names {
        let position = match table.column(name) {
            None if name != "id" => return Err(table.unknown(name)),
            column => column.map(|(position, _)| position),
        };
        if position.is_some() && positions.contains(&position) {
            return Err(format!("`{name}` is named twice"));
        }
        positions.push(position);
    }
    if !positions.contains(&Some(0)) {
        return Err("`request_time` is missing".into());
    }
    Ok((table, positions))
}

impl LogTable {
    /// The position and name of a column.
    pub fn column(self, name: &str) -> Option<(usize, &'static str)> {
        self.columns().iter().map(|column| column.name).enumerate().find(|(_, own)| *own == name)
    }

    fn column_list(self) -> String {
        self.columns().iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
    }

    pub fn unknown(self, name: &str) -> String {
        format!("unknown column `{name}`; {} have {}", self.rows(), self.column_list())
    }

    /// Converts one row. An error names the column.
    pub fn record(self, fields: Fields<'_>, zone: StorageZone) -> Result<Record, String> {
        let [time, model, key, fourth, fifth, sixth, request] = fields;
        let timestamp = match time {
            Field::Instant(at) => at,
            Field::Null => return Err("request_time is missing".into()),
            Field::Text(text) if text.is_empty() => return Err("request_time is missing".into()),
            Field::Text(text) => parse_time(&text, zone).ok_or("request_time is not a time")?,
            Field::Number(_) => return Err("request_time is not a time".into()),
        };
        let (model, key) = (model.into_text(), key.into_text());
        Ok(match self {
            // The fourth is is_success, which is derived from the status code.
            Self::Calls => Record::Call(CallRecord {
                timestamp,
                key,
                model,
                status_code: code("status_code", &fifth)?,
                latency_ms: number("latency_ms", &sixth)?,
            }),
            Self::ErrorLogs => Record::Error(ErrorRecord {
                timestamp,
                key,
                model,
                error_type: fourth.into_text(),
                message: fifth.into_text(),
                error_code: code("error_code", &sixth)?,
                request: request.into_text(),
            }),
        })
    }
}

/// A code that is a text, which gemini-balance stores after a network failure, becomes NULL.
fn code(column: &str, field: &Field<'_>) -> Result<Option<i32>, String> {
    let numeric = |byte: u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.');
    match field {
        Field::Text(text) if !text.bytes().all(numeric) => Ok(None),
        field => number(column, field),
    }
}

fn number(column: &str, field: &Field<'_>) -> Result<Option<i32>, String> {
    let found = match field {
        Field::Null => return Ok(None),
        Field::Text(text) if text.is_empty() => return Ok(None),
        Field::Text(text) => text.parse().ok(),
        Field::Number(number) => whole(number),
        Field::Instant(_) => None,
    };
    found.map(Some).ok_or_else(|| format!("{column} is not a whole number of 32 bits"))
}

/// An integer that fits the columns of the tables.
pub fn whole(number: &Number) -> Option<i32> {
    i32::try_from(number.as_i64()?).ok()
}

/// Parses an RFC 3339 time, truncated to microseconds.
pub fn parse_instant(text: &str) -> Option<DateTime<Utc>> {
    if let Some(naive) = text.strip_suffix('Z').and_then(parse_naive) {
        return Some(naive.and_utc());
    }
    let at = DateTime::parse_from_rfc3339(text).ok()?;
    DateTime::from_timestamp_micros(at.timestamp_micros())
}

/// Parses `YYYY-MM-DD HH:MM:SS`, also with a `T`, a fraction or an offset. A time without an offset is in
/// `zone`.
fn parse_time(text: &str, zone: StorageZone) -> Option<DateTime<Utc>> {
    if let Some(naive) = parse_naive(text) {
        return Some(zone.to_utc(naive));
    }
    // The format of `callscope export`.
    if let Some(naive) = text.strip_suffix('Z').and_then(parse_naive) {
        return Some(naive.and_utc());
    }
    let with_offset = DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z"));
    with_offset.ok().map(|at| at.to_utc())
}

/// Parsed by hand: chrono's parser would take a third of an import's time.
fn parse_naive(text: &str) -> Option<NaiveDateTime> {
    let bytes = text.as_bytes();
    let part = |from: usize, to: usize| digits(bytes.get(from..to)?);
    let marks = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if bytes.len() < 19
        || marks.iter().any(|(at, mark)| bytes[*at] != *mark)
        || !matches!(bytes[10], b' ' | b'T')
    {
        return None;
    }
    let micros = match &bytes[19..] {
        [] => 0,
        [b'.', fraction @ ..] if (1..=9).contains(&fraction.len()) => {
            let kept = &fraction[..fraction.len().min(6)];
            digits(fraction)?;
            digits(kept)? * 10_u32.pow(6 - kept.len() as u32)
        }
        _ => return None,
    };
    NaiveDate::from_ymd_opt(i32::try_from(part(0, 4)?).ok()?, part(5, 7)?, part(8, 10)?)?
        .and_hms_micro_opt(part(11, 13)?, part(14, 16)?, part(17, 19)?, micros)
}

fn digits(bytes: &[u8]) -> Option<u32> {
    bytes.iter().try_fold(0, |number, byte| {
        byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono_tz::Tz;

    const UTC: StorageZone = StorageZone(Tz::UTC);

    fn micros(text: &str, zone: StorageZone) -> Option<String> {
        parse_time(text, zone).map(|at| at.format("%F %T%.6f").to_string())
    }

    #[test]
    fn times_with_and_without_offset() {
        let expected = Some("2023-11-16 18:15:46.680590".to_owned());
        for text in [
            "2023-11-16 18:15:46.680590",
            "2023-11-16T18:15:46.68059",
            "2023-11-16 18:15:46.680590999",
            "2023-11-16T18:15:46.680590Z",
            "2023-11-16T20:15:46.680590+02:00",
            "2023-11-16 18:15:46.68059+00",
        ] {
            let kept = micros(text, UTC);
            assert_eq!(kept, expected, "{text}");
        }
        let shanghai = StorageZone(Tz::Asia__Shanghai);
        assert_eq!(micros("2023-11-17 02:15:46.680590", shanghai), expected);
        assert_eq!(micros("2023-11-16T18:15:46.680590Z", shanghai), expected);
    }

    #[test]
    fn invalid_times() {
        for text in [
            "yesterday",
            "2023-11-16",
            "2023-02-30 00:00:00",
            "2023-11-16 24:00:00",
            "2023-11-16 18:15:46.",
            "2023-11-16 18:15:46.1234567890",
            "2023-11-16 18:15:46,5",
            "１２23-11-16 18:15:46",
        ] {
            assert_eq!(parse_time(text, UTC), None, "{text}");
        }
    }

    #[test]
    fn codes() {
        let code = |text| code("status_code", &Field::text(text));
        assert_eq!(code(Some("429")), Ok(Some(429)));
        for none in [None, Some(""), Some("Server disconnected without sending a response.")] {
            assert_eq!(code(none), Ok(None));
        }
        for bad in ["99999999999", "200.5", "--1"] {
            assert!(code(Some(bad)).is_err(), "{bad}");
        }
        let latency = number("latency_ms", &Field::text(Some("fast")));
        assert!(latency.unwrap_err().starts_with("latency_ms"));
        assert_eq!(number("latency_ms", &Field::Number(12.into())), Ok(Some(12)));
        for bad in [Number::from_f64(1.5).unwrap(), i64::MAX.into(), u64::MAX.into()] {
            assert!(number("latency_ms", &Field::Number(bad)).is_err());
        }
    }

    #[test]
    fn an_instant_has_an_offset() {
        let at = parse_instant("2026-03-01T12:00:00.123456Z").unwrap();
        for same in ["2026-03-01T20:00:00.1234569+08:00", "2026-03-01t12:00:00.123456z"] {
            assert_eq!(parse_instant(same), Some(at), "{same}");
        }
        for bad in ["2026-03-01T12:00:00", "2026-03-01", "", "Z", "2026-02-30T12:00:00Z"] {
            assert_eq!(parse_instant(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_table_is_detected_by_its_columns() {
        let of = |names: &[&'static str]| detect_table(names.iter().copied());
        assert_eq!(of(&["request_time", "latency_ms"]), Ok(LogTable::Calls));
        assert_eq!(of(&["request_time", "error_code"]), Ok(LogTable::ErrorLogs));
        assert!(of(&["request_time", "model_name"]).unwrap_err().starts_with("neither"));
        assert!(of(&["gemini_key", "api_key"]).unwrap_err().contains("one kind"));
    }

    #[test]
    fn an_unknown_column_is_named_and_an_id_is_ignored() {
        let positions = |names: &[&'static str]| layout(names.iter().copied()).map(|found| found.1);
        let found = positions(&["request_time", "id", "api_key"]);
        assert_eq!(found, Ok(vec![Some(0), None, Some(2)]));
        let unknown = positions(&["request_time", "api_key", "tokens"]);
        assert!(unknown.unwrap_err().contains("`tokens`"));
    }
}
