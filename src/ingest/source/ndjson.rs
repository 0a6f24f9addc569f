//! Reads NDJSON: one object per line, with the column names as fields.

use std::io::BufRead;

use super::{ROW_BYTES, ReadOptions, Row, Rows, SourceError};
use crate::domain::table::LogTable;
use crate::ingest::lines::{Line, Lines};
use crate::ingest::object::{read_record, table_of};

pub(super) struct Ndjson<'a> {
    content: &'a mut dyn BufRead,
    lines: Lines,
    table: Option<LogTable>,
}

impl<'a> Ndjson<'a> {
    pub fn new(content: &'a mut dyn BufRead) -> Self {
        Self { content, lines: Lines::new(ROW_BYTES as usize), table: None }
    }

    /// Applies `read` to the next line that is not blank.
    fn next_line<T>(
        &mut self,
        read: impl FnOnce(Line<'_>, &mut Option<LogTable>) -> T,
    ) -> Result<Option<T>, SourceError> {
        loop {
            let part = self.content.fill_buf()?;
            let (length, mut rest) = (part.len(), part);
            let line = match length {
                0 => self.lines.last(),
                _ => self.lines.next(&mut rest),
            };
            let is_end = length == 0 && line.is_none();
            let used = length - rest.len();
            if let Some(line) = line.filter(|line| line.text.is_none_or(|text| !text.is_empty())) {
                let row = read(line, &mut self.table);
                self.content.consume(used);
                return Ok(Some(row));
            }
            self.content.consume(used);
            if is_end {
                return Ok(None);
            }
        }
    }
}

impl Rows for Ndjson<'_> {
    fn next(&mut self, options: &ReadOptions) -> Result<Option<Row>, SourceError> {
        self.next_line(|Line { number, text }, table| {
            let record = text.ok_or_else(|| format!("longer than {ROW_BYTES} bytes"));
            let record = record.and_then(|text| {
                let table = match *table {
                    Some(table) => table,
                    None => *table.insert(table_of(text)?),
                };
                read_record(text, table, options.zone)
            });
            Row { line: number, record }
        })
    }

    fn skip(&mut self) -> Result<(), SourceError> {
        self.next_line(|_, _| ()).map(|_| ())
    }

    fn table(&self) -> Option<LogTable> {
        self.table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::record::Record;
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
                Record::Error(error) => error.request.unwrap(),
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
        assert_eq!(error.request.as_deref(), Some("\"5\""));
        assert_eq!(rows[1].line, 3);
        assert!(rows[1].record.as_ref().unwrap_err().starts_with("not a JSON object"));
        assert!(rows[2].record.as_ref().unwrap_err().contains("`api_key`"));
    }
}
