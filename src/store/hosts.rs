//! A database URL with several hosts, as libpq reads it: `postgres://user@one:5432,two:5432/db`. Connections
//! use the first host that fits `target_session_attrs`. After a failure the hosts are tried again: so the
//! server finds the new primary after a promotion.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use sea_orm::sqlx::{Connection, MySqlConnection, PgConnection, query_scalar};
use sea_orm::{DbErr, RuntimeErr, SqlxError};
use tokio::time::timeout;

use super::dialect::Dialect;
use crate::config::DatabaseConfig;

/// Time limit for an answer of one host.
const HOST_TIMEOUT: Duration = Duration::from_secs(3);

/// Which of the hosts to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    /// A standby, or any host without one.
    PreferStandby,
}

impl Target {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "any" => Self::Any,
            "read-write" => Self::ReadWrite,
            "read-only" => Self::ReadOnly,
            "primary" => Self::Primary,
            "standby" => Self::Standby,
            "prefer-standby" => Self::PreferStandby,
            _ => return None,
        })
    }

    /// A statement that returns 1 on a host that fits.
    fn check(self, dialect: Dialect) -> &'static str {
        match (dialect, self) {
            (Dialect::Postgres, Self::ReadWrite) => {
                "SELECT CASE WHEN NOT pg_is_in_recovery() AND \
                 current_setting('default_transaction_read_only') = 'off' THEN 1 ELSE 0 END"
            }
            (Dialect::Postgres, Self::ReadOnly) => {
                "SELECT CASE WHEN pg_is_in_recovery() OR \
                 current_setting('default_transaction_read_only') = 'on' THEN 1 ELSE 0 END"
            }
            (Dialect::Postgres, Self::Primary) => {
                "SELECT CASE WHEN pg_is_in_recovery() THEN 0 ELSE 1 END"
            }
            (Dialect::Postgres, Self::Standby | Self::PreferStandby) => {
                "SELECT CASE WHEN pg_is_in_recovery() THEN 1 ELSE 0 END"
            }
            (Dialect::MySql, Self::ReadWrite | Self::Primary) => {
                "SELECT CAST(@@GLOBAL.read_only = 0 AS SIGNED)"
            }
            (Dialect::MySql, Self::ReadOnly | Self::Standby | Self::PreferStandby) => {
                "SELECT CAST(@@GLOBAL.read_only <> 0 AS SIGNED)"
            }
            // A node of a cluster without a majority rejects it.
            (Dialect::MySql, Self::Any) => "SELECT CAST(1 AS SIGNED)",
            _ => "SELECT 1",
        }
    }
}

/// The hosts of a URL. One host needs no check: a connection to it fails or not.
#[derive(Debug)]
pub(super) struct Hosts {
    dialect: Dialect,
    /// One URL for each host.
    urls: Vec<String>,
    target: Target,
    /// The host of the latest connection.
    current: Mutex<Option<String>>,
}

impl Hosts {
    /// Fails for a URL with an unknown `target_session_attrs`.
    pub(super) fn of(config: &DatabaseConfig) -> Result<Self, DbErr> {
        let url = config.database_url.expose();
        let default = if config.read_only { Target::Any } else { Target::ReadWrite };
        let (urls, target) = split(url, default).map_err(DbErr::Custom)?;
        Ok(Self { dialect: Dialect::of_url(url), urls, target, current: Mutex::default() })
    }

