//! Reads Parquet with the table's column names, in any order. Times without a zone, and times as texts, are
//! in the time zone of the source.

use std::fs::File;

use chrono::{DateTime, Utc};
use parquet::basic::{LogicalType, TimeUnit};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::record::reader::RowIter;

use super::{ReadOptions, Row, Rows, SourceError};
use crate::domain::record::Record;
use crate::domain::table::LogTable;
use crate::ingest::columns::{self, Fields, layout};

/// The first bytes of a Parquet file.
pub(super) const MAGIC: &[u8] = b"PAR1";

pub(super) struct Parquet {
    rows: RowIter<'static>,
    table: LogTable,
    /// The field of each column of the file; `None` for an id.
    positions: Vec<Option<usize>>,
    clock: TimeColumn,
    row: u64,
    /// Rows of the file, for the progress.
    total: u64,
}

/// The format of the time column.
#[derive(Clone, Copy)]
struct TimeColumn {
    per_second: i64,
    in_utc: bool,
}

impl Parquet {
    pub fn new(file: File) -> Result<Self, SourceError> {
        let reader = SerializedFileReader::new(file).map_err(broken)?;
        let metadata = reader.metadata().file_metadata();
        let total = u64::try_from(metadata.num_rows()).unwrap_or(0);
        let fields = metadata.schema().get_fields();
        let (table, positions) =
            layout(fields.iter().map(|field| field.name())).map_err(SourceError::Unusable)?;
        let time = fields.iter().zip(&positions).find(|(_, position)| **position == Some(0));
        let logical = time.and_then(|(field, _)| field.get_basic_info().logical_type_ref());
        let clock = match logical {
            Some(LogicalType::Timestamp(time)) => TimeColumn {
                per_second: match time.unit {
                    TimeUnit::MILLIS => 1_000,
                    TimeUnit::MICROS => 1_000_000,
                    TimeUnit::NANOS => 1_000_000_000,
                },
                in_utc: time.is_adjusted_to_u_t_c,
            },
            // A text, or a number without a logical type: microseconds in UTC, as older writers mean it.
            _ => TimeColumn { per_second: 1_000_000, in_utc: true },
        };
        let rows = RowIter::from_file_into(Box::new(reader));
        Ok(Self { rows, table, positions, clock, row: 0, total })
    }

    /// The progress from 0 to 1.
    pub fn share(&self) -> f64 {
        self.row as f64 / self.total.max(1) as f64
    }

    fn parse(&self, row: &parquet::record::Row, options: &ReadOptions) -> Result<Record, String> {
        let mut texts: [Option<String>; 7] = Default::default();
        for ((name, field), position) in row.get_column_iter().zip(&self.positions) {
            let Some(position) = *position else { continue };
            texts[position] = match field {
                Field::Null => None,
                // Only is_success may be a boolean. It is derived from the status code.
                Field::Bool(_) if name == "is_success" => None,
                field if position == 0 => {
                    Some(self.time(field).ok_or("request_time is not a time")?)
                }
                field => Some(text(field).ok_or(format!("{name} is neither a text nor a number"))?),
            };
        }
        let fields: Fields<'_> = texts.each_ref().map(|text| columns::Field::text(text.as_deref()));
        self.table.record(fields, options.zone)
    }

    fn time(&self, field: &Field) -> Option<String> {
        let instant = |number: i64, per_second: i64| {
            let micros = match per_second {
                1_000 => number.checked_mul(1_000)?,
                1_000_000_000 => number.div_euclid(1_000),
                _ => number,
            };
            let at: DateTime<Utc> = DateTime::from_timestamp_micros(micros)?;
            let zone = if self.clock.in_utc { "Z" } else { "" };
            Some(format!("{}{zone}", at.format("%Y-%m-%dT%H:%M:%S%.6f")))
        };
        match field {
            Field::Str(text) => Some(text.clone()),
            Field::TimestampMillis(number) => instant(*number, 1_000),
            Field::TimestampMicros(number) => instant(*number, 1_000_000),
            Field::Long(number) => instant(*number, self.clock.per_second),
            _ => None,
        }
    }
}

impl Rows for Parquet {
    fn next(&mut self, options: &ReadOptions) -> Result<Option<Row>, SourceError> {
        let Some(row) = self.rows.next() else { return Ok(None) };
        let row = row.map_err(broken)?;
        self.row += 1;
        Ok(Some(Row { line: self.row, record: self.parse(&row, options) }))
    }

    fn skip(&mut self) -> Result<(), SourceError> {
        self.row += 1;
        self.rows.next().transpose().map(|_| ()).map_err(broken)
    }

    fn table(&self) -> Option<LogTable> {
        Some(self.table)
    }
}

fn text(field: &Field) -> Option<String> {
    Some(match field {
        Field::Str(text) => text.clone(),
        Field::Bytes(bytes) => String::from_utf8(bytes.data().to_vec()).ok()?,
        Field::Byte(_) | Field::Short(_) | Field::Int(_) | Field::Long(_) => field.to_string(),
        Field::UByte(_) | Field::UShort(_) | Field::UInt(_) | Field::ULong(_) => field.to_string(),
        // pandas writes integer columns with nulls as floats.
        Field::Float(number) => f64::from(*number).to_string(),
        Field::Double(number) => number.to_string(),
        _ => return None,
    })
}

fn broken(error: ParquetError) -> SourceError {
    SourceError::Unusable(format!("not a readable Parquet file: {error}"))
}
