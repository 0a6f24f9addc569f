//! Reads one row from a JSON object. Reasons name a field and never its value.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Number, Value};

use super::columns::{Field, Fields, REQUEST, detect_table, parse_instant, whole};
use super::row::{CallError, Row};
use crate::domain::excerpt::excerpt;
use crate::domain::json::{MAX_VALUES, count_values};
use crate::domain::record::{ErrorRecord, Record, UNPARSED_REQUEST};
use crate::domain::table::LogTable;
use crate::store::zone::StorageZone;

/// Approximate memory of one JSON value in a request.
const VALUE_BYTES: usize = 32;

/// Reads a row of a stream. Also returns its estimated memory in bytes.
pub fn read_row(
    line: &[u8],
    table: LogTable,
    zone: StorageZone,
    now: DateTime<Utc>,
) -> (usize, Result<Row, String>) {
    let object = match utf8(line).and_then(|line| Object::read(line, table, Names::Both)) {
        Ok(object) => object,
        Err(reason) => return (line.len(), Err(reason)),
    };
    let values = if object.has_request() { count_values(line) } else { 0 };
    if values > MAX_VALUES {
        return (line.len(), Err("request has too many values".into()));
    }
    (line.len() + values * VALUE_BYTES, object.into_row(table, zone, now))
}

/// Reads a row of a file. The text of its request is kept unchanged.
pub fn read_record(line: &[u8], table: LogTable, zone: StorageZone) -> Result<Record, String> {
    table.record(Object::read(utf8(line)?, table, Names::Columns)?.fields, zone)
}

/// The table of a file, by the field names of its first object.
pub fn table_of(line: &[u8]) -> Result<LogTable, String> {
    let entries = entries(utf8(line)?)?;
    detect_table(entries.iter().map(|(name, _)| &*name.0))
}

/// The values of one row.
#[derive(Debug, Default)]
struct Object<'a> {
    /// A request is in its JSON text.
    fields: Fields<'a>,
    error: Option<CallError>,
    /// Whether the key was named `key`, which may be the id of an API key.
    key_may_be_id: bool,
}

impl<'a> Object<'a> {
    fn read(json: &'a str, table: LogTable, names: Names) -> Result<Self, String> {
        let mut object = Self::default();
        let mut seen: [Option<&str>; IGNORED + 1] = Default::default();
        for (Name(name), value) in entries(json)? {
            let (position, form, name) = names.find(table, &name)?;
            match seen[position].replace(name) {
                Some(earlier) if earlier == name => return Err(format!("{name} is given twice")),
                Some(earlier) => return Err(format!("{earlier} and {name} are the same")),
                None => object.set((position, form, name), value.get())?,
            }
        }
        Ok(object)
    }

    fn has_request(&self) -> bool {
        !matches!(&self.fields[REQUEST], Field::Null)
            || self.error.as_ref().is_some_and(|error| error.request.is_some())
    }

    /// The row, from `now` if it has no time.
    fn into_row(
        mut self,
        table: LogTable,
        zone: StorageZone,
        now: DateTime<Utc>,
    ) -> Result<Row, String> {
        let timed = !matches!(&self.fields[0], Field::Null);
        if !timed {
            self.fields[0] = Field::Instant(now);
        }
        let mut record = table.record(self.fields, zone)?;
        if let Record::Error(ErrorRecord { request: Some(request), .. }) = &mut record {
            *request = normalize(request)?;
        }
        Ok(Row { record, error: self.error, timed, key_may_be_id: self.key_may_be_id })
    }

    fn into_error(self) -> Result<CallError, String> {
        let [_, _, _, error_type, message, code, request] = self.fields;
        Ok(CallError {
            error_type: error_type.into_text(),
            message: message.into_text(),
            error_code: if let Field::Number(code) = code { whole(&code) } else { None },
            request: request.into_text().map(|text| normalize(&text)).transpose()?,
        })
    }

    /// Sets a field, or returns why its value is invalid. A null is the same as an omitted field.
    fn set(&mut self, (position, form, name): FieldSpec, json: &'a str) -> Result<(), String> {
        if form == Form::Ignored || json == "null" {
            return Ok(());
        }
        if form == Form::Json {
            self.fields[position] = Field::Text(json.into());
            return Ok(());
        }
        let wrong = |expected| format!("{name} is not {expected}");
        self.fields[position] = match (form, Scalar::of(json)) {
            (Form::Error, Scalar::Object) => {
                let error = Object::read(json, LogTable::ErrorLogs, Names::OfError)
                    .and_then(Object::into_error);
                self.error = Some(error.map_err(|reason| format!("in error: {reason}"))?);
                Field::Null
            }
            (Form::Column | Form::Text, Scalar::Text(text)) => {
                self.key_may_be_id |= name == "key";
                Field::Text(text)
            }
            (Form::Column, Scalar::Number(number)) => Field::Number(number),
            // Derived from the status code.
            (Form::Column, Scalar::Flag) if name == "is_success" => Field::Null,
            (Form::Instant, Scalar::Text(text)) => {
                let at = parse_instant(&text);
                let instant = "an instant in RFC 3339 such as 2026-03-01T12:00:00Z";
                let at = at.ok_or_else(|| wrong(instant))?;
                Field::Instant(at)
            }
            (Form::Whole, Scalar::Number(number)) if whole(&number).is_some() => {
                Field::Number(number)
            }
            (Form::Column, _) => return Err(format!("{name} is neither a text nor a number")),
            (Form::Error, _) => return Err(wrong("an object")),
            (Form::Whole, _) => return Err(wrong("a whole number of 32 bits")),
            _ => return Err(wrong("a text")),
        };
        Ok(())
    }
}

