//! Reads a GraphQL request from a body or a URL. async-graphql has functions of its own, of which the
//! one for URLs overlooks `operationName`, and the one for bodies answers 413 as text.

use async_graphql::Request;
use axum::body::Bytes;
use axum::extract::{FromRequest, Query};
use axum::http::{StatusCode, Uri};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::negotiate::is_json;
use super::problem::Problem;

/// What a body asks for.
pub(super) async fn from_body(request: axum::extract::Request) -> Result<Request, Problem> {
    if !is_json(request.headers()) {
        let message = "the body must have the Content-Type application/json, in UTF-8";
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UNSUPPORTED_MEDIA_TYPE",
            message,
        ));
    }
    let body =
        Bytes::from_request(request, &()).await.map_err(|refused| match refused.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(),
            _ => Problem::malformed(),
        })?;
    if body.trim_ascii_start().starts_with(b"[") {
        let message = "batches are not supported; send one request at a time";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message));
    }
    with_query(serde_json::from_slice(&body).map_err(|_| Problem::malformed())?)
}

/// What a URL asks for.
pub(super) fn from_url(uri: &Uri) -> Result<Request, Problem> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Parameters {
        #[serde(default)]
        query: String,
        operation_name: Option<String>,
        variables: Option<String>,
        extensions: Option<String>,
    }
    let Query(found) = Query::<Parameters>::try_from_uri(uri).map_err(|_| Problem::malformed())?;
    let mut request = Request::new(found.query);
    request.operation_name = found.operation_name.filter(|name| !name.is_empty());
    request.variables = object(found.variables)?;
    request.extensions = object(found.extensions)?;
    with_query(request)
}

/// The JSON of a parameter; nothing where it is not given, or empty.
fn object<T: DeserializeOwned + Default>(json: Option<String>) -> Result<T, Problem> {
    match json.filter(|json| !json.is_empty()) {
        Some(json) => serde_json::from_str(&json).map_err(|_| Problem::malformed()),
        None => Ok(T::default()),
    }
}

/// A request without a query is malformed, rather than a query that does not parse.
fn with_query(request: Request) -> Result<Request, Problem> {
    if request.query.trim().is_empty() { Err(Problem::malformed()) } else { Ok(request) }
}
