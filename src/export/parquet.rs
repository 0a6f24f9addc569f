//! Parquet: typed columns in groups of rows. Each group is in memory until it is written. A text in a
//! column of numbers becomes NULL.

use std::io;
use std::mem::take;
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::{Output, RowWriter, row_bytes};
use crate::domain::table::{Column, ColumnKind, LogTable};
use crate::store::export::{ExportRow, exported_columns};

/// The most rows of a group.
const GROUP_ROWS: usize = 128 << 10;
/// The most bytes of a group, approximately.
const GROUP_BYTES: usize = 32 << 20;

pub(super) struct Parquet {
    columns: Vec<Column>,
    writer: SerializedFileWriter<Output>,
    group: Vec<ExportRow>,
    bytes: usize,
}

impl Parquet {
    pub fn new(table: LogTable, output: Output) -> io::Result<Self> {
        let columns = exported_columns(table).collect::<Vec<_>>();
        let fields: String = columns.iter().map(field).collect();
        let schema = format!(
            "message {} {{ REQUIRED INT64 id; REQUIRED INT64 request_time (TIMESTAMP(MICROS, true)); \
             {fields}}}",
            table.name()
        );
        let schema = parse_message_type(&schema).map_err(io_error)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by(format!("callscope {}", env!("CARGO_PKG_VERSION")))
            .build();
        let writer = SerializedFileWriter::new(output, Arc::new(schema), Arc::new(properties));
        Ok(Self { columns, writer: writer.map_err(io_error)?, group: vec![], bytes: 0 })
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let rows = take(&mut self.group);
        self.bytes = 0;
        let mut group = self.writer.next_row_group()?;
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        write_column::<Int64Type>(&mut group, &ids, None)?;
        let times: Vec<i64> = rows.iter().map(|row| row.at.timestamp_micros()).collect();
        write_column::<Int64Type>(&mut group, &times, None)?;
        for (index, column) in self.columns.iter().enumerate() {
            let cells = rows.iter().map(|row| row.cells[index].as_deref());
            match column.kind {
                ColumnKind::Flag => {
                    let values: Vec<bool> = cells.map(|cell| cell == Some("true")).collect();
                    write_column::<BoolType>(&mut group, &values, None)?;
                }
                ColumnKind::Number => {
                    let values = cells.map(|cell| cell.and_then(|text| text.parse().ok()));
                    write_optional::<Int32Type>(&mut group, values)?;
                }
                ColumnKind::Text | ColumnKind::Key | ColumnKind::Time | ColumnKind::Json => {
                    write_optional::<ByteArrayType>(
                        &mut group,
                        cells.map(|cell| cell.map(ByteArray::from)),
                    )?;
                }
            }
        }
        group.close()?;
        Ok(())
    }
}

impl RowWriter for Parquet {
    fn write(&mut self, rows: Vec<ExportRow>) -> io::Result<()> {
        for row in rows {
            self.bytes += row_bytes(&row);
            self.group.push(row);
            if self.group.len() >= GROUP_ROWS || self.bytes >= GROUP_BYTES {
                self.write_group().map_err(io_error)?;
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<Output> {
        if !self.group.is_empty() {
            self.write_group().map_err(io_error)?;
        }
        self.writer.into_inner().map_err(io_error)
    }
}

fn field(column: &Column) -> String {
    let name = column.name;
    match column.kind {
        ColumnKind::Flag => format!("REQUIRED BOOLEAN {name}; "),
        ColumnKind::Number => format!("OPTIONAL INT32 {name}; "),
        // A stored request may not be JSON.
        ColumnKind::Text | ColumnKind::Key | ColumnKind::Time | ColumnKind::Json => {
            format!("OPTIONAL BYTE_ARRAY {name} (STRING); ")
        }
    }
}

fn write_optional<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Output>,
    cells: impl Iterator<Item = Option<T::T>>,
) -> Result<(), ParquetError> {
    let (mut values, mut levels) = (vec![], vec![]);
    for cell in cells {
        levels.push(i16::from(cell.is_some()));
        values.extend(cell);
    }
    write_column::<T>(group, &values, Some(&levels))
}

/// Writes the next column of the group. The definition `levels` are 1 for rows with a value.
fn write_column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Output>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> Result<(), ParquetError> {
    let missing = || ParquetError::General("the schema has fewer columns".into());
    let mut column = group.next_column()?.ok_or_else(missing)?;
    column.typed::<T>().write_batch(values, levels, None)?;
    column.close()
}

fn io_error(error: ParquetError) -> io::Error {
    io::Error::other(error)
}
