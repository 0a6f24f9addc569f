//! One row of any source, as texts by column, made into a record. Files and databases share these
//! rules.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};

use super::Kind;
use crate::domain::record::{CallRecord, ErrorRecord, ImportedError};
use crate::store::zone::StorageZone;

/// The columns of `t_request_log` but its id, in the order of a row's fields.
const CALL_COLUMNS: &[&str] =
    &["request_time", "model_name", "api_key", "is_success", "status_code", "latency_ms"];
/// The columns of `t_error_logs` but its id, in the order of a row's fields.
const ERROR_COLUMNS: &[&str] = &[
    "request_time",
    "model_name",
    "gemini_key",
    "error_type",
    "error_log",
    "error_code",
    "request_msg",
];
/// The position of `request_msg` among the error columns.
pub const REQUEST: usize = 6;

/// The fields of one row by column, `None` for NULL; calls leave the last one unused.
pub type Fields<'a> = [Option<&'a str>; 7];

#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    Call(CallRecord),
    Error(ImportedError),
}

impl Kind {
    pub fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Calls => CALL_COLUMNS,
            Self::Errors => ERROR_COLUMNS,
        }
    }

    /// The kind of rows that have these columns.
    pub fn of<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Result<Self, String> {
        let own = |own: Self, other: Self| {
            let others = other.columns();
            let mut names = names.clone();
            names.find(|name| own.columns().contains(name) && !others.contains(name))
        };
        match (own(Self::Calls, Self::Errors), own(Self::Errors, Self::Calls)) {
            (Some(_), None) => Ok(Self::Calls),
            (None, Some(_)) => Ok(Self::Errors),
            (Some(call), Some(error)) => Err(format!(
                "`{call}` belongs to calls and `{error}` to error logs; one file holds one kind"
            )),
            (None, None) => Err(format!(
                "neither calls ({}) nor error logs ({})",
                CALL_COLUMNS.join(", "),
                ERROR_COLUMNS.join(", ")
            )),
        }
    }

    /// The positions of columns that are named in a row, each once.
    pub fn layout<'a>(
        names: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<(Self, Vec<Option<usize>>), String> {
        let kind = Self::of(names.clone())?;
        let mut positions = vec![];
        for name in names {
            let position = kind.position(name)?;
            if position.is_some() && positions.contains(&position) {
                return Err(format!("`{name}` is named twice"));
            }
            positions.push(position);
        }
        if !positions.contains(&Some(0)) {
            return Err("`request_time` is missing".into());
        }
        Ok((kind, positions))
    }

    /// The position of a column among a row's fields, `None` for the id, which is not kept.
    pub fn position(self, name: &str) -> Result<Option<usize>, String> {
        match self.columns().iter().position(|column| *column == name) {
            None if name != "id" => {
                let known = self.columns().join(", ");
                Err(format!("unknown column `{name}`; {} have {known}", self.name()))
            }
            position => Ok(position),
        }
    }

    /// The record of one row; a reason names the column.
    pub fn record(self, fields: &Fields<'_>, zone: StorageZone) -> Result<Record, String> {
        let [time, model, key, fourth, fifth, sixth, request] = *fields;
        let time = time.filter(|time| !time.is_empty()).ok_or("request_time is missing")?;
        let timestamp = parse_time(time, zone).ok_or("request_time is not a time")?;
        let (model, key) = (model.map(str::to_owned), key.map(str::to_owned));
        Ok(match self {
            // The fourth is is_success, which follows from the status code.
            Self::Calls => Record::Call(CallRecord {
                timestamp,
                key,
                model,
                status_code: code("status_code", fifth)?,
                latency_ms: number("latency_ms", sixth)?,
            }),
            Self::Errors => Record::Error(ImportedError {
                record: ErrorRecord {
                    timestamp,
                    key,
                    model,
                    error_type: fourth.map(str::to_owned),
                    message: fifth.map(str::to_owned),
                    error_code: code("error_code", sixth)?,
                    request: None,
                },
                request_text: request.map(str::to_owned),
            }),
        })
    }
}

/// A code that is a text, as gemini-balance stores after a network fault, is no code.
fn code(column: &str, field: Option<&str>) -> Result<Option<i32>, String> {
    let numeric =
        |text: &&str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.'));
    number(column, field.filter(numeric))
}

fn number(column: &str, field: Option<&str>) -> Result<Option<i32>, String> {
    let Some(text) = field.filter(|text| !text.is_empty()) else { return Ok(None) };
    let whole = || format!("{column} is not a whole number of 32 bits");
    text.parse().map(Some).map_err(|_| whole())
}

/// `YYYY-MM-DD HH:MM:SS`, with a `T` between or not, a fraction or not, an offset or not. Without
/// one the time is that of the zone's clocks.
fn parse_time(text: &str, zone: StorageZone) -> Option<DateTime<Utc>> {
    if let Some(naive) = parse_naive(text) {
        return Some(zone.to_utc(naive));
    }
    // What Callscope itself exports.
    if let Some(naive) = text.strip_suffix('Z').and_then(parse_naive) {
        return Some(naive.and_utc());
    }
    let with_offset = DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z"));
    with_offset.ok().map(|at| at.to_utc())
}

/// By hand, since chrono's parser would take a third of an import's time.
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
    fn what_is_no_time() {
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
        assert_eq!(code("status_code", Some("429")), Ok(Some(429)));
        for none in [None, Some(""), Some("Server disconnected without sending a response.")] {
            assert_eq!(code("status_code", none), Ok(None));
        }
        for bad in ["99999999999", "200.5", "--1"] {
            assert!(code("status_code", Some(bad)).is_err(), "{bad}");
        }
        assert!(number("latency_ms", Some("fast")).unwrap_err().starts_with("latency_ms"));
    }

    #[test]
    fn the_kind_is_told_by_its_own_columns() {
        let of = |names: &[&'static str]| Kind::of(names.iter().copied());
        assert_eq!(of(&["request_time", "latency_ms"]), Ok(Kind::Calls));
        assert_eq!(of(&["request_time", "error_code"]), Ok(Kind::Errors));
        assert!(of(&["request_time", "model_name"]).unwrap_err().starts_with("neither"));
        assert!(of(&["gemini_key", "api_key"]).unwrap_err().contains("one kind"));
    }

    #[test]
    fn an_unknown_column_is_named_and_an_id_ignored() {
        assert_eq!(Kind::Calls.position("id"), Ok(None));
        assert_eq!(Kind::Calls.position("api_key"), Ok(Some(2)));
        assert!(Kind::Calls.position("tokens").unwrap_err().contains("`tokens`"));
    }
}
