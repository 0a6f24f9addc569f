//! The database: whether it answers, its version, its durability, and the file of SQLite.

use std::fs::OpenOptions;
use std::path::Path;

use super::Finding;
use crate::config::DatabaseConfig;
use crate::error::Error;
use crate::observe::redact::without_values;
use crate::store::dialect::Dialect;
use crate::store::{Database, demo, inspect};

/// Opens the database without creating a table, index or file.
pub(super) async fn open(config: &DatabaseConfig) -> Result<Database, Finding> {
    let dialect = Dialect::of_url(config.database_url.expose());
    if let Ok(Some(file)) = demo::sqlite_file(config)
        && !file.exists()
    {
        let found = format!("the file {} does not exist", file.display());
        let advice = "set --database-url sqlite://FILE to the gateway's file; `callscope migrate` \
                      creates an empty database";
        return Err(Finding::error("database", found, advice));
    }
    Database::open_for_checks(config).await.map_err(|error| {
        let cause = match &error {
            Error::DatabaseUnavailable(source) => without_values(source),
            Error::Internal(source) => without_values(source),
            other => other.to_string(),
        };
        Finding::error(
            "database",
            format!("{} does not answer: {cause}", dialect.name()),
            advice(dialect),
        )
    })
}

fn advice(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => {
            "check that it is a SQLite database, and that this user can read it and its folder"
        }
        Dialect::Postgres | Dialect::MySql => {
            "check --database-url: host, port, user, password and database name; check that the \
             server runs and is reachable from this machine"
        }
    }
}

pub(super) async fn check(db: &Database, config: &DatabaseConfig) -> Vec<Finding> {
    let mut findings = vec![match inspect::version(db).await {
        Ok(version) => {
            Finding::ok("database", format!("{} {version} answers", db.dialect().name()))
        }
        Err(error) => Finding::failed("database", &error),
    }];
    if !config.read_only {
        findings.push(durability(db).await);
    }
    if let Ok(Some(file)) = demo::sqlite_file(config) {
        findings.push(journal(db, config.read_only).await);
        if !config.read_only {
            findings.push(writable(&file));
        }
    }
    findings
}

async fn durability(db: &Database) -> Finding {
    let subject = "durability";
    match inspect::durability_risks(db).await {
        Ok(risks) if risks.is_empty() => Finding::ok(subject, "acknowledged rows are on the disk"),
        Ok(risks) => Finding::warning(
            subject,
            format!("{}: a power failure may lose acknowledged rows", risks.join(", ")),
            "change the configuration of the database, unless calls may be lost",
        ),
        Err(error) => Finding::failed(subject, &error),
    }
}

async fn journal(db: &Database, read_only: bool) -> Finding {
    match inspect::journal_mode(db).await {
        Ok(mode) if mode == "wal" => {
            Finding::ok("journal", "write-ahead: reads do not wait for the gateway")
        }
        Ok(mode) if read_only => Finding::warning(
            "journal",
            format!("`{mode}`: reads wait while the gateway writes"),
            "start once without --read-only, or run `PRAGMA journal_mode = WAL` on the file",
        ),
        Ok(mode) => {
            Finding::ok("journal", format!("`{mode}`; `callscope serve` sets it to write-ahead"))
        }
        Err(error) => Finding::failed("journal", &error),
    }
}

/// Checks file and folder: SQLite writes two more files next to the file of the database.
fn writable(file: &Path) -> Finding {
    let advice = "give this user write access to the file and its folder, or use --read-only";
    if let Err(error) = OpenOptions::new().write(true).open(file) {
        return Finding::error(
            "file",
            format!("{} cannot be written: {error}", file.display()),
            advice,
        );
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let probe = folder.join(format!(".callscope-doctor-{}", std::process::id()));
    match OpenOptions::new().write(true).create_new(true).open(&probe) {
        Ok(_) => {
            // The probe is empty.
            let _ = std::fs::remove_file(&probe);
            Finding::ok("file", format!("{} and its folder can be written", file.display()))
        }
        Err(error) => {
            let found = format!("the folder {} cannot be written: {error}", folder.display());
            Finding::error("file", found, advice)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_file_must_be_writable_and_its_folder_too() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("calls.db");
        std::fs::write(&file, "").unwrap();
        assert_eq!(writable(&file).level, Level::Ok);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(writable(folder.path()).level, Level::Error);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_folder_that_is_not_writable_is_an_error() {
        let finding = writable(Path::new("/proc/self/comm"));
        assert_eq!(finding.level, Level::Error);
        assert!(finding.found.contains("the folder /proc/self"), "{finding}");
    }
}
