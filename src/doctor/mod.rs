//! What `callscope doctor` checks: configuration, database, tables, rights, clocks, room. It changes
//! nothing. Each check says what it found and, where that is no good, what to do.

mod access;
mod clock;
mod database;
mod room;
mod settings;
mod tables;

use std::fmt;

use crate::clock::Clock;
use crate::config::effective::Setting;
use crate::config::{AccessConfig, DatabaseConfig, ServerConfig};
use crate::observe::redact::without_values;
use crate::store::Database;

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Good,
    /// It works, and may not be what is wanted.
    Doubtful,
    /// It does not work.
    Bad,
}

/// One thing that was found.
#[derive(Clone, Debug)]
pub struct Finding {
    pub level: Level,
    /// What was looked at: `indexes`.
    pub subject: &'static str,
    pub found: String,
    /// Empty where nothing is to be done.
    pub advice: String,
}

impl Finding {
    fn good(subject: &'static str, found: impl Into<String>) -> Self {
        Self { level: Level::Good, subject, found: found.into(), advice: String::new() }
    }

    fn doubtful(
        subject: &'static str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { level: Level::Doubtful, subject, found: found.into(), advice: advice.into() }
    }

    fn bad(subject: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Bad, subject, found: found.into(), advice: advice.into() }
    }

    /// A check that could not be made is no good news either.
    fn failed(subject: &'static str, error: &crate::error::Error) -> Self {
        let cause = std::error::Error::source(error).map(|cause| without_values(&cause));
        let found = format!("could not be checked: {}", cause.unwrap_or_else(|| error.to_string()));
        Self::doubtful(subject, found, "")
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.level {
            Level::Good => '✓',
            Level::Doubtful => '!',
            Level::Bad => '✗',
        };
        write!(formatter, "{mark} {}: {}", self.subject, self.found)?;
        if !self.advice.is_empty() {
            write!(formatter, "\n    {}", self.advice)?;
        }
        Ok(())
    }
}

/// What is to be checked.
pub struct Patient<'a> {
    pub database: &'a DatabaseConfig,
    pub server: &'a ServerConfig,
    pub access: &'a AccessConfig,
    pub settings: &'a [Setting],
    pub clock: &'a Clock,
}

/// All findings, in the order in which they are best put right.
pub async fn examine(patient: &Patient<'_>) -> Vec<Finding> {
    let mut findings = settings::check(patient);
    let opened = database::open(patient.database).await;
    let db = match opened {
        Ok(db) => db,
        Err(finding) => {
            findings.push(finding);
            return findings;
        }
    };
    findings.extend(examine_database(&db, patient).await);
    // Nothing was written, so nothing can be lost.
    let _ = db.close().await;
    findings
}

async fn examine_database(db: &Database, patient: &Patient<'_>) -> Vec<Finding> {
    let mut findings = database::check(db, patient.database).await;
    let tables = tables::check(db, patient.database).await;
    let readable = tables.iter().all(|finding| finding.level != Level::Bad);
    findings.extend(tables);
    findings.extend(access::check(db, patient).await);
    findings.extend(clock::check(db, patient.clock, readable).await);
    findings.extend(room::check(db, patient.database).await);
    findings
}
