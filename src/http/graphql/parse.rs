//! Parses documents and caches the result. A client sends the same few documents again and again, and
//! parsing takes longer than all other steps before execution.

use std::sync::Arc;

use async_graphql::parser::types::ExecutableDocument;
use async_graphql::{Request, ServerError};

use crate::cache::{BoundedCache, CacheLimits};
use crate::graphql::limit::Limits;

/// Size in bytes of document text. A field of two letters takes some hundred bytes when parsed, so the cache
/// takes at most about 20 MB.
const LIMITS: CacheLimits = CacheLimits { entries: 256, bytes: 128 << 10, bytes_each: 8 << 10 };

pub struct Parser {
    limits: Limits,
    parsed: BoundedCache<Arc<ExecutableDocument>>,
}

impl Parser {
    pub fn new(limits: Limits) -> Self {
        Self { limits, parsed: BoundedCache::new(LIMITS) }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Parses the request's document, which stays in the request. Rejects a text above the limits.
    pub(crate) fn parse<'a>(
        &self,
        request: &'a mut Request,
    ) -> Result<&'a ExecutableDocument, ServerError> {
        if let Some(document) = self.parsed.get(&request.query) {
            request.set_parsed_query(ExecutableDocument::clone(&document));
            return request.parsed_query();
        }
        self.limits.check_text(&request.query)?;
        let text = &request.query;
        if self.parsed.accepts(text.len()) {
            let (text, bytes) = (text.clone(), text.len());
            let document = request.parsed_query()?;
            self.parsed.insert(text, bytes, Arc::new(document.clone()));
        }
        request.parsed_query()
    }
}
