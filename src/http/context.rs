//! Context of a request: its id, address and caller. A middleware creates it before the body is read and
//! stores it in the request's extensions.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::StatusCode;

use super::client::ClientKey;
use super::problem::Problem;
use crate::access::Proof;
use crate::domain::access::{AccessScope, Caller};
use crate::observe::RequestMarks;

#[derive(Clone, Debug)]
pub(crate) struct RequestContext {
    /// Shown in the log, in `X-Request-Id` and in internal errors.
    pub id: Arc<str>,
    pub address: IpAddr,
    pub caller: Arc<Caller>,
    /// The caller's credentials, to check them again later.
    pub proof: Option<Proof>,
}

impl RequestContext {
    /// The client that the request counts against: its token, or its address if it has none.
    pub fn client(&self) -> ClientKey {
        match self.caller.is_anonymous() {
            true => ClientKey::of(self.address),
            false => ClientKey::Token(self.caller.name.clone()),
        }
    }

    /// Adds the caller to the marks that log lines and statements read.
    pub fn mark(&self, marks: &RequestMarks) {
        marks.set_caller(&self.caller.name);
        marks.set_share(self.client().name());
    }

    /// Rejects anonymous callers without any scope. GraphQL fields check the scope that they need.
    pub fn require_any_access(&self) -> Result<(), Problem> {
        if self.caller.scopes.is_empty() && self.caller.is_anonymous() {
            return Err(Problem::unauthenticated());
        }
        Ok(())
    }

    /// Rejects callers without `scope`.
    pub fn require_scope(&self, scope: AccessScope) -> Result<(), Problem> {
        if self.caller.scopes.has(scope) {
            return Ok(());
        }
        Err(match self.caller.is_anonymous() {
            true => Problem::unauthenticated(),
            false => {
                let message = format!("a token with the scope {} is required", scope.name());
                Problem::new(StatusCode::FORBIDDEN, "FORBIDDEN", message)
            }
        })
    }
}

/// The client that a request counts against.
pub(crate) fn client_of(request: &Request) -> ClientKey {
    let context = request.extensions().get::<RequestContext>();
    context.map_or(ClientKey::Others, RequestContext::client)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::access::Scopes;

    #[test]
    fn a_token_is_one_client_from_every_address() {
        let key = |name: &str, address: &str| {
            let caller = Caller { name: name.to_owned(), scopes: Scopes::all() };
            let context = RequestContext {
                id: "1".into(),
                address: address.parse().unwrap(),
                caller: Arc::new(caller),
                proof: None,
            };
            context.client()
        };
        assert_eq!(key("ci", "10.0.0.1"), key("ci", "10.0.0.2"));
        assert_ne!(key("ci", "10.0.0.1"), key("dashboard", "10.0.0.1"));
        assert_ne!(key("anonymous", "10.0.0.1"), key("anonymous", "10.0.0.2"));
        assert_ne!(key("ci", "10.0.0.1"), key("anonymous", "10.0.0.1"));
    }
}
