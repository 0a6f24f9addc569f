//! The gateway's two tables.

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogTable {
    Calls,
    ErrorLogs,
}

impl LogTable {
    pub const ALL: [Self; 2] = [Self::Calls, Self::ErrorLogs];

    /// As the database knows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Calls => "t_request_log",
            Self::ErrorLogs => "t_error_logs",
        }
    }

    /// What its rows are, for people.
    pub fn rows(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::ErrorLogs => "error logs",
        }
    }
}
