//! The one error of the server. A variant is either safe to show to a client, word for word, or
//! carries a source that is only logged.

use std::sync::Arc;

use sea_orm::sqlx::error::DatabaseError;
use sea_orm::{DbErr, RuntimeErr, SqlxError, SqlxMySqlError, SqlxSqliteError};

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
    /// A batch may be stored or not: the recorder failed while it held the batch.
    #[error(
        "the recorder failed: the batch may be stored or not; send it again only with the same \
         idempotency key"
    )]
    OutcomeUnknown,
    /// A deletion by age is refused: the clock may be wrong.
    #[error("{0}")]
    DeletionRefused(String),
    /// A subscription was read more slowly than rows came; it goes on without these.
    #[error("{0} rows came faster than they were read")]
    EventsMissed(u64),
    /// The same for work that is done in steps: the message says what was done.
    #[error("{0}")]
    Unfinished(String),
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
            Self::Timeout | Self::Unfinished(_) => "TIMEOUT",
            Self::OutcomeUnknown => "OUTCOME_UNKNOWN",
            Self::DeletionRefused(_) => "DELETION_REFUSED",
            Self::EventsMissed(_) => "EVENTS_MISSED",
            Self::Internal(_) => "INTERNAL",
        }
    }
}

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        match cause(&error) {
            Cause::Database => Self::DatabaseUnavailable(Arc::new(error)),
            Cause::Stopped => Self::Timeout,
            Cause::Statement => Self::Internal(Arc::new(error)),
        }
    }
}

/// Whose fault an error of the database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// The database's: the same statement may succeed later.
    Database,
    /// Someone stopped the statement, or it met the limit of its time.
    Stopped,
    Statement,
}

fn cause(error: &DbErr) -> Cause {
    let (DbErr::Conn(RuntimeErr::SqlxError(source))
    | DbErr::Exec(RuntimeErr::SqlxError(source))
    | DbErr::Query(RuntimeErr::SqlxError(source))) = error
    else {
        let connecting = matches!(error, DbErr::ConnectionAcquire(_) | DbErr::Conn(_));
        return if connecting { Cause::Database } else { Cause::Statement };
    };
    match source.as_ref() {
        SqlxError::Io(_)
        | SqlxError::Tls(_)
        | SqlxError::Protocol(_)
        | SqlxError::PoolTimedOut
        | SqlxError::PoolClosed
        | SqlxError::WorkerCrashed => Cause::Database,
        // Whatever a server says to one who only wants to come in.
        SqlxError::Database(_) if matches!(error, DbErr::Conn(_)) => Cause::Database,
        SqlxError::Database(source) => cause_of(source.as_ref()),
        _ => Cause::Statement,
    }
}

fn cause_of(source: &dyn DatabaseError) -> Cause {
    let Some(code) = source.code() else { return Cause::Statement };
    if source.try_downcast_ref::<SqlxSqliteError>().is_some() {
        return sqlite_cause(code.parse().unwrap_or(0), source.message());
    }
    if let Some(source) = source.try_downcast_ref::<SqlxMySqlError>() {
        return mysql_cause(source.number(), &code);
    }
    postgres_cause(&code)
}

/// By the primary code, the low byte: interrupted; busy, locked, read-only, I/O error, corrupt,
/// full, cannot open, not a database; a missing table has no code of its own.
fn sqlite_cause(code: u32, message: &str) -> Cause {
    match code & 0xff {
        9 => Cause::Stopped,
        5 | 6 | 8 | 10 | 11 | 13 | 14 | 26 => Cause::Database,
        _ if message.starts_with("no such table") => Cause::Database,
        _ => Cause::Statement,
    }
}

/// By SQLSTATE: a cancelled query; connection faults (08), rejected logins (28), resources (53), an
/// operator's intervention (57P), a fault of the system (58) or its files (XX001, XX002), locks
/// that were not had, transactions that others undid (40), a read-only server, a missing table or
/// database.
fn postgres_cause(code: &str) -> Cause {
    let database =
        ["08", "28", "40", "53", "57P", "58"].iter().any(|class| code.starts_with(class))
            || matches!(code, "XX001" | "XX002" | "55P03" | "25006" | "42P01" | "3D000");
    match code {
        "57014" => Cause::Stopped,
        _ if database => Cause::Database,
        _ => Cause::Statement,
    }
}

/// By MySQL's and MariaDB's own numbers, and by SQLSTATE for connection faults (08) and missing
/// tables.
fn mysql_cause(number: u16, code: &str) -> Cause {
    match number {
        // Interrupted by KILL QUERY; over the time of a statement: MariaDB, MySQL.
        1317 | 1969 | 3024 => Cause::Stopped,
        // Full disks and files that cannot be read or written; read-only tables.
        1003 | 1016 | 1021 | 1026 | 1030 | 1034 | 1035 | 1036 | 1114 => Cause::Database,
        // Too many connections, of all, of a user, of an hour; memory; rejected logins, no database.
        1037 | 1038 | 1040 | 1041 | 1044 | 1045 | 1049 | 1129 | 1135 | 1203 | 1226 => {
            Cause::Database
        }
        // Shutting down; killed; read-only; lock wait timeout, too many locks, deadlock.
        1053 | 1077 | 1079 | 1152 | 1184 | 1205 | 1206 | 1213 | 1290 | 1792 | 1836 | 1927 => {
            Cause::Database
        }
        // Tables that are damaged or not there any more.
        1194 | 1195 | 1877 | 1932 => Cause::Database,
        _ if code.starts_with("08") || matches!(code, "42S02" | "70100") => Cause::Database,
        _ => Cause::Statement,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_the_database_are_told_from_those_of_a_statement() {
        for code in
            ["57P01", "57P03", "53300", "53100", "08006", "28P01", "42P01", "40P01", "58030"]
        {
            assert_eq!(postgres_cause(code), Cause::Database, "{code}");
        }
        for number in [1040, 1203, 1226, 1927, 1053, 1030, 1213, 1114] {
            assert_eq!(mysql_cause(number, "HY000"), Cause::Database, "{number}");
        }
        // Busy in its extended form, too.
        for code in [5, 261, 6, 8, 10, 11, 13, 14, 26] {
            assert_eq!(sqlite_cause(code, ""), Cause::Database, "{code}");
        }
        let stopped = [postgres_cause("57014"), mysql_cause(1969, "70100"), sqlite_cause(9, "")];
        assert_eq!(stopped, [Cause::Stopped; 3]);
        let ours =
            [postgres_cause("42601"), mysql_cause(1064, "42000"), sqlite_cause(1, "near \"x\"")];
        assert_eq!(ours, [Cause::Statement; 3]);
    }
}
