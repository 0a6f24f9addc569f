//! The request of a subscription, executed again for each event, and the cache of event payloads that equal
//! subscriptions share: the same document and variables with the same token are executed once per row.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::parser::types::{ExecutableDocument, Selection};
use async_graphql::{Request, ServerError, Variables};
use lru::LruCache;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use crate::domain::access::Caller;
use crate::graphql::limit;
use crate::graphql::limit::names::{may_send_sql, selects};
use crate::graphql::subscription::SourceEvent;

/// A parsed subscription request.
pub(crate) struct Template {
    text: String,
    document: ExecutableDocument,
    operation_name: Option<String>,
    variables: Variables,
    pub sharing: AnswerSharing,
}

impl Template {
    /// Rejects a subscription with several root fields, as the specification requires.
    pub fn of(request: &mut Request) -> Result<Self, ServerError> {
        let document = request.parsed_query()?.clone();
        let operation = limit::selected(&document, request.operation_name.as_deref());
        let roots = operation.map(|operation| &operation.node.selection_set.node.items);
        if let Some(roots) = roots
            && !matches!(roots.as_slice(), [root] if matches!(root.node, Selection::Field(_)))
        {
            let message = "a subscription must have exactly one root field and no root fragment";
            return Err(ServerError::new(message, operation.map(|operation| operation.pos)));
        }
        Ok(Self {
            sharing: AnswerSharing::of(request, &document),
            text: request.query.clone(),
            document,
            operation_name: request.operation_name.clone(),
            variables: request.variables.clone(),
        })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn request(&self) -> Request {
        let mut request = Request::new(&self.text).variables(self.variables.clone());
        request.operation_name.clone_from(&self.operation_name);
        request.set_parsed_query(self.document.clone());
        request
    }
}

/// Limit of cached payloads.
const MAX_ENTRIES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);

/// How the payloads of a subscription may be shared.
pub(crate) struct AnswerSharing {
    /// Hash of document, operation name and variables.
    request_hash: [u8; 32],
    may_send_sql: bool,
    /// Payloads with full keys are not shared: each display is audited.
    shows_keys: bool,
}

/// Everything that a payload depends on.
#[derive(Hash, PartialEq, Eq)]
pub(crate) struct AnswerKey {
    request_hash: [u8; 32],
    caller: Arc<Caller>,
    row: (&'static str, u64),
}

/// The JSON of a payload, set by the subscription that executes it.
pub(crate) type SharedAnswer = Arc<OnceCell<Arc<str>>>;

pub(crate) struct AnswerCache(Mutex<LruCache<AnswerKey, SharedAnswer>>);

impl Default for AnswerCache {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MAX_ENTRIES)))
    }
}

impl AnswerCache {
    pub(crate) fn get(&self, key: AnswerKey) -> SharedAnswer {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get_or_insert(key, SharedAnswer::default).clone()
    }
}

impl AnswerSharing {
    pub(crate) fn of(request: &Request, document: &ExecutableDocument) -> Self {
        let mut digest = Sha256::new();
        let variables = serde_json::to_string(&request.variables).unwrap_or_default();
        let name = request.operation_name.as_deref().unwrap_or_default();
        for text in [request.query.as_str(), name, &variables] {
            // The length separates the texts.
            digest.update(text.len().to_be_bytes());
            digest.update(text);
        }
        Self {
            request_hash: digest.finalize().into(),
            may_send_sql: may_send_sql(document),
            shows_keys: selects(document, "secret"),
        }
    }

    /// Whether an event may send a statement, which needs an execution permit.
    pub(crate) fn may_send_sql(&self, event: &SourceEvent) -> bool {
        self.may_send_sql || event.row().is_none()
    }

    /// The cache key of an event; `None` if its payload is not shared.
    pub(crate) fn key(&self, event: &SourceEvent, caller: &Arc<Caller>) -> Option<AnswerKey> {
        let row = event.row().filter(|_| !self.shows_keys)?;
        Some(AnswerKey { request_hash: self.request_hash, caller: Arc::clone(caller), row })
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::Variables;
    use serde_json::json;

    use super::*;
    use crate::domain::access::Scopes;
    use crate::store::StoredTime;
    use crate::store::error_log::ErrorLogRow;

    fn row(number: u64) -> SourceEvent {
        let stored = StoredTime::from_text("2026-03-01 12:00:00.000000");
        let row = ErrorLogRow {
            id: 1,
            timestamp: stored.at.and_utc(),
            stored,
            key: None,
            model: None,
            error_type: None,
            error_code: None,
            message: None,
            long_bytes: None,
        };
        SourceEvent::ErrorLog(number, Arc::new(row))
    }

    fn of(query: &str, variables: serde_json::Value) -> AnswerSharing {
        let mut request = Request::new(query).variables(Variables::from_json(variables));
        let document = request.parsed_query().unwrap().clone();
        AnswerSharing::of(&request, &document)
    }

    #[test]
    fn only_equal_subscriptions_share_answers() {
        let query = "subscription ($k: String) { callRecorded(key: $k) { id } }";
        let hash = |query, key| of(query, json!({ "k": key })).request_hash;
        assert_eq!(hash(query, "a"), hash(query, "a"));
        assert_ne!(hash(query, "a"), hash(query, "b"));
        assert_ne!(hash(query, "a"), hash(&query.replace("id", "model"), "a"));
        let caller = |name: &str, scopes| Arc::new(Caller { name: name.to_owned(), scopes });
        let one = of(query, json!({}));
        let key = |event: &SourceEvent, caller| one.key(event, &caller);
        let (first, second) = (row(1), row(2));
        let reader = || caller("reader", Scopes::NONE);
        assert!(key(&first, reader()) == key(&first, reader()));
        assert!(key(&first, reader()) != key(&second, reader()));
        assert!(key(&first, reader()) != key(&first, caller("other", Scopes::NONE)));
        assert!(key(&first, reader()) != key(&first, caller("reader", Scopes::all())));
        assert!(
            key(&SourceEvent::Tick, reader()).is_none()
                && key(&SourceEvent::Missed(1), reader()).is_none()
        );
    }

    #[test]
    fn payloads_with_full_keys_are_not_shared() {
        let query =
            "subscription { callRecorded { ...C } } fragment C on Call { apiKey { secret } }";
        let event = row(1);
        let caller = Arc::new(Caller::anonymous(Scopes::all()));
        assert!(of(query, json!({})).key(&event, &caller).is_none());
    }

    #[test]
    fn columns_send_no_sql() {
        let sends = |fields: &str, event| {
            of(&format!("subscription {{ callRecorded {{ {fields} }} }}"), json!({}))
                .may_send_sql(event)
        };
        let row = row(1);
        assert!(!sends("id model apiKey { id masked }", &row));
        assert!(sends("id", &SourceEvent::Tick) && sends("id errorLog { message }", &row));
        assert!(sends("apiKey { lastSeenAt }", &row));
    }
}
