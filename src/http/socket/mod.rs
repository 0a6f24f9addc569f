//! GraphQL over WebSocket, by the protocol graphql-transport-ws alone: one connection, any number of
//! operations, answered once or followed.

mod close;
mod connection;
mod credentials;
mod message;
mod metered;
mod operation;
mod origin;

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;

use super::admission::sender;
use super::context::RequestContext;
use super::lease::Lease;
use super::problem::Problem;
use super::request_log::SocketEnd;
use super::router::AppState;
use connection::Connection;
use metered::Metered;

const PROTOCOL: &str = "graphql-transport-ws";

pub(super) async fn get(
    State(state): State<AppState>,
    Extension(context): Extension<RequestContext>,
    Extension(lease): Extension<Lease>,
    mut request: Request,
) -> Result<Response, Problem> {
    let by_cookie = context.proof.as_ref().is_some_and(|proof| proof.is_session());
    let trusts_proxy = state.services.server.trust_forwarded_for;
    origin::check(request.headers(), &state.cors_origins, by_cookie, trusts_proxy)?;
    let Ok(mut response) = create_response_with_body(&request, Body::empty) else {
        return Ok(no_upgrade(request.version()));
    };
    let is_spoken = speaks(request.headers());
    if is_spoken {
        let protocol = HeaderValue::from_static(PROTOCOL);
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let end = Arc::new(SocketEnd::default());
    response.extensions_mut().insert(Arc::clone(&end));
    tokio::spawn(async move {
        // Whoever goes before the upgrade was no connection.
        let Ok(upgraded) = upgrade.await else { return };
        let room = state.read.room.share(sender(&context));
        let stream = Metered::new(TokioIo::new(upgraded), room);
        let socket = connection::open(stream).await;
        Connection::new(socket, state, context, end).serve(is_spoken, lease).await;
    });
    Ok(response)
}

/// Whether the client offers to speak the protocol.
fn speaks(headers: &HeaderMap) -> bool {
    let texts =
        headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|text| text.to_str().ok());
    texts.flat_map(|text| text.split(',')).any(|offered| offered.trim() == PROTOCOL)
}

fn no_upgrade(version: Version) -> Response {
    let message = "this is for WebSocket connections of HTTP/1.1, with the protocol \
                   graphql-transport-ws";
    let problem = Problem::new(StatusCode::UPGRADE_REQUIRED, "BAD_REQUEST", message);
    let mut response = problem.into_response();
    if version < Version::HTTP_2 {
        response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    response
}
