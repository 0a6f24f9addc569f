//! What is known of a request before it is read: its id, where it comes from and who sent it. The
//! outermost middleware makes it; handlers and other middlewares find it in the extensions.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::address::client_address;
use super::router::AppState;
use crate::domain::access::{Caller, Scopes};

/// One request.
#[derive(Clone, Debug)]
pub(super) struct RequestContext {
    /// Stands in the log, in `X-Request-Id` and in the errors that tell nothing else.
    pub id: Arc<str>,
    /// The other end of the connection.
    pub address: IpAddr,
    pub caller: Arc<Caller>,
}

/// Finds out who sends a request and keeps it beside it.
pub(super) async fn attach(
    State(state): State<AppState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let context = RequestContext {
        id: next_request_id().into(),
        address: client_address(
            request.headers(),
            peer.ip(),
            state.services.server.trust_forwarded_for,
        ),
        caller: Arc::new(Caller::anonymous(Scopes::all())),
    };
    request.extensions_mut().insert(context);
    next.run(request).await.into_response()
}

/// Unique in this process, and unlikely to be met in another one's log.
fn next_request_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{:x}-{:x}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
