//! Reads CSV with a header that names the columns, in any order.

use std::io::BufRead;

use super::{ReadOptions, Row, Rows, SourceError};
use crate::domain::record::Record;
use crate::domain::table::LogTable;
use crate::ingest::columns::{Field, Fields, layout};

pub(super) struct Csv<'a> {
    reader: csv::Reader<&'a mut dyn BufRead>,
    record: csv::ByteRecord,
    table: LogTable,
    /// The field of each column of the file; `None` for an id.
    positions: Vec<Option<usize>>,
}

impl<'a> Csv<'a> {
    pub fn new(content: &'a mut dyn BufRead) -> Result<Self, SourceError> {
        let mut reader = csv::ReaderBuilder::new().from_reader(content);
        let header = reader.headers().map_err(broken)?.clone();
        let (table, positions) = layout(header.iter()).map_err(|reason| {
            SourceError::Unusable(format!("the first line must name the columns: {reason}"))
        })?;
        Ok(Self { reader, record: csv::ByteRecord::new(), table, positions })
    }

    fn parse(&self, options: &ReadOptions) -> Result<Record, String> {
        let mut fields = Fields::default();
        for (field, position) in self.record.iter().zip(&self.positions) {
            if let Some(position) = *position
                && !field.is_empty()
            {
                let text = std::str::from_utf8(field)
                    .map_err(|_| format!("{} is not UTF-8", self.table.columns()[position].name))?;
                fields[position] = Field::Text(unescape(text).into());
            }
        }
        self.table.record(fields, options.zone)
    }
}

impl Rows for Csv<'_> {
    fn next(&mut self, options: &ReadOptions) -> Result<Option<Row>, SourceError> {
        match self.reader.read_byte_record(&mut self.record) {
            Ok(false) => Ok(None),
            Ok(true) => {
                let line = self.record.position().map_or(0, csv::Position::line);
                Ok(Some(Row { line, record: self.parse(options) }))
            }
            Err(error) => match error.kind() {
                csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
                    let line = pos.as_ref().map_or(0, csv::Position::line);
                    let reason = format!("{len} columns where the first line has {expected_len}");
                    Ok(Some(Row { line, record: Err(reason) }))
                }
                _ => Err(broken(error)),
            },
        }
    }

    fn skip(&mut self) -> Result<(), SourceError> {
        match self.reader.read_byte_record(&mut self.record) {
            Err(error) if !matches!(error.kind(), csv::ErrorKind::UnequalLengths { .. }) => {
                Err(broken(error))
            }
            _ => Ok(()),
        }
    }

    fn table(&self) -> Option<LogTable> {
        Some(self.table)
    }
}

/// An empty field is NULL; an empty text is written as `\`. A text that consists only of backslashes has
/// one added.
fn unescape(text: &str) -> &str {
    match text.bytes().all(|byte| byte == b'\\') {
        true => &text[1..],
        false => text,
    }
}

fn broken(error: csv::Error) -> SourceError {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => SourceError::Read(error),
        csv::ErrorKind::Utf8 { .. } => SourceError::Unusable("the first line is not UTF-8".into()),
        _ => SourceError::Unusable("not a CSV file".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Result<(LogTable, Vec<Option<usize>>), String> {
        layout(names.iter().copied())
    }

    #[test]
    fn an_empty_text_is_a_backslash() {
        for (field, text) in [("\\", ""), ("\\\\", "\\"), ("a\\", "a\\"), ("\\N", "\\N")] {
            assert_eq!(unescape(field), text);
        }
    }

    #[test]
    fn columns_come_in_any_order() {
        let found = of(&["latency_ms", "id", "request_time"]);
        assert_eq!(found, Ok((LogTable::Calls, vec![Some(5), None, Some(0)])));
    }

    #[test]
    fn invalid_headers_are_rejected() {
        assert!(of(&["request_time", "api_key", "tokens"]).unwrap_err().contains("`tokens`"));
        assert!(of(&["api_key"]).unwrap_err().contains("`request_time`"));
        assert!(of(&["request_time", "api_key", "api_key"]).unwrap_err().contains("twice"));
    }
}
