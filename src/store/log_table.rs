//! The gateway's two tables.

/// A table of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogTable {
    Calls,
    ErrorLogs,
}

impl LogTable {
    pub const ALL: [Self; 2] = [Self::Calls, Self::ErrorLogs];

    /// The name in the database.
    pub fn name(self) -> &'static str {
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
}
