//! Detects that a SQLite file was removed, or replaced by a backup, after a connection opened it. The
//! connection would continue to read the old file.

use std::path::PathBuf;

use sea_orm::sqlx::sqlite::SqliteConnectOptions;

/// The identity of a file in the operating system.
#[cfg(unix)]
pub(super) type Identity = (u64, u64);
#[cfg(not(unix))]
pub(super) type Identity = ();

/// Whether the SQLite database at `url` is new: its file is missing or empty.
pub(super) fn is_new_sqlite_file(url: &str) -> bool {
    let options = url.strip_prefix("sqlite:").and(url.parse::<SqliteConnectOptions>().ok());
    options.is_some_and(|options| {
        std::fs::metadata(options.get_filename()).map_or(true, |found| found.len() == 0)
    })
}

/// The file at a path.
#[derive(Clone, Debug)]
pub(super) struct SqliteFile(PathBuf);

impl SqliteFile {
    /// The file of a SQLite database; None for other databases, and for one in memory.
    pub(super) fn of(url: &str) -> Option<Self> {
        let options = url.strip_prefix("sqlite:").and(url.parse::<SqliteConnectOptions>().ok())?;
        let path = options.get_filename().to_owned();
        path.exists().then_some(Self(path))
    }

    /// The identity of the current file at the path, if any.
    pub(super) fn identity(&self) -> Option<Identity> {
        let found = std::fs::metadata(&self.0).ok()?;
        #[cfg(unix)]
        let identity = {
            use std::os::unix::fs::MetadataExt;
            (found.dev(), found.ino())
        };
        #[cfg(not(unix))]
        let identity = drop(found);
        Some(identity)
    }
}
