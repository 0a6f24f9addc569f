//! Notices that a SQLite file is not the one that a connection opened: it was removed, or replaced
//! by a backup. The connection would go on answering from what no path leads to any more.

use std::path::PathBuf;

use sea_orm::sqlx::sqlite::SqliteConnectOptions;

/// What a system tells files apart by.
#[cfg(unix)]
pub(super) type Identity = (u64, u64);
#[cfg(not(unix))]
pub(super) type Identity = ();

/// Whether the SQLite database at `url` is still to be made: its file is missing or empty.
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

    /// Which file stands there now, if any.
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
