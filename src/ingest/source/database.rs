//! Reads a table of another database in pages, by id.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::{CHUNK, End, ReadOptions, SourceChunk, SourceError};
use crate::config::{DatabaseConfig, Secret};
use crate::domain::table::LogTable;
use crate::ingest::columns::{Field, Fields};
use crate::store::{Database, import};

/// Rows of one page; smaller for error logs, which are long.
const PAGE_CALLS: u64 = CHUNK.rows;
const PAGE_ERRORS: u64 = 500;

#[derive(Clone, Debug)]
pub struct TableSource {
    db: Arc<Database>,
    table: LogTable,
    label: String,
    identity: String,
    last_id: u64,
}

impl TableSource {
    /// Whether a source is a database URL rather than a file.
    pub fn is_address(source: &str) -> bool {
        ["sqlite:", "postgres://", "postgresql://", "mysql://"]
            .iter()
            .any(|scheme| source.starts_with(scheme))
    }

    /// Opens the database at `url` for reading, up to the current last rows of its two tables.
    pub async fn open(url: &str, target: &DatabaseConfig) -> Result<[Self; 2], SourceError> {
        let address = public_address(url);
        if address == public_address(target.database_url.expose()) {
            let reason = "this is the target database; it cannot be its own source";
            return Err(SourceError::Unusable(reason.into()));
        }
        let database_url = Secret::new(url);
        let config = DatabaseConfig { database_url, read_only: true, ..target.clone() };
        let db = Arc::new(Database::open(&config).await?);
        Ok([
            Self::table(&db, &address, LogTable::Calls).await?,
            Self::table(&db, &address, LogTable::ErrorLogs).await?,
        ])
    }

    async fn table(
        db: &Arc<Database>,
        address: &str,
        table: LogTable,
    ) -> Result<Self, SourceError> {
        let name = table.name();
        let last_id = import::last_id(db, table).await?;
        Ok(Self {
            db: db.clone(),
            table,
            label: format!("{address} {name}"),
            identity: format!("{:x}", Sha256::digest(format!("{address}\n{name}"))),
            last_id: u64::try_from(last_id).unwrap_or(0),
        })
    }

    pub fn label(&self) -> &str {
        &self.label
    }

    pub fn last_id(&self) -> u64 {
        self.last_id
    }

    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Sends the rows after the id `skip`, up to the last id at the time of opening.
    pub async fn read(
        &self,
        skip: u64,
        options: ReadOptions,
        sender: &mpsc::Sender<SourceChunk>,
    ) -> Result<End, SourceError> {
        let page_rows = if self.table == LogTable::Calls { PAGE_CALLS } else { PAGE_ERRORS };
        let bound = |id: u64| i64::try_from(id).unwrap_or(i64::MAX);
        let mut after = skip;
        loop {
            let range = (bound(after), bound(self.last_id));
            let page = import::list_after(&self.db, self.table, range, page_rows).await?;
            let Some(last) = page.last() else { break };
            after = u64::try_from(last.id).unwrap_or(after);
            let mut chunk = SourceChunk::after(after);
            chunk.offset = after;
            for row in &page {
                let mut fields = Fields::default();
                for (field, text) in fields.iter_mut().zip(&row.fields) {
                    *field = Field::text(text.as_deref());
                }
                let record = self.table.record(fields, options.zone);
                chunk.add(row.id.unsigned_abs(), record, &options);
            }
            if sender.send(chunk).await.is_err() {
                break;
            }
        }
        Ok(End { table: Some(self.table), identity: self.identity.clone() })
    }
}

/// `url` without password and options. The path of an SQLite file is made absolute.
pub fn public_address(url: &str) -> String {
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        let path = path.split('?').next().unwrap_or(path);
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.into());
        return format!("sqlite://{}", path.display());
    }
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match rest.rsplit_once('@') {
        Some((user, host)) => {
            let user = user.split(':').next().unwrap_or(user);
            let host = host.split('?').next().unwrap_or(host);
            format!("{scheme}://{user}@{host}")
        }
        None => url.split('?').next().unwrap_or(url).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_and_options_are_removed() {
        let public = public_address("postgres://me:se:cret@host:5432/logs?sslmode=disable");
        assert_eq!(public, "postgres://me@host:5432/logs");
        assert_eq!(public_address("mysql://host/logs"), "mysql://host/logs");
        assert_eq!(public_address("sqlite:///no/such.db?mode=ro"), "sqlite:///no/such.db");
    }
}