fn utf8(line: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(line).map_err(|_| "not UTF-8".into())
}

/// A request without insignificant differences, by which retries are recognised. Fails only on its depth.
fn normalize(request: &str) -> Result<String, String> {
    let value: Value = serde_json::from_str(request).map_err(|_| "request nests too deep")?;
    Ok(value.to_string())
}

/// A field name, borrowed unless it contains an escape.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

type Entries<'a> = Vec<(Name<'a>, &'a RawValue)>;

/// The fields of an object in their order, with the JSON text of each value.
fn entries(json: &str) -> Result<Entries<'_>, String> {
    struct EntriesVisitor;

    impl<'de> Visitor<'de> for EntriesVisitor {
        type Value = Entries<'de>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut entries = Vec::with_capacity(IGNORED);
            while let Some(entry) = map.next_entry()? {
                entries.push(entry);
            }
            Ok(entries)
        }
    }

    let mut deserializer = serde_json::Deserializer::from_str(json);
    deserializer
        .deserialize_map(EntriesVisitor)
        .and_then(|entries| deserializer.end().map(|()| entries))
        .map_err(|error| format!("not a JSON object, at column {}", error.column()))
}

/// A JSON value by its first byte.
enum Scalar<'a> {
    Flag,
    Text(Cow<'a, str>),
    Number(Number),
    Object,
    Other,
}

impl<'a> Scalar<'a> {
    /// `json` is valid, except for lone surrogates and numbers out of range.
    fn of(json: &'a str) -> Self {
        match json.as_bytes() {
            [b'"', text @ .., b'"'] if !text.contains(&b'\\') => {
                Self::Text(Cow::Borrowed(&json[1..json.len() - 1]))
            }
            [b'"', ..] => serde_json::from_str(json).map_or(Self::Other, Self::Text),
            [b'{', ..] => Self::Object,
            [b't' | b'f', ..] => Self::Flag,
            _ => json.parse().map_or(Self::Other, Self::Number),
        }
    }
}

/// The accepted field names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    /// The column names of the tables.
    Columns,
    /// Column names and the names of the GraphQL inputs. Values of the latter are validated as in GraphQL.
    Both,
    /// The fields of the `error` of a call.
    OfError,
}

/// The type of a field.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// A text or a number, as in a column.
    Column,
    Ignored,
    Instant,
    Text,
    Whole,
    Json,
    Error,
}

/// The position of ignored fields. Others have the position of their column.
const IGNORED: usize = 7;

const CALL_NAMES: [(&str, usize, Form); 6] = [
    ("timestamp", 0, Form::Instant),
    ("model", 1, Form::Text),
    ("key", 2, Form::Text),
    ("statusCode", 4, Form::Whole),
    ("latencyMs", 5, Form::Whole),
    ("error", 6, Form::Error),
];

const ERROR_NAMES: [(&str, usize, Form); 7] = [
    ("errorType", 3, Form::Text),
    ("message", 4, Form::Text),
    ("errorCode", 5, Form::Whole),
    ("request", 6, Form::Json),
    ("timestamp", 0, Form::Instant),
    ("model", 1, Form::Text),
    ("key", 2, Form::Text),
];

