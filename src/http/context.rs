//! What is known of a request before it is read: its id, where it comes from and who sent it. A
//! middleware makes it; handlers and other middlewares find it in the extensions.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::router::AppState;
use crate::domain::access::{Caller, Scopes};
use crate::observe::RequestMarks;

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
    State(_state): State<AppState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let marks = request.extensions().get::<Arc<RequestMarks>>().cloned();
    let context = RequestContext {
        id: marks.as_ref().map_or_else(Default::default, |marks| marks.id.clone()),
        address: peer.ip(),
        caller: Arc::new(Caller::anonymous(Scopes::all())),
    };
    if let Some(marks) = marks {
        marks.set_caller(&context.caller.name);
    }
    request.extensions_mut().insert(context);
    next.run(request).await.into_response()
}
