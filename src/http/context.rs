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
use super::admission::sender;
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

impl RequestContext {
    /// Enters who sends the request for its log lines and statements.
    pub fn mark(&self, marks: &RequestMarks) {
        marks.set_caller(&self.caller.name);
        marks.set_share(sender(self).name());
    }
}

/// What is asked of a request before it is read, beside who sends it. All of it is one layer, since a
/// layer costs each request more than what it does.
#[derive(Clone)]
pub(super) struct Door {
    pub state: AppState,
    /// That it calls the server by a name of its own.
    pub checks_host: bool,
    /// That its sender does not come too often.
    pub counts: bool,
}

/// Lets a request in, with what is known of it beside it.
pub(super) async fn enter(
    State(door): State<Door>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    if door.checks_host
        && let Err(refusal) = door.state.hosts.check(&request)
    {
        return refusal.into_response();
    }
    let marks = request.extensions().get::<Arc<RequestMarks>>().cloned();
    let context = match attach(&door.state, peer, request.headers(), marks).await {
        Ok(context) => context,
        Err(refusal) => return refusal.into_response(),
    };
    if door.counts
        && let Err(refusal) = door.state.admission.count(&context)
    {
        return refusal.into_response();
    }
    request.extensions_mut().insert(context);
    next.run(request).await
}

/// Finds out who sends a request.
async fn attach(
    state: &AppState,
    peer: SocketAddr,
    headers: &HeaderMap,
    marks: Option<Arc<RequestMarks>>,
) -> Result<RequestContext, Problem> {
    let (db, now) = (&state.services.db, state.clock.now());
    let cookie = session_cookie(headers);
    let credentials = match (bearer_token(headers), &cookie) {
        (Some(token), _) => Credentials::Token(token),
        (None, Some(session)) => Credentials::Session(session),
        (None, None) => Credentials::None,
    };
    let (caller, proof) =
        state.tokens.caller(db, credentials, now).await.map_err(|_| Problem::unauthenticated())?;
    let trusts_proxy = state.services.server.trust_forwarded_for;
    let address = client_address(headers, peer.ip(), trusts_proxy);
    let mut context = RequestContext { id: Arc::default(), address, caller, proof };
    if let Some(marks) = marks {
        context.id = marks.id.clone();
        context.mark(&marks);
    }
    Ok(context)
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
