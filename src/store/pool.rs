//! How the pools of connections are used.

use sea_orm::DatabaseConnection;
use sea_orm::sqlx::{Database, Pool};

use super::dialect::Dialect;

/// How many connections a pool has.
#[derive(Clone, Copy, Debug)]
pub struct PoolState {
    pub name: &'static str,
    pub most: u32,
    pub open: u32,
    pub idle: u32,
}

impl PoolState {
    pub(super) fn of(
        name: &'static str,
        connection: &DatabaseConnection,
        dialect: Dialect,
    ) -> Self {
        let (most, open, idle) = match dialect {
            Dialect::Sqlite => counts(connection.get_sqlite_connection_pool()),
            Dialect::Postgres => counts(connection.get_postgres_connection_pool()),
            Dialect::MySql => counts(connection.get_mysql_connection_pool()),
        };
        Self { name, most, open, idle: u32::try_from(idle).unwrap_or(u32::MAX) }
    }
}

fn counts<D: Database>(pool: &Pool<D>) -> (u32, u32, usize) {
    (pool.options().get_max_connections(), pool.size(), pool.num_idle())
}
