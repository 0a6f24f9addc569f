//! Which document a request means: its own text, one that is kept by its hash (automatic persisted
//! queries, by Apollo's protocol), or one of the trusted, beside which nothing runs.

use async_graphql::{Extensions, Request, Value};
use axum::http::StatusCode;
use sha2::{Digest, Sha256};

use super::negotiate::MediaType;
use super::persisted::PersistedQueries;
use super::problem::Problem;
use super::read::Asked;
use super::trusted::{ManifestError, Trusted};
use crate::config::{GraphqlConfig, HttpConfig};
use crate::graphql::check;

/// Where the texts of documents come from.
pub struct Documents(Source);

enum Source {
    /// From clients, which may have them kept.
    Clients(Option<PersistedQueries>),
    Manifest(Trusted),
}

/// A request with its text, and the hash by which that is to be kept once it was found valid.
pub(super) struct Prepared {
    pub request: Request,
    pub keep: Option<String>,
}

impl Documents {
    /// Reads the manifest, where there is one, and checks its documents against the schema.
    pub async fn open(config: &HttpConfig, limits: &GraphqlConfig) -> anyhow::Result<Self> {
        let Some(file) = &config.trusted_documents else {
            let entries = config.persisted_queries as usize;
            return Ok(Self(Source::Clients(
                (entries > 0).then(|| PersistedQueries::new(entries)),
            )));
        };
        let trusted = Trusted::read(file)?;
        let checker = check::Checker::new(limits)?;
        for (id, text) in trusted.iter() {
            checker.check(text).await.map_err(|reason| ManifestError::Invalid {
                file: file.clone(),
                id: id.to_owned(),
                reason,
            })?;
        }
        Ok(Self(Source::Manifest(trusted)))
    }

    /// Whether only the documents of a manifest run.
    pub fn are_trusted_alone(&self) -> bool {
        matches!(self.0, Source::Manifest(_))
    }

    /// The request with the text of its document.
    pub(super) fn prepare(&self, asked: Asked, answer: MediaType) -> Result<Prepared, Problem> {
        let hash = persisted_hash(&asked.extensions)?;
        let text = asked.query.filter(|text| !text.trim().is_empty());
        if let (Some(hash), Some(text)) = (&hash, &text)
            && *hash != sha256_hex(text)
        {
            let message = "`sha256Hash` is not the hash of `query`";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "PERSISTED_QUERY_MISMATCH", message));
        }
        let (text, keep) = match &self.0 {
            Source::Clients(persisted) => find(persisted.as_ref(), text, hash, answer)?,
            Source::Manifest(trusted) => {
                (find_trusted(trusted, text, hash, asked.document_id)?, None)
            }
        };
        let mut request = Request::new(text).variables(asked.variables);
        request.operation_name = asked.operation_name;
        request.extensions = asked.extensions;
        if let Some(key) = asked.idempotency_key {
            request = request.data(key);
        }
        Ok(Prepared { request, keep })
    }

    /// Keeps a document that was found to be valid.
    pub(super) fn keep(&self, hash: String, text: &str) {
        if let Source::Clients(Some(persisted)) = &self.0 {
            persisted.keep(hash, text);
        }
    }
}

/// The text that a client sent or had kept, and the hash by which it is to be kept.
fn find(
    persisted: Option<&PersistedQueries>,
    text: Option<String>,
    hash: Option<String>,
    answer: MediaType,
) -> Result<(String, Option<String>), Problem> {
    // Apollo's clients expect the status of an answer, and read its code.
    let status = match answer {
        MediaType::Json => StatusCode::OK,
        MediaType::GraphqlResponse => StatusCode::BAD_REQUEST,
    };
    match (text, hash) {
        (Some(text), hash) => {
            let is_new = |hash: &String| persisted.is_some_and(|kept| kept.find(hash).is_none());
            Ok((text, hash.filter(is_new)))
        }
        (None, None) => Err(Problem::malformed()),
        (None, Some(hash)) => match persisted {
            None => {
                let code = "PERSISTED_QUERY_NOT_SUPPORTED";
                Err(Problem::new(status, code, "PersistedQueryNotSupported"))
            }
            Some(kept) => match kept.find(&hash) {
                Some(text) => Ok((text.to_string(), None)),
                None => {
                    let code = "PERSISTED_QUERY_NOT_FOUND";
                    Err(Problem::new(status, code, "PersistedQueryNotFound"))
                }
            },
        },
    }
}

/// The trusted document that a request names, by an id, a hash or its whole text.
fn find_trusted(
    trusted: &Trusted,
    text: Option<String>,
    hash: Option<String>,
    id: Option<String>,
) -> Result<String, Problem> {
    let hash = hash.or_else(|| text.as_deref().map(sha256_hex));
    let found = match (id, &hash) {
        (None, None) => return Err(Problem::malformed()),
        (Some(id), _) => trusted.by_id(&id),
        (None, Some(hash)) => trusted.by_hash(hash).or_else(|| trusted.by_id(hash)),
    };
    // Whoever sends a text beside an id means the document of both.
    let found = found.filter(|found| text.is_none_or(|text| text == found.as_ref()));
    found.map(|found| found.to_string()).ok_or_else(|| {
        let message = "this server runs only the documents of its manifest, named by `documentId` \
                       or sent as they stand there";
        Problem::new(StatusCode::FORBIDDEN, "DOCUMENT_NOT_TRUSTED", message)
    })
}

/// The hash by which Apollo's clients name a document.
fn persisted_hash(extensions: &Extensions) -> Result<Option<String>, Problem> {
    let Some(named) = extensions.get("persistedQuery") else { return Ok(None) };
    let Value::Object(named) = named else { return Err(Problem::malformed()) };
    let is_first =
        matches!(named.get("version"), Some(Value::Number(version)) if version.as_u64() == Some(1));
    match named.get("sha256Hash") {
        Some(Value::String(hash)) if is_first => Ok(Some(hash.to_ascii_lowercase())),
        _ => {
            let message =
                "`extensions.persistedQuery` must have the `version` 1 and a `sha256Hash`";
            Err(Problem::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message))
        }
    }
}

pub(super) fn sha256_hex(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
