//! Pages and texts: GraphiQL, the schema.

use axum::Extension;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::assets;
use super::context::RequestContext;
use super::graphql::admit;
use super::router::AppState;

/// GraphiQL, which explores the schema by documents that no manifest has. Its files tell nothing: what
/// it shows is asked for as by everybody.
pub(super) async fn graphiql(State(state): State<AppState>, headers: HeaderMap) -> Response {
    if state.documents.are_trusted_alone() {
        let message = "there is no GraphiQL here: this server runs only trusted documents\n";
        return (StatusCode::NOT_FOUND, message).into_response();
    }
    assets::graphiql(&headers)
}

/// The schema in GraphQL's own language, to generate clients from; 404 where introspection is off.
pub(super) async fn schema(
    State(state): State<AppState>,
    Extension(context): Extension<RequestContext>,
) -> Response {
    if let Err(refused) = admit(&context) {
        return refused.into_response();
    }
    if !state.services.config.introspection {
        return StatusCode::NOT_FOUND.into_response();
    }
    ([(CONTENT_TYPE, "text/plain; charset=utf-8")], state.sdl.clone()).into_response()
}
