//! The idempotency key of a whole request. It applies to each mutation of the request that has no
//! `idempotencyKey` argument.

/// Stored in the data of a request with the header `Idempotency-Key`.
#[derive(Clone, Debug)]
pub struct RequestKey(String);

impl RequestKey {
    /// `index` is the position of the request in its batch.
    pub fn new(key: &str, index: usize) -> Self {
        Self(format!("{key}\n{index}"))
    }

    /// The key of one field, derived from its response name: each field of a request has a different key.
    pub(super) fn of_field(&self, name: &str) -> String {
        format!("{}\n{name}", self.0)
    }
}
