//! Reads NDJSON: one object per line, with the column names as fields.

use std::collections::BTreeMap;
use std::io::BufRead;

use serde::de::IgnoredAny;

use super::file::{Row, Rows};
use super::row::Record;
use super::{Kind, ReadOptions, SourceError};
use crate::ingest::object::{self, Names, Object};

pub(super) struct Ndjson<'a> {
    content: &'a mut dyn BufRead,
    buffer: Vec<u8>,
    line: u64,
    kind: Option<Kind>,
}

impl<'a> Ndjson<'a> {
    pub fn new(content: &'a mut dyn BufRead) -> Self {
        Self { content, buffer: Vec::new(), line: 0, kind: None }
    }

    /// Reads the next line that is not blank.
    fn read_line(&mut self) -> Result<bool, SourceError> {
        loop {
            self.buffer.clear();
            if self.content.read_until(b'\n', &mut self.buffer)? == 0 {
                return Ok(false);
            }
            self.line += 1;
            if !self.buffer.trim_ascii().is_empty() {
                return Ok(true);
            }
        }
    }

    fn parse(&mut self, options: &ReadOptions) -> Result<Record, String> {
        let kind = match self.kind {
            Some(kind) => kind,
            None => *self.kind.insert(kind_of(&self.buffer)?),
        };
        Object::read(&self.buffer, kind, Names::Columns)?.into_record(kind, options.zone)
    }
}

/// Detects the kind by the field names.
fn kind_of(line: &[u8]) -> Result<Kind, String> {
    let names: BTreeMap<String, IgnoredAny> = serde_json::from_slice(line)
        .map_err(|error| object::describe_syntax_error(&error, line))?;
    Kind::of(names.keys().map(String::as_str))
}

impl Rows for Ndjson<'_> {
    fn next(&mut self, options: &ReadOptions) -> Result<Option<Row>, SourceError> {
        if !self.read_line()? {
            return Ok(None);
        }
        let record = self.parse(options);
        Ok(Some(Row { line: self.line, record }))
    }

    fn skip(&mut self) -> Result<(), SourceError> {
        self.read_line().map(|_| ())
    }

    fn kind(&self) -> Option<Kind> {
        self.kind
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::dialect::Dialect;
    use crate::store::zone::StorageZone;

    fn parse(text: &str) -> Vec<Row> {
        let options = ReadOptions {
            zone: StorageZone(chrono_tz::Tz::UTC),
            dialect: Dialect::Sqlite,
            shift: chrono::TimeDelta::zero(),
        };
        let mut content = text.as_bytes();
        let mut rows = Ndjson::new(&mut content);
        std::iter::from_fn(|| rows.next(&options).unwrap()).collect()
    }

    #[test]
    fn calls_are_detected_by_their_fields() {
        let rows = parse(
            "{\"request_time\": \"2023-11-16 18:15:46\", \"api_key\": \"k\", \"is_success\": true, \"status_code\": 200, \"latency_ms\": null}",
        );
        let Ok(Record::Call(call)) = &rows[0].record else { panic!("not a call") };
        assert_eq!((call.status_code, call.latency_ms), (Some(200), None));
    }

    #[test]
    fn a_request_keeps_its_original_text() {
        let rows = parse(
            "{\"request_time\": \"2023-11-16 18:15:46\", \"error_code\": 1, \"request_msg\": {\"b\": 1.0,  \"a\": 1e400}}\n{\"request_time\": \"2023-11-16 18:15:46\", \"request_msg_text\": \"{\\\"a\\\":\\nNaN}\"}",
        );
        let texts: Vec<_> = rows
            .into_iter()
            .map(|row| match row.record.unwrap() {
                Record::Error(error) => error.request_text.unwrap(),
                Record::Call(_) => panic!("not an error log"),
            })
            .collect();
        assert_eq!(texts, ["{\"b\": 1.0,  \"a\": 1e400}", "{\"a\":\nNaN}"]);
    }

    #[test]
    fn bad_lines_are_reported_with_their_number() {
        let rows = parse(
            "{\"request_time\": \"2023-11-16 18:15:46\", \"gemini_key\": \"k\", \"request_msg\": \"5\"}\n\n{oops\n{\"request_time\": \"2023-11-16 18:15:46\", \"api_key\": \"k\"}\n",
        );
        let Ok(Record::Error(error)) = &rows[0].record else { panic!("not an error log") };
        assert_eq!(error.request_text.as_deref(), Some("\"5\""));
        assert_eq!(rows[1].line, 3);
        assert!(rows[1].record.as_ref().unwrap_err().starts_with("not a JSON object"));
        assert!(rows[2].record.as_ref().unwrap_err().contains("`api_key`"));
    }
}
