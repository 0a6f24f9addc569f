//! The error type of the server. The message of a variant is safe to show to a client; a source is only
//! logged.

use std::borrow::Cow;
use std::sync::Arc;

use sea_orm::sqlx::error::DatabaseError;
use sea_orm::{DbErr, RuntimeErr, SqlxError, SqlxMySqlError, SqlxSqliteError};

/// Errors, grouped by how the caller can react.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// An input of the caller is invalid; `argument` names it.
    #[error("{message}")]
    BadInput { argument: &'static str, message: String },
    /// An object with the given id does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The request has no valid token.
    #[error("authentication required: send a valid token as `Authorization: Bearer TOKEN`")]
    Unauthenticated,
    /// The caller does not have the required scope.
    #[error("{0}")]
    Forbidden(String),
    /// The database is unavailable or overloaded; a retry may succeed.
    #[error("the database is unavailable")]
    DatabaseUnavailable(#[source] Arc<DbErr>),
    /// A server that has some of the rows is unavailable; a retry may succeed.
    #[error("{0}")]
    MonthsUnavailable(String),
    /// The server is overloaded; a retry may succeed.
    #[error("the server is busy; retry after one second")]
    Busy,
    /// What the answer needs is not yet prepared; a later retry succeeds.
    #[error("{0}")]
    NotReady(String),
    /// The response would be larger than this number of bytes.
    #[error(
        "the response exceeds {0} bytes or the memory limit of responses: request a smaller page, fewer \
         fields or fewer aliases"
    )]
    ResponseTooLarge(u64),
    /// The request timed out.
    #[error("the request timed out")]
    Timeout,
    /// The recorder failed while it processed the batch: the batch may or may not be stored.
    #[error(
        "the recorder failed: the batch may or may not be stored; retry only with the same idempotency \
         key"
    )]
    OutcomeUnknown,
    /// A deletion by age is rejected because the clock may be wrong.
    #[error("{0}")]
    DeletionRefused(String),
    /// A subscriber read too slowly; it continues without these rows.
    #[error("{0} rows were skipped because the subscriber read too slowly")]
    EventsMissed(u64),
    /// Work in steps timed out; the message reports the completed part.
    #[error("{0}")]
    Unfinished(String),
    /// A fault of the server or of the stored data. The log has the details.
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

    /// The stable error code for clients; texts may change.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadInput { .. } => "BAD_USER_INPUT",
            Self::NotFound(_) => "NOT_FOUND",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Forbidden(_) => "FORBIDDEN",
            Self::DatabaseUnavailable(_) | Self::MonthsUnavailable(_) => "DATABASE_UNAVAILABLE",
            Self::Busy | Self::NotReady(_) => "SERVER_BUSY",
            Self::Timeout | Self::Unfinished(_) => "TIMEOUT",
            Self::OutcomeUnknown => "OUTCOME_UNKNOWN",
            Self::DeletionRefused(_) => "DELETION_REFUSED",
            Self::ResponseTooLarge(_) => "RESPONSE_TOO_LARGE",
            Self::EventsMissed(_) => "EVENTS_MISSED",
            Self::Internal(_) => "INTERNAL",
        }
    }
}

impl Error {
    /// Whether another transaction caused the error: a deadlock, a serialization failure or a lock timeout.
    /// The transaction can be rolled back and retried.
    pub fn is_conflict(&self) -> bool {
        match answer(self) {
            Some(Answer::Postgres(code)) => matches!(code.as_ref(), "40001" | "40P01"),
            // A deadlock; a lock wait timeout, which rolls back only its statement; MariaDB's
            // "record has changed since last read"; a conflict of Group Replication.
            Some(Answer::MySql(number)) => matches!(number, 1213 | 1205 | 1020 | 3101),
            _ => false,
        }
    }

    /// Whether the database reports that it rolled back the whole transaction.
    pub fn is_rolled_back(&self) -> bool {
        match answer(self) {
            Some(Answer::Postgres(code)) => matches!(code.as_ref(), "40001" | "40P01"),
            Some(Answer::MySql(number)) => matches!(number, 1213 | 3101),
            _ => false,
        }
    }

    /// Whether the connection failed, rather than a statement.
    pub fn has_lost_connection(&self) -> bool {
        matches!(self, Self::DatabaseUnavailable(_)) && answer(self).is_none()
    }

    /// Whether a standby of PostgreSQL cancelled a reading statement, or its session, because of a conflict
    /// with recovery. The statement can be repeated.
    pub fn is_recovery_conflict(&self) -> bool {
        match answer(self) {
            Some(Answer::Postgres(code)) => matches!(code.as_ref(), "40001" | "40P01" | "57P01"),
            _ => false,
        }
    }

    /// Whether a statement of PostgreSQL waited too long for a lock.
    pub fn is_lock_timeout(&self) -> bool {
        matches!(answer(self), Some(Answer::Postgres(code)) if code == "55P03")
    }

    /// Whether the server of the database failed, rather than the statement: a statement that needs too much memory or
    /// disk would need as much on another server.
    pub fn has_failed_host(&self) -> bool {
        let needs_much = match answer(self) {
            Some(Answer::Postgres(code)) => matches!(code.as_ref(), "53100" | "53200" | "53400"),
            _ => false,
        };
        matches!(self, Self::DatabaseUnavailable(_))
            && !needs_much
            && self.unconnected_server().is_none()
    }