    /// A statement that returns 1 on a host that fits; None for a single host.
    pub(super) fn check(&self) -> Option<&'static str> {
        let wanted = self.target != Target::PreferStandby;
        (self.are_several() && wanted).then(|| self.target.check(self.dialect))
    }

    pub(super) fn are_several(&self) -> bool {
        self.urls.len() > 1
    }

    /// The URL of the host that connections use now; of the first one before a check.
    pub(super) fn current(&self) -> String {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let first = self.urls.first().cloned();
        current.clone().or(first).unwrap_or_default()
    }

    /// Finds a host that fits, and makes it the current one.
    pub(super) async fn find(&self) -> Result<String, DbErr> {
        if !self.are_several() {
            return Ok(self.current());
        }
        let found = match self.first_that_fits(self.target).await {
            Err(_) if self.target == Target::PreferStandby => {
                self.first_that_fits(Target::Any).await?
            }
            found => found?,
        };
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| *current != found) {
            tracing::warn!(host = host(&found), "connecting to another database host");
        }
        *current = Some(found.clone());
        Ok(found)
    }

    async fn first_that_fits(&self, target: Target) -> Result<String, DbErr> {
        let mut last = None;
        for url in &self.urls {
            let asked = timeout(HOST_TIMEOUT, self.ask(url, target)).await;
            match asked.unwrap_or(Err(SqlxError::PoolTimedOut)) {
                Ok(1) => return Ok(url.clone()),
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(host = host(url), %error, "a database host does not answer");
                    last = Some(error);
                }
            }
        }
        let none = || {
            let text = "no host of the database URL has the wanted target_session_attrs";
            SqlxError::Protocol(text.to_owned())
        };
        Err(DbErr::Conn(RuntimeErr::SqlxError(last.unwrap_or_else(none).into())))
    }

    async fn ask(&self, url: &str, target: Target) -> Result<i64, SqlxError> {
        let sql = target.check(self.dialect);
        match self.dialect {
            Dialect::Postgres => {
                let mut connection = PgConnection::connect(url).await?;
                let fits: i32 = query_scalar(sql).fetch_one(&mut connection).await?;
                connection.close().await?;
                Ok(fits.into())
            }
            _ => {
                let mut connection = MySqlConnection::connect(url).await?;
                let fits: i64 = query_scalar(sql).fetch_one(&mut connection).await?;
                connection.close().await?;
                Ok(fits)
            }
        }
    }
}

/// The host and port of a URL of one host, without a password.
pub(super) fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// Splits a URL into one for each host, without `target_session_attrs`, which sqlx does not know.
pub(super) fn split(url: &str, default: Target) -> Result<(Vec<String>, Target), String> {
    if Dialect::of_url(url) == Dialect::Sqlite {
        return Ok((vec![url.to_owned()], Target::Any));
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        return Ok((vec![url.to_owned()], Target::Any));
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    // A password may contain a comma; hosts follow the last `@`.
    let (user, hosts) = match authority.rfind('@') {
        Some(at) => authority.split_at(at + 1),
        None => ("", authority),
    };
    let mut target = default;
    let mut parameters = vec![];
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.strip_prefix("target_session_attrs=") {
            Some(value) => {
                target = Target::parse(value).ok_or_else(|| {
                    format!(
                        "target_session_attrs is `{value}`; it must be any, read-write, read-only, primary, \
                         standby or prefer-standby"
                    )
                })?;
            }
            None => parameters.push(parameter),
        }
    }
    let query =
        if parameters.is_empty() { String::new() } else { format!("?{}", parameters.join("&")) };
    let urls = hosts.split(',').map(|host| format!("{scheme}://{user}{host}{path}{query}"));
    Ok((urls.collect(), target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_one_or_several_hosts() {
        let split = |url| split(url, Target::ReadWrite);
        let several = "postgres://u:a,b%40@one:1,two:2,[::1]:3/db?sslmode=disable&target_session_attrs=primary&x=1";
        let (urls, target) = split(several).unwrap();
        assert_eq!(target, Target::Primary);
        assert_eq!(
            urls,
            ["one:1", "two:2", "[::1]:3"]
                .map(|host| format!("postgres://u:a,b%40@{host}/db?sslmode=disable&x=1"))
        );
        assert_eq!(host(&urls[0]), "one:1");
        let single = "mysql://u@one/db";
        assert_eq!(split(single).unwrap(), (vec![single.to_owned()], Target::ReadWrite));
        let file = "sqlite://a,b@c/d.db?mode=ro";
        assert_eq!(split(file).unwrap(), (vec![file.to_owned()], Target::Any));
        assert!(split("postgres://one,two/db?target_session_attrs=x").is_err());
        assert_eq!(split("postgres://one,two").unwrap().0, ["postgres://one", "postgres://two"]);
    }
}
