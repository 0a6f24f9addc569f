//! Parses one line of a stream.

use chrono::{DateTime, Utc};

use crate::domain::json::{MAX_VALUES, count_values};
use crate::ingest::call_error::CallError;
use crate::ingest::object::{Names, Object, parse_request};
use crate::ingest::source::Kind;
use crate::ingest::source::row::Record;
use crate::store::zone::StorageZone;

/// Approximate memory of one JSON value in a request.
const VALUE_BYTES: usize = 32;

#[derive(Debug, PartialEq)]
pub struct Row {
    pub record: Record,
    /// The error of a failed call.
    pub error: Option<CallError>,
    /// Whether the line had a time.
    pub timed: bool,
    /// Whether the key may be the id of an API key.
    pub key_may_be_id: bool,
}

/// Parses a line (`None` if blank) and estimates its memory in bytes.
pub fn parse(
    line: &[u8],
    kind: Kind,
    zone: StorageZone,
    now: DateTime<Utc>,
) -> (usize, Result<Option<Row>, String>) {
    if line.is_empty() {
        return (0, Ok(None));
    }
    let mut object = match Object::read(line, kind, Names::Both) {
        Ok(object) => object,
        Err(reason) => return (line.len(), Err(reason)),
    };
    let values = if object.has_request() { count_values(line) } else { 0 };
    let weight = line.len() + values * VALUE_BYTES;
    if values > MAX_VALUES {
        return (line.len(), Err("request has too many values".into()));
    }
    let (timed, key_may_be_id) = (object.set_default_time(now), object.key_may_be_id());
    let error = object.take_error();
    let record = object.into_record(kind, zone).and_then(with_request);
    (weight, record.map(|record| Some(Row { record, error, timed, key_may_be_id })))
}

/// Parses the request: retries are recognised by its value.
fn with_request(mut record: Record) -> Result<Record, String> {
    if let Record::Error(error) = &mut record
        && let Some(text) = error.request_text.take()
    {
        error.record.request = Some(parse_request(&text)?);
    }
    Ok(record)
}

impl Row {
    pub fn key_mut(&mut self) -> &mut Option<String> {
        match &mut self.record {
            Record::Call(call) => &mut call.key,
            Record::Error(error) => &mut error.record.key,
        }
    }
}
