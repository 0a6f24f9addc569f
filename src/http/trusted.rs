//! The manifest of trusted documents, as the tools of clients write it: graphql-codegen's
//! `persisted-documents.json` and relay-compiler's file (`{id: text}`), or Apollo's
//! `apollo-persisted-query-manifest`. The documents of the page are trusted beside it (docs/adr/0012).

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::documents::sha256_hex;

/// A manifest that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("cannot read {file}: {source}")]
    Read { file: PathBuf, source: std::io::Error },
    #[error(
        "{file} is no manifest of documents, as graphql-codegen, relay-compiler or Apollo write it: \
         {source}"
    )]
    Parse { file: PathBuf, source: serde_json::Error },
    #[error("{file} is in a format that is not known: {format}, version {version}")]
    Format { file: PathBuf, format: String, version: u64 },
    #[error("{file} holds no document")]
    Empty { file: PathBuf },
    #[error("{file}: the document {id} does not fit the schema: {reason}")]
    Invalid { file: PathBuf, id: String, reason: String },
}

#[derive(Deserialize)]
struct Operation {
    id: String,
    body: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Manifest {
    Apollo { format: String, version: u64, operations: Vec<Operation> },
    Plain(BTreeMap<String, String>),
}

/// What the page asks, to the letter; `scripts/web` makes the list together with the files.
const OF_THE_PAGE: &[&str] = &include!("../../web/dist/documents.in");

/// The documents that may run.
#[derive(Debug, Default)]
pub(super) struct Trusted {
    /// Those of the manifest.
    by_id: HashMap<String, Arc<str>>,
    /// By the SHA-256 of the text, in lower-case hexadecimal.
    by_hash: HashMap<String, Arc<str>>,
}

impl Trusted {
    pub fn read(file: &Path) -> Result<Self, ManifestError> {
        let text = std::fs::read_to_string(file)
            .map_err(|source| ManifestError::Read { file: file.into(), source })?;
        let manifest = serde_json::from_str(&text)
            .map_err(|source| ManifestError::Parse { file: file.into(), source })?;
        let operations: Vec<(String, String)> = match manifest {
            Manifest::Plain(documents) => documents.into_iter().collect(),
            Manifest::Apollo { format, version, operations } => {
                if (format.as_str(), version) != ("apollo-persisted-query-manifest", 1) {
                    return Err(ManifestError::Format { file: file.into(), format, version });
                }
                operations.into_iter().map(|operation| (operation.id, operation.body)).collect()
            }
        };
        if operations.is_empty() {
            return Err(ManifestError::Empty { file: file.into() });
        }
        let mut trusted = Self::default();
        for text in OF_THE_PAGE {
            trusted.add(text);
        }
        for (id, text) in operations {
            let text = trusted.add(&text);
            trusted.by_id.insert(id, text);
        }
        Ok(trusted)
    }

    fn add(&mut self, text: &str) -> Arc<str> {
        Arc::clone(self.by_hash.entry(sha256_hex(text)).or_insert_with(|| text.into()))
    }

    /// The ids and texts of the manifest, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let documents: BTreeMap<&str, &str> =
            self.by_id.iter().map(|(id, text)| (id.as_str(), text.as_ref())).collect();
        documents.into_iter()
    }

    /// The document of an id in the manifest, or of `sha256:` and its hash.
    pub fn by_id(&self, id: &str) -> Option<&Arc<str>> {
        let by_hash = || self.by_hash.get(id.strip_prefix("sha256:")?);
        self.by_id.get(id).or_else(by_hash)
    }

    pub fn by_hash(&self, hash: &str) -> Option<&Arc<str>> {
        self.by_hash.get(hash)
    }
}
