//! The checks of `callscope doctor`: configuration, database, tables, rights, clocks, capacity. They
//! change nothing. Each finding describes a problem and its solution.

mod access;
mod capacity;
mod clock;
mod cluster;
mod database;
mod settings;
mod tables;

use std::fmt;

use crate::clock::Clock;
use crate::config::effective::Setting;
use crate::config::{AccessConfig, DatabaseConfig, ServerConfig};
use crate::observe::redact::without_values;
use crate::store::Database;

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Ok,
    /// It works, but may be unintended.
    Warning,
    /// It does not work.
    Error,
}

/// The result of a check.
#[derive(Clone, Debug)]
pub struct Finding {
    pub level: Level,
    /// The checked subject, such as `indexes`.
    pub subject: &'static str,
    pub found: String,
    /// Empty if there is nothing to do.
    pub advice: String,
}

impl Finding {
    fn ok(subject: &'static str, found: impl Into<String>) -> Self {
        Self { level: Level::Ok, subject, found: found.into(), advice: String::new() }
    }

    fn warning(subject: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Warning, subject, found: found.into(), advice: advice.into() }
    }

    fn error(subject: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Error, subject, found: found.into(), advice: advice.into() }
    }

    /// A check that failed to run is a warning.
    fn failed(subject: &'static str, error: &crate::error::Error) -> Self {
        let cause = std::error::Error::source(error).map(|cause| without_values(&cause));
        let found = format!("could not be checked: {}", cause.unwrap_or_else(|| error.to_string()));
        Self::warning(subject, found, "")
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.level {
            Level::Ok => '✓',
            Level::Warning => '!',
            Level::Error => '✗',
        };
        write!(formatter, "{mark} {}: {}", self.subject, self.found)?;
        if !self.advice.is_empty() {
            write!(formatter, "\n    {}", self.advice)?;
        }
        Ok(())
    }
}

/// The configuration to check.
pub struct CheckInput<'a> {
    pub database: &'a DatabaseConfig,
    pub server: &'a ServerConfig,
    pub access: &'a AccessConfig,
    pub settings: &'a [Setting],
    pub clock: &'a Clock,
}

/// Runs all checks. Findings are in the order in which to fix them.
pub async fn run_checks(input: &CheckInput<'_>) -> Vec<Finding> {
    let mut findings = settings::check(input);
    let opened = database::open(input.database).await;
    let db = match opened {
        Ok(db) => db,
        Err(finding) => {
            findings.push(finding);
            return findings;
        }
    };
    findings.extend(check_database(&db, input).await);
    // Nothing was written.
    let _ = db.close().await;
    findings
}

async fn check_database(db: &Database, input: &CheckInput<'_>) -> Vec<Finding> {
    let mut findings = database::check(db, input.database).await;
    findings.extend(cluster::check(db, input.database).await);
    let tables = tables::check(db, input.database).await;
    let readable = tables.iter().all(|finding| finding.level != Level::Error);
    findings.extend(tables);
    findings.extend(access::check(db, input).await);
    findings.extend(clock::check(db, input.clock, readable).await);
    findings.extend(capacity::check(db, input.database).await);
    findings
}