/// The position, type and name of a field.
type FieldSpec = (usize, Form, &'static str);

impl Names {
    /// The field of this name in a row of this table, or why it is unknown.
    fn find(self, table: LogTable, name: &str) -> Result<FieldSpec, String> {
        let inputs: &[_] = match (self, table) {
            (Names::Columns, _) => &[],
            (Names::Both, LogTable::Calls) => &CALL_NAMES,
            (Names::Both, LogTable::ErrorLogs) => &ERROR_NAMES,
            (Names::OfError, _) => &ERROR_NAMES[..4],
        };
        if let Some((name, position, form)) = inputs.iter().find(|(known, ..)| *known == name) {
            return Ok((*position, *form, name));
        }
        let unknown = |own: &str| format!("unknown field `{}`; {own}", excerpt(name));
        let listed = || inputs.iter().map(|(name, ..)| *name).collect::<Vec<_>>().join(", ");
        match (self, table.column(name)) {
            (Names::OfError, _) => Err(unknown(&format!("it has {}", listed()))),
            (_, Some((REQUEST, name))) => Ok((REQUEST, Form::Json, name)),
            (_, Some((position, name))) => Ok((position, Form::Column, name)),
            (_, None) if name == "id" => Ok((IGNORED, Form::Ignored, "id")),
            (Names::Columns, None) if table == LogTable::ErrorLogs && name == UNPARSED_REQUEST => {
                Ok((REQUEST, Form::Column, UNPARSED_REQUEST))
            }
            (Names::Columns, None) => Err(table.unknown(&excerpt(name))),
            (Names::Both, None) => Err(unknown(&format!("{} have {}", table.rows(), listed()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LogTable::{Calls, ErrorLogs};
    use super::*;

    const UTC: StorageZone = StorageZone(chrono_tz::Tz::UTC);

    fn read(table: LogTable, line: &str) -> Result<Row, String> {
        read_row(line.as_bytes(), table, UTC, DateTime::UNIX_EPOCH).1
    }

    #[test]
    fn input_names_and_column_names_give_the_same_row() {
        let record = |table, line| read(table, line).unwrap().record;
        let inputs = r#"{"timestamp":"2026-03-01T12:00:00.5Z","key":"k","model":"m","statusCode":429,
            "latencyMs":7}"#;
        let columns = r#"{"id":9,"request_time":"2026-03-01 12:00:00.5","api_key":"k",
            "model_name":"m","is_success":false,"status_code":"429","latency_ms":7}"#;
        assert_eq!(record(Calls, inputs), record(Calls, columns));
        let inputs = r#"{"key":"k","model":"m","errorType":"t","errorCode":429,"message":"n",
            "request":{"a":[1]}}"#;
        let columns = r#"{"gemini_key":"k","model_name":"m","error_type":"t","error_code":429,
            "error_log":"n","request_msg":{"a":[1]}}"#;
        assert_eq!(record(ErrorLogs, inputs), record(ErrorLogs, columns));
    }

    #[test]
    fn a_call_has_its_error() {
        let line =
            r#"{"statusCode":500,"error":{"errorType":"t","message":"\u00e9","request":[]}}"#;
        let error = read(Calls, line).unwrap().error;
        let expected = CallError {
            error_type: Some("t".into()),
            error_code: None,
            message: Some("é".into()),
            request: Some("[]".into()),
        };
        assert_eq!(error, Some(expected));
        assert_eq!(read(Calls, r#"{"error":null}"#).unwrap().error, None);
    }

    #[test]
    fn reasons_name_the_field_and_no_value() {
        for (table, line, expected) in [
            (Calls, r#"{"key":"secret""#, "not a JSON object, at column 15"),
            (Calls, r#"["secret"]"#, "not a JSON object"),
            (Calls, r#"{} {"key":"secret"}"#, "not a JSON object"),
            (Calls, r#"{"tokens":"secret"}"#, "unknown field `tokens`; calls have timestamp"),
            (Calls, r#"{"gemini_key":"secret"}"#, "unknown field `gemini_key`"),
            (ErrorLogs, r#"{"statusCode":1}"#, "unknown field `statusCode`; error logs have"),
            (Calls, r#"{"model":7}"#, "model is not a text"),
            (Calls, r#"{"model":["secret"]}"#, "model is not a text"),
            (Calls, r#"{"model_name":{"a":"secret"}}"#, "model_name is neither a text"),
            (Calls, r#"{"statusCode":"secret"}"#, "statusCode is not a whole number"),
            (Calls, r#"{"statusCode":200.5}"#, "statusCode is not a whole number"),
            (Calls, r#"{"latencyMs":4294967296}"#, "latencyMs is not a whole number"),
            (Calls, r#"{"latency_ms":"secret"}"#, "latency_ms is not a whole number"),
            (Calls, r#"{"timestamp":"secret"}"#, "timestamp is not an instant"),
            (Calls, r#"{"timestamp":7}"#, "timestamp is not a text"),
            (Calls, r#"{"request_time":"secret"}"#, "request_time is not a time"),
            (Calls, r#"{"model":"a","model":"secret"}"#, "model is given twice"),
            (Calls, r#"{"model":"a","model_name":"b"}"#, "model and model_name are the same"),
            (Calls, r#"{"error":"secret"}"#, "error is not an object"),
            (Calls, r#"{"error":{"key":"secret"}}"#, "in error: unknown field `key`"),
            (Calls, r#"{"error":{"message":[]}}"#, "in error: message is not a text"),
        ] {
            let reason = read(table, line).unwrap_err();
            assert!(reason.starts_with(expected) && !reason.contains("secret"), "{line}: {reason}");
        }
        let invalid = read_row(b"{\"key\":\"\xff\"}", Calls, UTC, DateTime::UNIX_EPOCH).1;
        assert_eq!(invalid, Err("not UTF-8".into()));
    }
}
