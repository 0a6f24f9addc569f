//! One JSON object per line, with the columns as fields.

use std::io::{self, Write};

use serde::de::IgnoredAny;

use super::{Output, RowWriter};
use crate::domain::record::UNPARSED_REQUEST;
use crate::domain::table::{Column, ColumnKind, LogTable};
use crate::store::export::{ExportRow, exported_columns};

pub(super) struct Ndjson {
    columns: Vec<Column>,
    output: Output,
}

impl Ndjson {
    pub fn new(table: LogTable, output: Output) -> Self {
        Self { columns: exported_columns(table).collect(), output }
    }
}

impl RowWriter for Ndjson {
    fn write(&mut self, rows: Vec<ExportRow>) -> io::Result<()> {
        for row in rows {
            let at = row.at.format(super::TIME);
            write!(self.output, "{{\"id\":{},\"request_time\":\"{at}\"", row.id)?;
            for (column, cell) in self.columns.iter().zip(&row.cells) {
                write_field(&mut self.output, column, cell.as_deref())?;
            }
            self.output.write_all(b"}\n")?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> io::Result<Output> {
        Ok(self.output)
    }
}

fn write_field(output: &mut Output, column: &Column, cell: Option<&str>) -> io::Result<()> {
    let name = column.name;
    let Some(text) = cell else { return write!(output, ",\"{name}\":null") };
    let is_verbatim = match column.kind {
        ColumnKind::Flag => true,
        ColumnKind::Number => text.parse::<i64>().is_ok_and(|number| number.to_string() == text),
        ColumnKind::Text | ColumnKind::Key | ColumnKind::Time => false,
        ColumnKind::Json => is_one_line_of_json(text),
    };
    match (is_verbatim, column.kind) {
        (true, _) => write!(output, ",\"{name}\":{text}"),
        (false, kind) => {
            let name = if kind == ColumnKind::Json { UNPARSED_REQUEST } else { name };
            write!(output, ",\"{name}\":")?;
            Ok(serde_json::to_writer(output, text)?)
        }
    }
}

/// Whether the text can be written as JSON on one line, and is imported unchanged.
fn is_one_line_of_json(text: &str) -> bool {
    // null is written for NULL.
    text != "null"
        && text.trim() == text
        && !text.contains(['\n', '\r'])
        && serde_json::from_str::<IgnoredAny>(text).is_ok()
}
