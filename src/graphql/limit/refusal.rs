//! Errors of rejected documents: the code, the limit and the actual number.

use async_graphql::{ErrorExtensionValues, ServerError};

/// A limit and its error.
pub struct Limit {
    code: &'static str,
    /// The start of the error message.
    what: &'static str,
}

pub const DOCUMENT_TOO_LARGE: Limit =
    limit("DOCUMENT_TOO_LARGE", "the document has too many bytes");
pub const TOO_MANY_TOKENS: Limit = limit("TOO_MANY_TOKENS", "the document has too many tokens");
pub const NAME_TOO_LONG: Limit = limit("NAME_TOO_LONG", "a name has too many characters");
pub const NESTING_TOO_DEEP: Limit = limit("NESTING_TOO_DEEP", "the document is nested too deeply");
pub const FRAGMENTS_TOO_LARGE: Limit = limit(
    "FRAGMENTS_TOO_LARGE",
    "the document has too many selections after its fragments are expanded",
);
pub const TOO_MANY_DIRECTIVES: Limit =
    limit("TOO_MANY_DIRECTIVES", "the document has too many directives");
pub const TOO_MANY_UNKNOWN: Limit =
    limit("GRAPHQL_VALIDATION_FAILED", "the document has too many unknown names");
pub const TOO_MANY_ROOT_FIELDS: Limit =
    limit("TOO_MANY_ROOT_FIELDS", "the operation has too many fields at its root");
pub const TOO_MANY_ALIASES: Limit = limit("TOO_MANY_ALIASES", "the operation has too many aliases");
pub const DEPTH_EXCEEDED: Limit =
    limit("DEPTH_EXCEEDED", "the fields of the operation are nested too deeply");
pub const COST_EXCEEDED: Limit = limit("COST_EXCEEDED", "the operation costs too much");

const fn limit(code: &'static str, what: &'static str) -> Limit {
    Limit { code, what }
}

impl Limit {
    /// Returns an error if `actual` exceeds `most`.
    pub fn check(
        &self,
        most: impl TryInto<u64>,
        actual: impl TryInto<u64>,
    ) -> Result<(), ServerError> {
        let number = |of: Option<u64>| of.unwrap_or(u64::MAX);
        let (most, actual) = (number(most.try_into().ok()), number(actual.try_into().ok()));
        if actual <= most {
            return Ok(());
        }
        let message = format!("{}: {actual}, at most {most} are allowed", self.what);
        let mut extensions = ErrorExtensionValues::default();
        extensions.set("code", self.code);
        extensions.set("limit", most);
        extensions.set("actual", actual);
        let mut error = ServerError::new(message, None);
        error.extensions = Some(extensions);
        Err(error)
    }
}

/// Builds an error without numbers.
pub fn refuse(code: &'static str, message: impl Into<String>) -> ServerError {
    let mut extensions = ErrorExtensionValues::default();
    extensions.set("code", code);
    let mut error = ServerError::new(message, None);
    error.extensions = Some(extensions);
    error
}
