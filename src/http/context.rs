//! What is known of a request before it is read: its id, where it comes from and who sent it. A
//! middleware makes it; handlers and other middlewares find it in the extensions.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::address::client_address;
use super::problem::Problem;
use super::router::AppState;
use super::session::session_cookie;
use crate::access::{Credentials, Proof};
use crate::domain::access::Caller;
use crate::observe::RequestMarks;

/// One request.
#[derive(Clone, Debug)]
pub(super) struct RequestContext {
    /// Stands in the log, in `X-Request-Id` and in the errors that tell nothing else.
    pub id: Arc<str>,
    /// The other end of the connection.
    pub address: IpAddr,
    pub caller: Arc<Caller>,
    /// By what the caller is known, to ask again whether that holds.
    pub proof: Option<Proof>,
}

/// Finds out who sends a request and keeps it beside it.
pub(super) async fn attach(
    State(state): State<AppState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let (db, now) = (&state.services.db, state.clock.now());
    let cookie = session_cookie(request.headers());
    let credentials = match (bearer_token(request.headers()), &cookie) {
        (Some(token), _) => Credentials::Token(token),
        (None, Some(session)) => Credentials::Session(session),
        (None, None) => Credentials::None,
    };
    let (caller, proof) = match state.tokens.caller(db, credentials, now).await {
        Ok(found) => found,
        Err(_) => return Problem::unauthenticated().into_response(),
    };
    let mut id = Arc::default();
    if let Some(marks) = request.extensions().get::<Arc<RequestMarks>>() {
        marks.set_caller(&caller.name);
        id = marks.id.clone();
    }
    let trusts_proxy = state.services.server.trust_forwarded_for;
    let address = client_address(request.headers(), peer.ip(), trusts_proxy);
    request.extensions_mut().insert(RequestContext { id, address, caller, proof });
    next.run(request).await
}

/// The token of `Authorization: Bearer`; an empty one where the header says anything else, since
/// whoever sends it believes to have shown who they are.
pub(super) fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return Some("");
    }
    Some(bearer(value.to_str().unwrap_or_default()))
}

/// The token of `Bearer …`, empty where the text says anything else.
pub(super) fn bearer(text: &str) -> &str {
    let (scheme, token) = text.split_once(' ').unwrap_or_default();
    if scheme.eq_ignore_ascii_case("bearer") { token.trim() } else { "" }
}
