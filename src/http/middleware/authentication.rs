//! Host check, authentication and rate limit of a request, and its [`RequestContext`].

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::access::Credentials;
use crate::http::client::client_address;
use crate::http::context::RequestContext;
use crate::http::problem::Problem;
use crate::http::session::session_cookie;
use crate::http::state::AppState;
use crate::observe::RequestMarks;

/// Configuration of [`attach_context`]. The checks are one layer: each further layer costs a request more
/// time than they do.
#[derive(Clone)]
pub(crate) struct ContextLayer {
    pub state: AppState,
    pub check_host: bool,
    pub limit_rate: bool,
}

/// Middleware: checks the Host header, authenticates the caller, applies the rate limit and attaches the
/// [`RequestContext`].
pub(crate) async fn attach_context(
    State(layer): State<ContextLayer>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    if layer.check_host
        && let Err(rejection) = layer.state.hosts.check(&request)
    {
        return rejection.into_response();
    }
    let marks = request.extensions().get::<Arc<RequestMarks>>().cloned();
    let context = match authenticate(&layer.state, peer, request.headers(), marks).await {
        Ok(context) => context,
        Err(rejection) => return rejection.into_response(),
    };
    if layer.limit_rate
        && let Err(rejection) = layer.state.admission.check_rate(&context)
    {
        return rejection.into_response();
    }
    request.extensions_mut().insert(context);
    next.run(request).await
}

async fn authenticate(
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
    let trusts_proxy = state.services.server.trust_forwarded_for;
    let address = client_address(headers, peer.ip(), trusts_proxy);
    // Credentials are checked before failures are counted: a valid token always passes.
    let found = state.tokens.caller(db, credentials, now).await;
    let (caller, proof) = found.map_err(|_| state.admission.reject_credentials(address))?;
    let is_forged = |cookie: &String| state.tokens.is_forged_session(cookie, now);
    if proof.is_none() && cookie.as_ref().is_some_and(is_forged) {
        state.admission.check_failure_rate(address)?;
    }
    let mut context = RequestContext { id: Arc::default(), address, caller, proof };
    if let Some(marks) = marks {
        context.id = marks.id.clone();
        context.mark(&marks);
    }
    Ok(context)
}

/// The token of `Authorization: Bearer`. Any other value yields an empty token, which is rejected: a client
/// that sends credentials must not be treated as anonymous.
pub(crate) fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return Some("");
    }
    Some(bearer(value.to_str().unwrap_or_default()))
}

/// The token of `Bearer …`, empty for any other text.
pub(crate) fn bearer(text: &str) -> &str {
    let (scheme, token) = text.split_once(' ').unwrap_or_default();
    if scheme.eq_ignore_ascii_case("bearer") { token.trim() } else { "" }
}
