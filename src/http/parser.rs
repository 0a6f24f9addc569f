//! Parses documents, once each for those that come again and again: a client has a few, and to parse
//! one takes longer than all else that comes before it is executed.

use std::sync::Arc;

use async_graphql::parser::types::ExecutableDocument;
use async_graphql::{Request, ServerError};

use crate::graphql::limit::Limits;
use crate::kept::{Kept, Room};

/// By the bytes of their texts. A field of two letters is some hundred bytes once it is parsed, so
/// that what is kept takes some 20 MB at worst.
const ROOM: Room = Room { entries: 256, bytes: 128 << 10, bytes_each: 8 << 10 };

pub struct Parser {
    limits: Limits,
    parsed: Kept<Arc<ExecutableDocument>>,
}

impl Parser {
    pub fn new(limits: Limits) -> Self {
        Self { limits, parsed: Kept::new(ROOM) }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The document, which is kept in the request. Refuses a text that must not be parsed.
    pub(super) fn parse<'a>(
        &self,
        request: &'a mut Request,
    ) -> Result<&'a ExecutableDocument, ServerError> {
        if let Some(document) = self.parsed.find(&request.query) {
            request.set_parsed_query(ExecutableDocument::clone(&document));
            return request.parsed_query();
        }
        self.limits.check_text(&request.query)?;
        let text = &request.query;
        if self.parsed.takes(text.len()) {
            let (text, bytes) = (text.clone(), text.len());
            let document = request.parsed_query()?;
            self.parsed.keep(text, bytes, Arc::new(document.clone()));
        }
        request.parsed_query()
    }
}
