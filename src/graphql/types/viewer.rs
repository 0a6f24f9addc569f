//! The caller of a request.

use async_graphql::{Enum, SimpleObject};

use crate::domain::access;

/// A permission of a token.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "access::AccessScope")]
pub enum AccessScope {
    /// Read calls, error logs, statistics and masked keys.
    Read,
    /// Read failed requests including prompts: `ErrorLog.request`.
    ReadRequests,
    /// Read full keys (`ApiKey.secret`) and search in them.
    RevealKeys,
    /// Record calls and error logs.
    Record,
    /// Delete calls and error logs.
    Delete,
    /// Read the server's metrics at `/metrics`.
    Metrics,
}

/// The caller of a request and the permissions of its token.
#[derive(SimpleObject)]
pub struct Viewer {
    /// The name of the token; `anonymous` without a token.
    pub name: String,
    /// The scopes of the token. A field that requires another scope fails with the code FORBIDDEN.
    pub scopes: Vec<AccessScope>,
}
