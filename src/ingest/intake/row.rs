//! One line of a stream as a row.

use chrono::{DateTime, Utc};

use crate::domain::json::{MAX_VALUES, count_values};
use crate::ingest::call_error::CallError;
use crate::ingest::object::{Names, Object, parse_request};
use crate::ingest::source::Kind;
use crate::ingest::source::row::Record;
use crate::store::zone::StorageZone;

/// A value of a request takes so many bytes, about.
const VALUE_BYTES: usize = 32;

#[derive(Debug, PartialEq)]
pub struct Row {
    pub record: Record,
    /// What a call that failed brought with it.
    pub error: Option<CallError>,
    /// Whether it had a time of its own.
    pub timed: bool,
    /// Whether its key may be the id of one.
    pub key_may_be_id: bool,
}

/// Reads a line; nothing of a blank one. Tells how many bytes it weighs as well.
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
    let (timed, key_may_be_id) = (object.time_or(now), object.key_may_be_id());
    let error = object.take_error();
    let record = object.into_record(kind, zone).and_then(with_request);
    (weight, record.map(|record| Some(Row { record, error, timed, key_may_be_id })))
}

/// The record with its request as a value, by which retries are told.
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
