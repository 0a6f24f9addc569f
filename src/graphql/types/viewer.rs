//! Who asks.

use async_graphql::{Enum, SimpleObject};

use crate::domain::access;

/// One thing that a token may allow.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "access::AccessScope")]
pub enum AccessScope {
    /// To read calls, error logs, statistics, and keys as far as `masked` shows them.
    Read,
    /// To read the requests that failed, prompts included: `ErrorLog.request`.
    ReadRequests,
    /// To see keys in full, `ApiKey.secret`, and to search in them.
    RevealKeys,
    /// To record calls and error logs.
    Record,
    /// To delete calls and error logs.
    Delete,
    /// To read the server's metrics, at `/metrics`.
    Metrics,
}

/// Who asks, and what the token of the request allows.
#[derive(SimpleObject)]
pub struct Viewer {
    /// The name of the token; `anonymous` without one.
    pub name: String,
    /// What it allows. A field that needs more is answered with the error code FORBIDDEN.
    pub scopes: Vec<AccessScope>,
}
