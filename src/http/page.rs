//! Pages and texts: GraphiQL, the schema.

use async_graphql::http::GraphiQLSource;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse, Response};

use super::router::AppState;

/// GraphiQL, which explores the schema.
pub(super) async fn graphiql() -> Html<String> {
    Html(GraphiQLSource::build().endpoint("/graphql").title("Callscope GraphiQL").finish())
}

/// The schema in GraphQL's own language, to generate clients from; 404 where introspection is off.
pub(super) async fn schema(State(state): State<AppState>) -> Response {
    if !state.services.config.introspection {
        return StatusCode::NOT_FOUND.into_response();
    }
    ([(CONTENT_TYPE, "text/plain; charset=utf-8")], state.sdl.to_string()).into_response()
}
