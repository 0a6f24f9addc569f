//! The gateway's two tables and their columns, described once. Lists, inserts, imports, exports and the
//! checks of `callscope doctor` take their columns from here.

pub const ID: &str = "id";
pub const TIME: &str = "request_time";
pub const MODEL: &str = "model_name";
pub const API_KEY: &str = "api_key";
pub const STATUS_CODE: &str = "status_code";
pub const LATENCY_MS: &str = "latency_ms";
pub const GEMINI_KEY: &str = "gemini_key";
pub const ERROR_TYPE: &str = "error_type";
pub const ERROR_LOG: &str = "error_log";
pub const ERROR_CODE: &str = "error_code";
pub const REQUEST_MSG: &str = "request_msg";

/// A table of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogTable {
    Calls,
    ErrorLogs,
}

/// A column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    pub kind: ColumnKind,
}

/// The kind of a column. All but flags are nullable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Naive, in the storage time zone. SQLite has a text.
    Time,
    Text,
    /// A full API key.
    Key,
    /// A number. SQLite may have a text instead.
    Number,
    /// `true` or `false`.
    Flag,
    /// JSON. SQLite may have any text.
    Json,
}

const CALLS: [Column; 6] = [
    column(TIME, ColumnKind::Time),
    column(MODEL, ColumnKind::Text),
    column(API_KEY, ColumnKind::Key),
    column("is_success", ColumnKind::Flag),
    column(STATUS_CODE, ColumnKind::Number),
    column(LATENCY_MS, ColumnKind::Number),
];
const ERROR_LOGS: [Column; 7] = [
    column(TIME, ColumnKind::Time),
    column(MODEL, ColumnKind::Text),
    column(GEMINI_KEY, ColumnKind::Key),
    column(ERROR_TYPE, ColumnKind::Text),
    column(ERROR_LOG, ColumnKind::Text),
    column(ERROR_CODE, ColumnKind::Number),
    column(REQUEST_MSG, ColumnKind::Json),
];

const fn column(name: &'static str, kind: ColumnKind) -> Column {
    Column { name, kind }
}

impl LogTable {
    pub const ALL: [Self; 2] = [Self::Calls, Self::ErrorLogs];

    /// The name in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Calls => "t_request_log",
            Self::ErrorLogs => "t_error_logs",
        }
    }

    /// The name of its rows in messages.
    pub fn rows(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::ErrorLogs => "error logs",
        }
    }

    /// All columns except for the id, in the order of inserts.
    pub fn columns(self) -> &'static [Column] {
        match self {
            Self::Calls => &CALLS,
            Self::ErrorLogs => &ERROR_LOGS,
        }
    }

    /// The column of the API key.
    pub fn key(self) -> &'static str {
        match self {
            Self::Calls => API_KEY,
            Self::ErrorLogs => GEMINI_KEY,
        }
    }
}
