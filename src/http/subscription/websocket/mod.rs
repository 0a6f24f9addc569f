//! GraphQL over WebSocket: the protocol graphql-transport-ws, with any number of operations per connection.

mod close;
mod connection;
mod credentials;
mod message;
mod metered;
mod operation;

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;

use crate::http::context::RequestContext;
use crate::http::middleware::csrf::check_origin;
use crate::http::middleware::request_log::SocketStatus;
use crate::http::problem::Problem;
use crate::http::server::slots::ConnectionGuard;
use crate::http::state::AppState;
use connection::Connection;
use metered::MeteredStream;

const PROTOCOL: &str = "graphql-transport-ws";

pub(crate) async fn get(
    State(state): State<AppState>,
    Extension(context): Extension<RequestContext>,
    Extension(guard): Extension<ConnectionGuard>,
    mut request: Request,
) -> Result<Response, Problem> {
    let by_cookie = context.proof.as_ref().is_some_and(|proof| proof.is_session());
    let trusts_proxy = state.services.server.trust_forwarded_for;
    check_origin(request.headers(), &state.cors_origins, by_cookie, trusts_proxy)?;
    let Ok(mut response) = create_response_with_body(&request, Body::empty) else {
        return Ok(no_upgrade(request.version()));
    };
    let has_protocol = offers_protocol(request.headers());
    if has_protocol {
        let protocol = HeaderValue::from_static(PROTOCOL);
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let status = Arc::new(SocketStatus::default());
    response.extensions_mut().insert(Arc::clone(&status));
    tokio::spawn(async move {
        // The client may disconnect before the upgrade.
        let Ok(upgraded) = upgrade.await else { return };
        let memory = state.read.memory.share(context.client());
        let stream = MeteredStream::new(TokioIo::new(upgraded), memory);
        let socket = connection::open(stream).await;
        Connection::new(socket, state, context, status).serve(has_protocol, guard).await;
    });
    Ok(response)
}

/// Whether the client offers the protocol.
fn offers_protocol(headers: &HeaderMap) -> bool {
    let texts =
        headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|text| text.to_str().ok());
    texts.flat_map(|text| text.split(',')).any(|offered| offered.trim() == PROTOCOL)
}

fn no_upgrade(version: Version) -> Response {
    let message = "connect by WebSocket over HTTP/1.1, with the subprotocol graphql-transport-ws";
    let problem = Problem::new(StatusCode::UPGRADE_REQUIRED, "BAD_REQUEST", message);
    let mut response = problem.into_response();
    if version < Version::HTTP_2 {
        response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    response
}