    /// The message of PostgreSQL about another server that it cannot reach.
    pub fn unconnected_server(&self) -> Option<&str> {
        match answer(self) {
            Some(Answer::Postgres(code)) if matches!(code.as_ref(), "08001" | "08006") => {
                reported(self).map(DatabaseError::message)
            }
            _ => None,
        }
    }

    /// Whether another server made the same change of the schema at once, or conflicted with it: the change can
    /// be repeated for what is still missing.
    pub fn is_concurrent_change(&self) -> bool {
        match answer(self) {
            // A table, column or index exists; a row of the applied steps exists; the definition of a table
            // has changed.
            Some(Answer::MySql(number)) => {
                matches!(number, 1050 | 1060 | 1061 | 1062 | 1412) || self.is_conflict()
            }
            Some(_) => false,
            // A row that was read before has changed.
            None => database_error(self) == Some(&DbErr::RecordNotUpdated),
        }
    }

    /// Whether the database rejected the statement itself.
    pub fn is_refused_statement(&self) -> bool {
        matches!(self, Self::Internal(_)) && answer(self).is_some()
    }
}

/// An error that the database itself reported.
enum Answer<'a> {
    Sqlite,
    Postgres(Cow<'a, str>),
    MySql(u16),
}

fn database_error(error: &Error) -> Option<&DbErr> {
    match error {
        Error::DatabaseUnavailable(error) => Some(error),
        Error::Internal(source) => source.downcast_ref::<DbErr>(),
        _ => None,
    }
}

/// The error that the database reported.
fn reported(error: &Error) -> Option<&dyn DatabaseError> {
    let error = database_error(error)?;
    let (DbErr::Exec(RuntimeErr::SqlxError(source)) | DbErr::Query(RuntimeErr::SqlxError(source))) =
        error
    else {
        return None;
    };
    match source.as_ref() {
        SqlxError::Database(source) => Some(source.as_ref()),
        _ => None,
    }
}

fn answer(error: &Error) -> Option<Answer<'_>> {
    let source = reported(error)?;
    if source.try_downcast_ref::<SqlxSqliteError>().is_some() {
        return Some(Answer::Sqlite);
    }
    match source.try_downcast_ref::<SqlxMySqlError>() {
        Some(source) => Some(Answer::MySql(source.number())),
        None => source.code().map(Answer::Postgres),
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

/// The cause of a database error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// The database: the same statement may succeed later.
    Database,
    /// The statement was cancelled or timed out.
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
        // Any error while connecting.
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

/// By the primary code, the low byte: interrupted; busy, locked, read-only, I/O error, corrupt, full,
/// cannot open, not a database. A missing table has no separate code.
fn sqlite_cause(code: u32, message: &str) -> Cause {
    match code & 0xff {
        9 => Cause::Stopped,
        5 | 6 | 8 | 10 | 11 | 13 | 14 | 26 => Cause::Database,
        _ if message.starts_with("no such table") => Cause::Database,
        _ => Cause::Statement,
    }
}

/// By SQLSTATE: a cancelled query; connection faults (08), rejected logins (28), resources (53), operator
/// intervention (57P), faults of the system (58), of its files or of the server itself (XX), unavailable locks,
/// rolled back transactions (40), a read-only server, a missing table or database. Citus has XX000 for a worker
/// that fails during a COMMIT: the rows may be stored.
fn postgres_cause(code: &str) -> Cause {
    let database =
        ["08", "28", "40", "53", "57P", "58", "XX"].iter().any(|class| code.starts_with(class))
            || matches!(code, "55P03" | "25006" | "42P01" | "3D000");
    match code {
        "57014" => Cause::Stopped,
        _ if database => Cause::Database,
        _ => Cause::Statement,
    }
}

/// By the error numbers of MySQL and MariaDB, and by SQLSTATE for connection faults (08) and missing tables.
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
        // A record that changed since it was read; shutting down; killed; read-only; lock wait timeout,
        // too many locks, deadlock.
        1020 | 1053 | 1077 | 1079 | 1152 | 1184 | 1205 | 1206 | 1213 | 1290 | 1792 | 1836
        | 1927 => Cause::Database,
        // A node of a cluster without a majority: refused statements, failed commits.
        1047 | 1180 | 3100 | 3101 => Cause::Database,
        // Damaged or missing tables.
        1194 | 1195 | 1877 | 1932 => Cause::Database,
        _ if code.starts_with("08") || matches!(code, "42S02" | "70100") => Cause::Database,
        _ => Cause::Statement,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn database_faults_and_statement_faults_are_distinguished() {
        for code in [
            "57P01", "57P03", "53300", "53100", "08006", "28P01", "42P01", "40P01", "58030",
            "XX000",
        ] {
            assert_eq!(postgres_cause(code), Cause::Database, "{code}");
        }
        for number in [1040, 1203, 1226, 1927, 1053, 1030, 1213, 1114, 1047, 1180, 3101] {
            assert_eq!(mysql_cause(number, "HY000"), Cause::Database, "{number}");
        }
        // Including the extended code of busy.
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
