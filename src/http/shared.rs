//! Answers that several subscriptions share. A thousand dashboards that ask the same, with the same
//! token, about the same row get one answer: it is executed once, and its text is the same for all.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::Request;
use async_graphql::parser::types::ExecutableDocument;
use lru::LruCache;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use crate::domain::access::Caller;
use crate::graphql::limit::names::{may_send_sql, selects};
use crate::graphql::subscription::source::Due;

/// Answers that are kept for those who come a little later.
const MOST: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);

/// What of a subscription decides about its answers, apart from the row and the caller.
pub(super) struct Sharing {
    asked: [u8; 32],
    may_send_sql: bool,
    /// Each time that a key is shown in full is entered in the audit log.
    shows_keys: bool,
}

/// Everything that an answer depends on.
#[derive(Hash, PartialEq, Eq)]
pub(super) struct Shared {
    asked: [u8; 32],
    caller: Arc<Caller>,
    row: (&'static str, u64),
}

/// The text of an answer, once somebody has executed it.
pub(super) type Answer = Arc<OnceCell<Arc<str>>>;

pub(super) struct SharedAnswers(Mutex<LruCache<Shared, Answer>>);

impl Default for SharedAnswers {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MOST)))
    }
}

impl SharedAnswers {
    pub(super) fn answer(&self, shared: Shared) -> Answer {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get_or_insert(shared, Answer::default).clone()
    }
}

impl Sharing {
    pub(super) fn of(request: &Request, document: &ExecutableDocument) -> Self {
        let mut digest = Sha256::new();
        // Texts of any length, so that each needs its own.
        let variables = serde_json::to_string(&request.variables).unwrap_or_default();
        let name = request.operation_name.as_deref().unwrap_or_default();
        for text in [request.query.as_str(), name, &variables] {
            digest.update(text.len().to_be_bytes());
            digest.update(text);
        }
        Self {
            asked: digest.finalize().into(),
            may_send_sql: may_send_sql(document),
            shows_keys: selects(document, "secret"),
        }
    }

    /// Whether an event may send a statement, for which it waits its turn.
    pub(super) fn may_send_sql(&self, due: &Due) -> bool {
        self.may_send_sql || due.row().is_none()
    }

    /// With whom the answer about a row is shared, if with anybody.
    pub(super) fn of_row(&self, due: &Due, caller: &Arc<Caller>) -> Option<Shared> {
        let row = due.row().filter(|_| !self.shows_keys)?;
        Some(Shared { asked: self.asked, caller: Arc::clone(caller), row })
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

    fn row(number: u64) -> Due {
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
        Due::ErrorLog(number, Arc::new(row))
    }

    fn of(query: &str, variables: serde_json::Value) -> Sharing {
        let mut request = Request::new(query).variables(Variables::from_json(variables));
        let document = request.parsed_query().unwrap().clone();
        Sharing::of(&request, &document)
    }

    #[test]
    fn only_the_same_is_shared() {
        let query = "subscription ($k: String) { callRecorded(key: $k) { id } }";
        let asked = |query, key| of(query, json!({ "k": key })).asked;
        assert_eq!(asked(query, "a"), asked(query, "a"));
        assert_ne!(asked(query, "a"), asked(query, "b"));
        assert_ne!(asked(query, "a"), asked(&query.replace("id", "model"), "a"));
        let caller = |name: &str, scopes| Arc::new(Caller { name: name.to_owned(), scopes });
        let one = of(query, json!({}));
        let shared = |due: &Due, caller| one.of_row(due, &caller);
        let (first, second) = (row(1), row(2));
        let reader = || caller("reader", Scopes::NONE);
        assert!(shared(&first, reader()) == shared(&first, reader()));
        assert!(shared(&first, reader()) != shared(&second, reader()));
        assert!(shared(&first, reader()) != shared(&first, caller("other", Scopes::NONE)));
        assert!(shared(&first, reader()) != shared(&first, caller("reader", Scopes::all())));
        assert!(
            shared(&Due::Moment, reader()).is_none() && shared(&Due::Missed(1), reader()).is_none()
        );
    }

    #[test]
    fn keys_are_shown_to_each_anew() {
        let query =
            "subscription { callRecorded { ...C } } fragment C on Call { apiKey { secret } }";
        let due = row(1);
        let caller = Arc::new(Caller::anonymous(Scopes::all()));
        assert!(of(query, json!({})).of_row(&due, &caller).is_none());
    }

    #[test]
    fn columns_send_no_sql() {
        let sends = |fields: &str, due| {
            of(&format!("subscription {{ callRecorded {{ {fields} }} }}"), json!({}))
                .may_send_sql(due)
        };
        let row = row(1);
        assert!(!sends("id model apiKey { id masked }", &row));
        assert!(sends("id", &Due::Moment) && sends("id errorLog { message }", &row));
        assert!(sends("apiKey { lastSeenAt }", &row));
    }
}
