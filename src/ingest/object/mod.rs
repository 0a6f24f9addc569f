//! Reads one row from a JSON object, without an intermediate map. Reasons name a field and never its
//! value.

mod names;
mod value;

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

pub use self::names::Names;
use self::names::{FieldSpec, Form, SKIPPED};
use self::value::{Scalar, ValueOf};
use super::call_error::CallError;
use super::source::Kind;
use super::source::row::{Field, Fields, Record, parse_instant, whole};
use crate::store::zone::StorageZone;

/// The values of one row.
#[derive(Debug, Default)]
pub struct Object<'a> {
    fields: Fields<'a>,
    request: Option<&'a RawValue>,
    error: Option<CallError>,
    /// Whether the key was named `key`, which may be the id of an API key.
    key_may_be_id: bool,
    /// The first invalid field, and why.
    fault: Option<String>,
}

impl<'a> Object<'a> {
    /// Reads a row of this kind from a line.
    pub fn read(line: &'a [u8], kind: Kind, names: Names) -> Result<Self, String> {
        let mut deserializer = serde_json::Deserializer::from_slice(line);
        let read = Reader { kind, names }.deserialize(&mut deserializer);
        let object = read.and_then(|object| deserializer.end().map(|()| object));
        match object.map_err(|error| describe_syntax_error(&error, line))? {
            Self { fault: Some(fault), .. } => Err(fault),
            object => Ok(object),
        }
    }

    /// Sets the time if the row has none. Returns whether it had one.
    pub fn set_default_time(&mut self, now: DateTime<Utc>) -> bool {
        let is_missing = matches!(&self.fields[0], Field::Null);
        if is_missing {
            self.fields[0] = Field::Instant(now);
        }
        !is_missing
    }

    pub fn key_may_be_id(&self) -> bool {
        self.key_may_be_id
    }

    /// The error of a failed call.
    pub fn take_error(&mut self) -> Option<CallError> {
        self.error.take()
    }

    pub fn has_request(&self) -> bool {
        self.request.is_some() || self.error.as_ref().is_some_and(|error| error.request.is_some())
    }

    pub fn into_record(self, kind: Kind, zone: StorageZone) -> Result<Record, String> {
        let mut record = kind.record(self.fields, zone)?;
        if let (Record::Error(error), Some(request)) = (&mut record, self.request) {
            error.request_text = Some(request.get().to_owned());
        }
        Ok(record)
    }

    fn into_error(self) -> Result<CallError, String> {
        let [_, _, _, error_type, message, code, _] = self.fields;
        let text = |field| match field {
            Field::Text(text) => Some(Cow::into_owned(text)),
            _ => None,
        };
        Ok(CallError {
            error_type: text(error_type),
            message: text(message),
            error_code: if let Field::Number(code) = code { whole(&code) } else { None },
            request: self.request.map(|request| parse_request(request.get())).transpose()?,
        })
    }

    /// Sets a field, or returns why its value is invalid.
    fn set(&mut self, (place, form, name): FieldSpec, value: Scalar<'a>) -> Result<(), String> {
        let expected = match (form, value) {
            (_, Scalar::Null) => return Ok(()),
            (Form::Error, Scalar::Error(error)) => {
                self.error = Some(*error);
                return Ok(());
            }
            (Form::Error, Scalar::Fault(fault)) => return Err(format!("in error: {fault}")),
            (Form::Error, _) => "an object",
            (Form::Column | Form::Text, Scalar::Text(text)) => {
                self.fields[place] = Field::Text(text);
                return Ok(());
            }
            (Form::Column, Scalar::Number(number)) => {
                self.fields[place] = Field::Number(number);
                return Ok(());
            }
            // Derived from the status code.
            (Form::Column, Scalar::Flag) if name == "is_success" => return Ok(()),
            (Form::Column, _) => return Err(format!("{name} is neither a text nor a number")),
            (Form::Instant, Scalar::Text(text)) => match parse_instant(&text) {
                Some(at) => {
                    self.fields[place] = Field::Instant(at);
                    return Ok(());
                }
                None => "an instant in RFC 3339 such as 2026-03-01T12:00:00Z",
            },
            (Form::Whole, Scalar::Number(number)) if whole(&number).is_some() => {
                self.fields[place] = Field::Number(number);
                return Ok(());
            }
            (Form::Whole, _) => "a whole number of 32 bits",
            _ => "a text",
        };
        Err(format!("{name} is not {expected}"))
    }
}

/// Parses a request that is known to be valid JSON. Fails only on its depth.
pub fn parse_request(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|_| "request nests too deep".into())
}

/// The reason for a line that is not an object.
pub fn describe_syntax_error(error: &serde_json::Error, line: &[u8]) -> String {
    if std::str::from_utf8(line).is_err() {
        return "not UTF-8".into();
    }
    format!("not a JSON object, at column {}", error.column())
}

/// Reads an object. Collects the first invalid field as a fault, with a message of this module.
#[derive(Clone, Copy)]
struct Reader {
    kind: Kind,
    names: Names,
}

