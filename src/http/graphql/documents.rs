//! Resolves the document of a request: the text that it sends, a persisted document by its hash (automatic
//! persisted queries, Apollo's protocol), or a trusted document. With trusted documents no other runs.

use std::sync::Arc;

use async_graphql::{Extensions, Request, Value};
use axum::http::StatusCode;

use super::negotiate::MediaType;
use super::read::GraphqlRequest;
use super::trusted::{ManifestError, TrustedDocuments, sha256_hex};
use crate::cache::{BoundedCache, CacheLimits};
use crate::config::{GraphqlConfig, HttpConfig};
use crate::graphql::check;
use crate::http::problem::Problem;

/// The source of documents.
pub struct Documents(Source);

enum Source {
    /// Clients send documents, and may persist them.
    Clients(Option<PersistedQueries>),
    Manifest(TrustedDocuments),
}

/// A request with the text of its document.
pub(crate) struct ResolvedRequest {
    pub request: Request,
    /// The hash to persist the document under, once it has passed validation.
    pub persist_hash: Option<String>,
}

impl Documents {
    /// Reads the manifest, if one is configured, and checks its documents against the schema.
    pub async fn open(config: &HttpConfig, limits: &GraphqlConfig) -> anyhow::Result<Self> {
        let Some(file) = &config.trusted_documents else {
            let entries = config.persisted_queries as usize;
            return Ok(Self(Source::Clients(
                (entries > 0).then(|| PersistedQueries::new(entries)),
            )));
        };
        let trusted = TrustedDocuments::read(file)?;
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

    /// Whether only trusted documents run.
    pub fn only_trusted(&self) -> bool {
        matches!(self.0, Source::Manifest(_))
    }

    /// Finds the document's text.
    pub(crate) fn resolve(
        &self,
        sent: GraphqlRequest,
        media_type: MediaType,
    ) -> Result<ResolvedRequest, Problem> {
        let hash = persisted_hash(&sent.extensions)?;
        let text = sent.query.filter(|text| !text.trim().is_empty());
        if let (Some(hash), Some(text)) = (&hash, &text)
            && *hash != sha256_hex(text)
        {
            let message = "`sha256Hash` is not the hash of `query`";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "PERSISTED_QUERY_MISMATCH", message));
        }
        let (text, persist_hash) = match &self.0 {
            Source::Clients(persisted) => {
                find_persisted(persisted.as_ref(), text, hash, media_type)?
            }
            Source::Manifest(trusted) => {
                (find_trusted(trusted, text, hash, sent.document_id)?, None)
            }
        };
        let mut request = Request::new(text).variables(sent.variables);
        request.operation_name = sent.operation_name;
        request.extensions = sent.extensions;
        if let Some(key) = sent.idempotency_key {
            request = request.data(key);
        }
        Ok(ResolvedRequest { request, persist_hash })
    }

    /// Persists a document that has passed validation.
    pub(crate) fn persist(&self, hash: String, text: &str) {
        if let Source::Clients(Some(persisted)) = &self.0 {
            persisted.insert(hash, text);
        }
    }
}

/// The text that the client sent or persisted, and the hash to persist it under.
fn find_persisted(
    persisted: Option<&PersistedQueries>,
    text: Option<String>,
    hash: Option<String>,
    media_type: MediaType,
) -> Result<(String, Option<String>), Problem> {
    // Apollo's clients expect status 200 for JSON and read the error code.
    let status = match media_type {
        MediaType::Json => StatusCode::OK,
        MediaType::GraphqlResponse => StatusCode::BAD_REQUEST,
    };
    match (text, hash) {
        (Some(text), hash) => {
            let is_new = |hash: &String| persisted.is_some_and(|known| known.find(hash).is_none());
            Ok((text, hash.filter(is_new)))
        }
        (None, None) => Err(Problem::malformed()),
        (None, Some(hash)) => match persisted {
            None => {
                let code = "PERSISTED_QUERY_NOT_SUPPORTED";
                Err(Problem::new(status, code, "PersistedQueryNotSupported"))
            }
            Some(known) => match known.find(&hash) {
                Some(text) => Ok((text.to_string(), None)),
                None => {
                    let code = "PERSISTED_QUERY_NOT_FOUND";
                    Err(Problem::new(status, code, "PersistedQueryNotFound"))
                }
            },
        },
    }
}

/// The trusted document with the request's id, hash or text.
fn find_trusted(
    trusted: &TrustedDocuments,
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
    // A text that is sent with an id must be the text of that document.
    let found = found.filter(|found| text.is_none_or(|text| text == found.as_ref()));
    found.map(|found| found.to_string()).ok_or_else(|| {
        let message = "this server runs only trusted documents: send the `documentId` of a document \
                       in its manifest, or the exact text";
        Problem::new(StatusCode::FORBIDDEN, "DOCUMENT_NOT_TRUSTED", message)
    })
}

/// The hash in `extensions.persistedQuery`.
fn persisted_hash(extensions: &Extensions) -> Result<Option<String>, Problem> {
    let Some(value) = extensions.get("persistedQuery") else { return Ok(None) };
    let Value::Object(fields) = value else { return Err(Problem::malformed()) };
    let version = fields.get("version");
    let is_version_1 = matches!(version, Some(Value::Number(number)) if number.as_u64() == Some(1));
    match fields.get("sha256Hash") {
        Some(Value::String(hash)) if is_version_1 => Ok(Some(hash.to_ascii_lowercase())),
        _ => {
            let message =
                "`extensions.persistedQuery` must have the `version` 1 and a `sha256Hash`";
            Err(Problem::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message))
        }
    }
}

/// Limit of all texts together.
const MAX_PERSISTED_BYTES: usize = 16 << 20;

/// Automatic persisted queries: document texts by hash. The texts are cached, not the parsed documents, which
/// are far larger.
struct PersistedQueries(BoundedCache<Arc<str>>);

impl PersistedQueries {
    fn new(entries: usize) -> Self {
        Self(BoundedCache::new(CacheLimits {
            entries,
            bytes: MAX_PERSISTED_BYTES,
            bytes_each: MAX_PERSISTED_BYTES / 64,
        }))
    }

    fn find(&self, hash: &str) -> Option<Arc<str>> {
        self.0.get(hash)
    }

    /// Stores the text of a document that has passed validation.
    fn insert(&self, hash: String, text: &str) {
        self.0.insert(hash, text.len(), text.into());
    }
}
