//! What differs between SQLite, PostgreSQL and MySQL.

use sea_orm::DbBackend;

/// The database's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
    MySql,
}

impl Dialect {
    pub fn of(backend: DbBackend) -> Self {
        match backend {
            DbBackend::Postgres => Self::Postgres,
            DbBackend::MySql => Self::MySql,
            _ => Self::Sqlite,
        }
    }

    /// The kind of the database at `url`.
    pub fn of_url(url: &str) -> Self {
        match url.split(':').next() {
            Some("postgres" | "postgresql") => Self::Postgres,
            Some("mysql") => Self::MySql,
            _ => Self::Sqlite,
        }
    }
}