impl<'de> DeserializeSeed<'de> for Reader {
    type Value = Object<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Object<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Reader {
    type Value = Object<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut object = Object::default();
        let mut fault = None;
        let mut seen: [Option<&str>; SKIPPED + 1] = Default::default();
        while let Some(found) = map.next_key_seed(NameOf(self))? {
            let (place, form, name) = match found {
                Ok(found) => found,
                Err(unknown) => {
                    map.next_value::<IgnoredAny>()?;
                    fault.get_or_insert(unknown);
                    continue;
                }
            };
            if let Some(earlier) = seen[place].replace(name) {
                fault.get_or_insert_with(|| match earlier == name {
                    true => format!("{name} is given twice"),
                    false => format!("{earlier} and {name} are the same"),
                });
            }
            match form {
                Form::Skipped => {
                    map.next_value::<IgnoredAny>()?;
                }
                Form::Json => {
                    let request = map.next_value::<&RawValue>()?;
                    object.request = Some(request).filter(|request| request.get() != "null");
                }
                _ => {
                    let value = map.next_value_seed(ValueOf(self, form))?;
                    object.key_may_be_id |= name == "key";
                    if let Err(reason) = object.set((place, form, name), value) {
                        fault.get_or_insert(reason);
                    }
                }
            }
        }
        // A null is the same as an omitted field.
        object.fault = fault;
        Ok(object)
    }
}

/// Looks up a field name, usually without copying it.
struct NameOf(Reader);

impl<'de> DeserializeSeed<'de> for NameOf {
    type Value = Result<FieldSpec, String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameOf {
    type Value = Result<FieldSpec, String>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        let Reader { kind, names } = self.0;
        Ok(names.find(kind, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UTC: StorageZone = StorageZone(chrono_tz::Tz::UTC);

    fn read(kind: Kind, line: &str) -> Result<(Record, Option<CallError>), String> {
        let mut object = Object::read(line.as_bytes(), kind, Names::Both)?;
        object.set_default_time(DateTime::UNIX_EPOCH);
        let error = object.take_error();
        Ok((object.into_record(kind, UTC)?, error))
    }

    #[test]
    fn input_names_and_column_names_give_the_same_row() {
        let inputs = r#"{"timestamp":"2026-03-01T12:00:00.5Z","key":"k","model":"m","statusCode":429,
            "latencyMs":7}"#;
        let columns = r#"{"id":9,"request_time":"2026-03-01 12:00:00.5","api_key":"k",
            "model_name":"m","is_success":false,"status_code":"429","latency_ms":7}"#;
        assert_eq!(read(Kind::Calls, inputs), read(Kind::Calls, columns));
        let inputs = r#"{"key":"k","model":"m","errorType":"t","errorCode":429,"message":"n",
            "request":{"a":[1]}}"#;
        let columns = r#"{"gemini_key":"k","model_name":"m","error_type":"t","error_code":429,
            "error_log":"n","request_msg":{"a":[1]}}"#;
        assert_eq!(read(Kind::Errors, inputs), read(Kind::Errors, columns));
    }

    #[test]
    fn a_call_has_its_error() {
        let line =
            r#"{"statusCode":500,"error":{"errorType":"t","message":"\u00e9","request":[]}}"#;
        let (_, error) = read(Kind::Calls, line).unwrap();
        let expected = CallError {
            error_type: Some("t".into()),
            error_code: None,
            message: Some("é".into()),
            request: Some(serde_json::json!([])),
        };
        assert_eq!(error, Some(expected));
        assert_eq!(read(Kind::Calls, r#"{"error":null}"#).unwrap().1, None);
    }

    #[test]
    fn reasons_name_the_field_and_no_value() {
        for (kind, line, expected) in [
            (Kind::Calls, r#"{"key":"secret""#, "not a JSON object, at column 15"),
            (Kind::Calls, r#"["secret"]"#, "not a JSON object"),
            (Kind::Calls, r#"{} {"key":"secret"}"#, "not a JSON object"),
            (Kind::Calls, r#"{"tokens":"secret"}"#, "unknown field `tokens`; calls have timestamp"),
            (Kind::Calls, r#"{"gemini_key":"secret"}"#, "unknown field `gemini_key`"),
            (Kind::Errors, r#"{"statusCode":1}"#, "unknown field `statusCode`; error logs have"),
            (Kind::Calls, r#"{"model":7}"#, "model is not a text"),
            (Kind::Calls, r#"{"model":["secret"]}"#, "model is not a text"),
            (Kind::Calls, r#"{"model_name":{"a":"secret"}}"#, "model_name is neither a text"),
            (Kind::Calls, r#"{"statusCode":"secret"}"#, "statusCode is not a whole number"),
            (Kind::Calls, r#"{"statusCode":200.5}"#, "statusCode is not a whole number"),
            (Kind::Calls, r#"{"latencyMs":4294967296}"#, "latencyMs is not a whole number"),
            (Kind::Calls, r#"{"latency_ms":"secret"}"#, "latency_ms is not a whole number"),
            (Kind::Calls, r#"{"timestamp":"secret"}"#, "timestamp is not an instant"),
            (Kind::Calls, r#"{"timestamp":7}"#, "timestamp is not a text"),
            (Kind::Calls, r#"{"request_time":"secret"}"#, "request_time is not a time"),
            (Kind::Calls, r#"{"model":"a","model":"secret"}"#, "model is given twice"),
            (Kind::Calls, r#"{"model":"a","model_name":"b"}"#, "model and model_name are the same"),
            (Kind::Calls, r#"{"error":"secret"}"#, "error is not an object"),
            (Kind::Calls, r#"{"error":{"key":"secret"}}"#, "in error: unknown field `key`"),
            (Kind::Calls, r#"{"error":{"message":[]}}"#, "in error: message is not a text"),
        ] {
            let reason = read(kind, line).unwrap_err();
            assert!(reason.starts_with(expected) && !reason.contains("secret"), "{line}: {reason}");
        }
        let reason = Object::read(b"{\"key\":\"\xff\"}", Kind::Calls, Names::Both).unwrap_err();
        assert_eq!(reason, "not UTF-8");
    }
}
