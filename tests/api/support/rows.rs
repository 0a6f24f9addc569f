//! Rows in the form of a gateway: builders with defaults, so that a test sets only what matters to it.

use chrono::{DateTime, Utc};

use super::database::Kind;
use super::logs;

/// The SQL NULL, for every setter: `.status(NULL)`.
pub const NULL: Cell = Cell::Null;

/// The value of a column. SQLite accepts a text in any column, as gateways write it:
/// `.status("Server disconnected")`.
#[derive(Clone, Debug)]
pub enum Cell {
    Null,
    Number(i64),
    Truth(bool),
    Text(String),
}

impl From<i32> for Cell {
    fn from(number: i32) -> Self {
        Self::Number(number.into())
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// A time in its stored form: naive, six digits. Naive means the wall clock of the storage time zone.
impl From<DateTime<Utc>> for Cell {
    fn from(time: DateTime<Utc>) -> Self {
        Self::Text(time.format("%Y-%m-%d %H:%M:%S%.6f").to_string())
    }
}

impl Cell {
    fn sql(&self, kind: Kind) -> String {
        match self {
            Self::Null => "NULL".into(),
            Self::Number(number) => number.to_string(),
            Self::Truth(truth) if kind == Kind::Postgres => truth.to_string(),
            Self::Truth(truth) => u8::from(*truth).to_string(),
            Self::Text(text) => {
                let text = text.replace('\'', "''");
                // Only MariaDB interprets backslashes in a text.
                let text = if kind == Kind::MariaDb { text.replace('\\', "\\\\") } else { text };
                format!("'{text}'")
            }
        }
    }
}

/// An instant such as `2026-03-01T12:00:00Z`.
fn instant(time: &str) -> Cell {
    let time: DateTime<Utc> = time.parse().unwrap_or_else(|error| panic!("{time}: {error}"));
    time.into()
}

/// The setters of columns: `.status(429)`, `.log(NULL)`.
macro_rules! setters {
    ($($column:ident),*) => {
        $(pub fn $column(self, $column: impl Into<Cell>) -> Self {
            Self { $column: $column.into(), ..self }
        })*
    };
}

/// A row of `t_request_log`: by default a call with `key` to `model` that took 100 ms and
/// succeeded with 200.
#[derive(Clone, Debug)]
pub struct CallRow {
    id: Option<i32>,
    time: Cell,
    model: Cell,
    key: Cell,
    success: Option<bool>,
    status: Cell,
    latency: Cell,
}

impl CallRow {
    pub fn at(time: &str) -> Self {
        Self::at_stored(instant(time))
    }

    /// At a `DateTime<Utc>`, at NULL, or (SQLite) at any text.
    pub fn at_stored(time: impl Into<Cell>) -> Self {
        Self {
            id: None,
            time: time.into(),
            model: "model".into(),
            key: "key".into(),
            success: None,
            status: 200.into(),
            latency: 100.into(),
        }
    }

    /// PostgreSQL's sequence ignores ids that are set: set them for all rows or for none.
    pub fn id(self, id: i32) -> Self {
        Self { id: Some(id), ..self }
    }

    setters!(key, model, status, latency);

    /// `is_success`, which by default follows the status.
    pub fn success(self, success: bool) -> Self {
        Self { success: Some(success), ..self }
    }
}

/// A row of `t_error_logs`: by default a 429 of `key` for `model`, with a message and no request.
#[derive(Clone, Debug)]
pub struct ErrorRow {
    id: Option<i32>,
    key: Cell,
    model: Cell,
    error_type: Cell,
    log: Cell,
    code: Cell,
    /// JSON text.
    request: Cell,
    time: Cell,
}

impl ErrorRow {
    pub fn at(time: &str) -> Self {
        Self::at_stored(instant(time))
    }

    /// At a `DateTime<Utc>`, at NULL, or (SQLite) at any text.
    pub fn at_stored(time: impl Into<Cell>) -> Self {
        Self {
            id: None,
            key: "key".into(),
            model: "model".into(),
            error_type: "gemini-chat-stream".into(),
            log: "quota exceeded".into(),
            code: 429.into(),
            request: "null".into(),
            time: time.into(),
        }
    }

    /// PostgreSQL's sequence ignores ids that are set: set them for all rows or for none.
    pub fn id(self, id: i32) -> Self {
        Self { id: Some(id), ..self }
    }

    setters!(key, model, error_type, log, code, request);
}

/// A row with its table.
pub trait Insert {
    const TABLE: &str;
    const COLUMNS: &str;

    fn id(&self) -> Option<i32>;

    /// In the order of `COLUMNS`.
    fn cells(&self) -> Vec<Cell>;

    /// The texts that no log may show: the key, the request and the message.
    fn secrets(&self) -> Vec<&Cell>;
}

/// Forbids all servers to log the secrets of this row.
pub(super) fn forbid_logging(row: &impl Insert) {
    for cell in row.secrets() {
        if let Cell::Text(text) = cell {
            logs::never_log(text);
        }
    }
}

impl Insert for CallRow {
    const TABLE: &str = "t_request_log";
    const COLUMNS: &str = "request_time, model_name, api_key, is_success, status_code, latency_ms";

    fn id(&self) -> Option<i32> {
        self.id
    }

    fn cells(&self) -> Vec<Cell> {
        let answered = matches!(self.status, Cell::Number(200..=299));
        vec![
            self.time.clone(),
            self.model.clone(),
            self.key.clone(),
            Cell::Truth(self.success.unwrap_or(answered)),
            self.status.clone(),
            self.latency.clone(),
        ]
    }

    fn secrets(&self) -> Vec<&Cell> {
        vec![&self.key]
    }
}

impl Insert for ErrorRow {
    const TABLE: &str = "t_error_logs";
    const COLUMNS: &str =
        "gemini_key, model_name, error_type, error_log, error_code, request_msg, request_time";

    fn id(&self) -> Option<i32> {
        self.id
    }

    fn cells(&self) -> Vec<Cell> {
        vec![
            self.key.clone(),
            self.model.clone(),
            self.error_type.clone(),
            self.log.clone(),
            self.code.clone(),
            self.request.clone(),
            self.time.clone(),
        ]
    }

    fn secrets(&self) -> Vec<&Cell> {
        vec![&self.key, &self.log, &self.request]
    }
}

/// One statement per 500 rows.
pub(super) fn inserts<T: Insert>(rows: &[T], kind: Kind) -> Vec<String> {
    let alike = rows.chunk_by(|one, next| one.id().is_some() == next.id().is_some());
    alike.flat_map(|rows| rows.chunks(500)).map(|rows| insert(rows, kind)).collect()
}

fn insert<T: Insert>(rows: &[T], kind: Kind) -> String {
    let tuple = |row: &T| {
        let id = row.id().map(Cell::from);
        let cells: Vec<String> = id.iter().chain(&row.cells()).map(|cell| cell.sql(kind)).collect();
        format!("({})", cells.join(", "))
    };
    let id = if rows.iter().any(|row| row.id().is_some()) { "id, " } else { "" };
    let tuples: Vec<String> = rows.iter().map(tuple).collect();
    format!("INSERT INTO {} ({id}{}) VALUES {}", T::TABLE, T::COLUMNS, tuples.join(", "))
}
