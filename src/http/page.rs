//! Pages and texts: GraphiQL, the schema.

use async_graphql::http::GraphiQLSource;
use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{Html, IntoResponse, Response};

use super::context::RequestContext;
use super::graphql::admit;
use super::router::AppState;

/// GraphiQL, which explores the schema by documents that no manifest has.
pub(super) async fn graphiql(State(state): State<AppState>) -> Response {
    if state.documents.are_trusted_alone() {
        let message = "there is no GraphiQL here: this server runs only trusted documents\n";
        return (StatusCode::NOT_FOUND, message).into_response();
    }
    // It is loaded from a CDN, whose code would act with the session of whoever looks at it.
    if !state.tokens.is_open() {
        let message = "GraphiQL is served on loopback without tokens alone\n";
        return (StatusCode::NOT_FOUND, message).into_response();
    }
    let page = GraphiQLSource::build().endpoint("/graphql").title("Callscope GraphiQL");
    ([(CONTENT_SECURITY_POLICY, "frame-ancestors 'none'")], Html(page.finish())).into_response()
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
