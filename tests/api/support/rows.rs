//! Rows in the form of a gateway: builders with defaults, so that a test sets only what matters to it.

use chrono::{DateTime, Utc};

use super::database::Kind;
use super::logs;

/// The months on another server, if there is one. A real move would refuse them at the time of the tests, but most tests
/// insert rows of the last hour.
pub(super) const MOVED_MONTHS: [&str; 3] = ["2026-01", "2026-02", "2026-03"];
const AFTER_MOVED_MONTHS: &str = "2026-04";

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
    const KEY: &str;
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
    const KEY: &str = "api_key";
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
    const KEY: &str = "gemini_key";
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

/// The table with the months of a gateway's table on another server.
pub(super) fn moved_months(table: &str) -> Option<&'static str> {
    match table {
        CallRow::TABLE => Some("callscope_moved_calls"),
        ErrorRow::TABLE => Some("callscope_moved_error_logs"),
        _ => None,
    }
}

/// The statements that move the rows of this transaction that are of moved months, except for the first row of each key:
/// the keys are those of rows on this server. These rows are like those that arrive after a move.
pub(super) fn to_moved_months<T: Insert>() -> String {
    let (table, key) = (T::TABLE, T::KEY);
    let moved = moved_months(table).expect("a table of the gateway");
    let [since, until] = [MOVED_MONTHS[0], AFTER_MOVED_MONTHS].map(|month| format!("'{month}-01'"));
    format!(
        "WITH moved AS (DELETE FROM {table} WHERE xmin = CAST(pg_current_xact_id() AS xid) \
         AND id > (SELECT MIN(id) FROM {table} AS first WHERE first.{key} IS NOT DISTINCT FROM {table}.{key}) \
         AND request_time >= {since} AND request_time < {until} RETURNING *) \
         INSERT INTO {moved} SELECT * FROM moved RETURNING id; \
         DO $count$ DECLARE month REGCLASS; number BIGINT; BEGIN \
         FOR month IN SELECT inhrelid FROM pg_inherits WHERE inhparent = CAST('{moved}' AS REGCLASS) LOOP \
         EXECUTE format('SELECT COUNT(*) FROM %s', month) INTO number; \
         EXECUTE format('COMMENT ON FOREIGN TABLE %s IS %L', month, format('callscope: %s rows', number)); \
         END LOOP; END $count$"
    )
}
