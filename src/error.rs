//! The one error of the server. A variant is either safe to show to a client, word for word, or
//! carries a source that is only logged.

use std::sync::Arc;

use sea_orm::{DbErr, RuntimeErr, SqlxError};

/// What went wrong, sorted by what the caller can do about it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The caller's input is wrong; `argument` names it.
    #[error("{message}")]
    BadInput { argument: &'static str, message: String },
    /// A thing that was named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The request brings no token, or one that does not hold.
    #[error("a token that holds is needed: send `Authorization: Bearer TOKEN`")]
    Unauthenticated,
    /// The caller may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// The database is out of reach or too busy; the same request may succeed later.
    #[error("the database is unavailable")]
    DatabaseUnavailable(#[source] Arc<DbErr>),
    /// More is asked of the server than it takes on at once; the same request may succeed later.
    #[error("the server is busy; try again in a second")]
    Busy,
    /// The request took longer than the server allows.
    #[error("the request took longer than the server allows")]
    Timeout,
    /// A fault of ours or of the stored data. Only its source, in the log, tells more.
    #[error("internal error")]
    Internal(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn bad_input(argument: &'static str, message: impl Into<String>) -> Self {
        Self::BadInput { argument, message: message.into() }
    }

    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(Arc::from(source.into()))
    }

    /// The code that clients match on, never the text.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadInput { .. } => "BAD_USER_INPUT",
            Self::NotFound(_) => "NOT_FOUND",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Forbidden(_) => "FORBIDDEN",
            Self::DatabaseUnavailable(_) => "DATABASE_UNAVAILABLE",
            Self::Busy => "SERVER_BUSY",
            Self::Timeout => "TIMEOUT",
            Self::Internal(_) => "INTERNAL",
        }
    }
}

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        if is_unavailable(&error) {
            Self::DatabaseUnavailable(Arc::new(error))
        } else {
            Self::Internal(Arc::new(error))
        }
    }
}

/// Whether the database, rather than the statement, is at fault.
fn is_unavailable(error: &DbErr) -> bool {
    let (DbErr::Conn(RuntimeErr::SqlxError(source))
    | DbErr::Exec(RuntimeErr::SqlxError(source))
    | DbErr::Query(RuntimeErr::SqlxError(source))) = error
    else {
        return matches!(error, DbErr::ConnectionAcquire(_) | DbErr::Conn(_));
    };
    match source.as_ref() {
        SqlxError::Io(_)
        | SqlxError::Tls(_)
        | SqlxError::Protocol(_)
        | SqlxError::PoolTimedOut
        | SqlxError::PoolClosed
        | SqlxError::WorkerCrashed => true,
        SqlxError::Database(source) => {
            source.code().is_some_and(|code| is_unavailable_code(source.as_ref(), &code))
        }
        _ => false,
    }
}

/// MySQL's faults that have no SQLSTATE of their own: lock wait timeout, server shutdown, read-only.
const MYSQL_UNAVAILABLE: [u16; 3] = [1205, 1053, 1290];

/// PostgreSQL: SQLSTATE of connection faults (08), lack of resources (53), an operator's
/// intervention (57P) and missing objects (42P01); MySQL: its connection faults, and a missing
/// table (42S02); SQLite: busy, locked, I/O error, full, cannot open, not a database, corrupt,
/// and a missing table, which has no code of its own.
fn is_unavailable_code(source: &dyn sea_orm::sqlx::error::DatabaseError, code: &str) -> bool {
    if source.try_downcast_ref::<sea_orm::SqlxSqliteError>().is_some() {
        let primary = code.parse::<u32>().unwrap_or(0) & 0xff;
        return matches!(primary, 5 | 6 | 10 | 11 | 13 | 14 | 26)
            || source.message().starts_with("no such table");
    }
    if let Some(source) = source.try_downcast_ref::<sea_orm::SqlxMySqlError>()
        && MYSQL_UNAVAILABLE.contains(&source.number())
    {
        return true;
    }
    ["08", "53", "57P"].iter().any(|class| code.starts_with(class))
        || matches!(code, "42P01" | "42S02" | "70100" | "08S01" | "08004")
}
