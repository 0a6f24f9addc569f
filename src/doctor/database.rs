//! Whether the database answers, what it is, and SQLite's file.

use std::fs::OpenOptions;
use std::path::Path;

use super::Finding;
use crate::config::DatabaseConfig;
use crate::error::Error;
use crate::observe::redact::without_values;
use crate::store::dialect::Dialect;
use crate::store::{Database, demo, inspect};

/// Opens the database as it is: no table, no index, no file is made.
pub(super) async fn open(config: &DatabaseConfig) -> Result<Database, Finding> {
    let dialect = Dialect::of_url(config.database_url.expose());
    if let Ok(Some(file)) = demo::sqlite_file(config)
        && !file.exists()
    {
        let found = format!("there is no file {}", file.display());
        let advice = "name the gateway's file with --database-url sqlite://FILE; `callscope migrate` \
                      makes an empty database";
        return Err(Finding::bad("database", found, advice));
    }
    Database::open(&DatabaseConfig { read_only: true, ..config.clone() }).await.map_err(|error| {
        let cause = match &error {
            Error::DatabaseUnavailable(source) => without_values(source),
            Error::Internal(source) => without_values(source),
            other => other.to_string(),
        };
        Finding::bad(
            "database",
            format!("{} does not answer: {cause}", dialect.name()),
            advice(dialect),
        )
    })
}

fn advice(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "is it a SQLite database, and may this user read it and its folder?",
        Dialect::Postgres | Dialect::MySql => {
            "check --database-url: does the server run, is it reached from here, are user, \
             password and name of the database right?"
        }
    }
}

pub(super) async fn check(db: &Database, config: &DatabaseConfig) -> Vec<Finding> {
    let mut findings = vec![match inspect::version(db).await {
        Ok(version) => {
            Finding::good("database", format!("{} {version} answers", db.dialect().name()))
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
    match inspect::hasty_settings(db).await {
        Ok(hasty) if hasty.is_empty() => {
            Finding::good(subject, "what is acknowledged is on the disk")
        }
        Ok(hasty) => Finding::doubtful(
            subject,
            format!("{}: a power cut may lose what was acknowledged", hasty.join(", ")),
            "change it in the database's own configuration, unless calls may be lost",
        ),
        Err(error) => Finding::failed(subject, &error),
    }
}

async fn journal(db: &Database, read_only: bool) -> Finding {
    match inspect::journal_mode(db).await {
        Ok(mode) if mode == "wal" => {
            Finding::good("journal", "write-ahead: reading does not wait for the gateway")
        }
        Ok(mode) if read_only => Finding::doubtful(
            "journal",
            format!("`{mode}`: reading waits while the gateway writes"),
            "start once without --read-only, or run `PRAGMA journal_mode = WAL` on the file",
        ),
        Ok(mode) => {
            Finding::good("journal", format!("`{mode}`; `callscope serve` sets it to write-ahead"))
        }
        Err(error) => Finding::failed("journal", &error),
    }
}

/// SQLite writes two files beside the database's own.
fn writable(file: &Path) -> Finding {
    let advice = "let this user write the file and its folder, or serve with --read-only";
    if let Err(error) = OpenOptions::new().write(true).open(file) {
        return Finding::bad(
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
            // It was empty and ours.
            let _ = std::fs::remove_file(&probe);
            Finding::good("file", format!("{} and its folder can be written", file.display()))
        }
        Err(error) => {
            let found = format!("the folder {} cannot be written: {error}", folder.display());
            Finding::bad("file", found, advice)
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
        assert_eq!(writable(&file).level, Level::Good);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(writable(folder.path()).level, Level::Bad);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_folder_in_which_nobody_can_make_a_file_is_told() {
        let finding = writable(Path::new("/proc/self/comm"));
        assert_eq!(finding.level, Level::Bad);
        assert!(finding.found.contains("the folder /proc/self"), "{finding}");
    }
}
