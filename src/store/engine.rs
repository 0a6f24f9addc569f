//! Which product answers as PostgreSQL or MySQL, as far as Callscope has to know it: clusters with other rules,
//! and engines that answer wrongly.

use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, Statement};

use super::dialect::Dialect;
use crate::domain::table::LogTable;
use crate::error::Error;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A single server, or one with replicas that do not change its rules.
    Plain,
    /// MariaDB or MySQL with Galera: several nodes write, and a COMMIT may fail with a conflict.
    Galera,
    GroupReplication,
    /// Tables of MariaDB that other servers store. It pushes conditions down that these evaluate differently.
    Spider,
    TiDb,
    Vitess,
    Citus,
}

impl Engine {
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "a single server",
            Self::Galera => "Galera",
            Self::GroupReplication => "Group Replication",
            Self::Spider => "Spider",
            Self::TiDb => "TiDB",
            Self::Vitess => "Vitess",
            Self::Citus => "Citus",
        }
    }

    /// Reads catalogs and variables only.
    pub(super) async fn find(connection: &DatabaseConnection) -> Result<Self, DbErr> {
        match Dialect::of(connection.get_database_backend()) {
            Dialect::Sqlite => Ok(Self::Plain),
            Dialect::Postgres => {
                let sql = "SELECT CAST(extname AS TEXT), '' FROM pg_extension \
                           WHERE extname = 'citus'";
                let citus = pairs(connection, sql).await?;
                Ok(if citus.is_empty() { Self::Plain } else { Self::Citus })
            }
            Dialect::MySql => match find_mysql(connection).await {
                // An unknown product that answers as MySQL.
                Err(error) if matches!(Error::from(error.clone()), Error::Internal(_)) => {
                    tracing::warn!(%error, "the engine of the database cannot be determined");
                    Ok(Self::Plain)
                }
                found => found,
            },
        }
    }
}

async fn find_mysql(connection: &DatabaseConnection) -> Result<Engine, DbErr> {
    // Not SHOW ... WHERE, which some of these do not know.
    let mut variables = vec![];
    for name in ["version", "wsrep_on", "wsrep_provider", "group_replication_group_name"] {
        variables.extend(pairs(connection, &format!("SHOW GLOBAL VARIABLES LIKE '{name}'")).await?);
    }
    if let Some(engine) = of_variables(&variables) {
        return Ok(engine);
    }
    let [calls, errors] = LogTable::ALL.map(LogTable::name);
    let sql = format!(
        "SELECT CAST(table_name AS CHAR), CAST(engine AS CHAR) FROM information_schema.tables \
         WHERE table_schema = DATABASE() AND table_name IN ('{calls}', '{errors}')"
    );
    let tables = pairs(connection, &sql).await?;
    let is_spider = tables.iter().any(|(_, engine)| engine.eq_ignore_ascii_case("spider"));
    Ok(if is_spider { Engine::Spider } else { Engine::Plain })
}

fn of_variables(variables: &[(String, String)]) -> Option<Engine> {
    let value = |name: &str| {
        let found = variables.iter().find(|(variable, _)| variable == name);
        found.map_or("", |(_, value)| value.as_str())
    };
    let version = value("version").to_ascii_lowercase();
    if version.contains("tidb") {
        return Some(Engine::TiDb);
    }
    if version.contains("vitess") {
        return Some(Engine::Vitess);
    }
    let has_provider = !matches!(value("wsrep_provider"), "" | "none");
    if has_provider && matches!(value("wsrep_on"), "ON" | "1") {
        return Some(Engine::Galera);
    }
    (!value("group_replication_group_name").is_empty()).then_some(Engine::GroupReplication)
}

async fn pairs(connection: &DatabaseConnection, sql: &str) -> Result<Vec<(String, String)>, DbErr> {
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    let rows = connection.query_all_raw(statement).await?;
    let pairs = rows.iter().map(|row| {
        let second: Option<String> = row.try_get_by_index(1)?;
        Ok((row.try_get_by_index(0)?, second.unwrap_or_default()))
    });
    pairs.collect()
}

/// Fails for an engine that answers wrongly.
pub(super) fn refuse(engine: Engine) -> Result<(), DbErr> {
    if engine == Engine::Spider {
        let error = "the tables are stored by Spider, which returns wrong results and acknowledges batches that are \
                     stored in part; use the database of one server, Galera, or PostgreSQL (docs/SCALING.md)";
        return Err(DbErr::Custom(error.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_recognised_by_their_variables() {
        let engine = |variables: &[(&str, &str)]| {
            let owned = variables.iter().map(|(name, value)| (name.to_string(), value.to_string()));
            of_variables(&owned.collect::<Vec<_>>())
        };
        let maria = ("version", "10.11.19-MariaDB");
        let off = [maria, ("wsrep_on", "OFF"), ("wsrep_provider", "/usr/lib/libgalera_smm.so")];
        assert_eq!(engine(&off), None);
        assert_eq!(engine(&[maria, ("wsrep_on", "ON"), ("wsrep_provider", "none")]), None);
        let on = [maria, ("wsrep_on", "ON"), ("wsrep_provider", "/usr/lib/libgalera_smm.so")];
        assert_eq!(engine(&on), Some(Engine::Galera));
        let group = [("version", "8.4.3"), ("group_replication_group_name", "a-b-c")];
        assert_eq!(engine(&group), Some(Engine::GroupReplication));
        assert_eq!(engine(&[("version", "8.0.11-TiDB-v8.5.0")]), Some(Engine::TiDb));
        assert_eq!(engine(&[("version", "8.0.30-Vitess")]), Some(Engine::Vitess));
    }
}
