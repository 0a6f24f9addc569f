//! The idempotency key of a whole request: whatever it records without a key of its own is recorded under
//! this one.

/// Stands in the data of a request that has one.
#[derive(Clone, Debug)]
pub struct RequestKey(String);

impl RequestKey {
    /// `index`: which request of a batch it is.
    pub fn new(key: &str, index: usize) -> Self {
        Self(format!("{key}\n{index}"))
    }

    /// The key of one field, by its name in the response: another field of the same request records
    /// something else.
    pub(super) fn of_field(&self, name: &str) -> String {
        format!("{}\n{name}", self.0)
    }
}
