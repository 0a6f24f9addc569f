//! CSV with a header. An empty field is NULL, so an empty text is written as `\`, and a text that
//! consists of backslashes gets one more.

use std::borrow::Cow;
use std::io;

use super::{Output, RowWriter};
use crate::domain::table::{Column, ColumnKind, LogTable};
use crate::store::export::{ExportRow, exported_columns};

pub(super) struct Csv {
    columns: Vec<Column>,
    writer: csv::Writer<Output>,
}

impl Csv {
    pub fn new(table: LogTable, output: Output) -> io::Result<Self> {
        let columns = exported_columns(table).collect::<Vec<_>>();
        let mut writer = csv::Writer::from_writer(output);
        let names = columns.iter().map(|column| column.name);
        writer.write_record(["id", "request_time"].into_iter().chain(names))?;
        Ok(Self { columns, writer })
    }
}

impl RowWriter for Csv {
    fn write(&mut self, rows: Vec<ExportRow>) -> io::Result<()> {
        for row in rows {
            self.writer.write_field(row.id.to_string())?;
            self.writer.write_field(row.at.format(super::TIME).to_string())?;
            for (column, cell) in self.columns.iter().zip(&row.cells) {
                self.writer.write_field(field(column.kind, cell.as_deref()).as_bytes())?;
            }
            self.writer.write_record(None::<&[u8]>)?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> io::Result<Output> {
        self.writer.into_inner().map_err(|error| error.into_error())
    }
}

fn field(kind: ColumnKind, cell: Option<&str>) -> Cow<'_, str> {
    match cell {
        None => "".into(),
        Some(text) if kind != ColumnKind::Flag && text.bytes().all(|byte| byte == b'\\') => {
            format!("{text}\\").into()
        }
        Some(text) => text.into(),
    }
}
