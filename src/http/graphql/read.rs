//! Reads GraphQL requests from a body or a URL. async-graphql's own functions do not fit: the one for URLs
//! ignores `operationName`, and the one for bodies returns 413 as text and accepts batches of any length.

use async_graphql::{Extensions, Variables};
use axum::extract::Query;
use axum::http::{StatusCode, Uri};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::domain::json::{MAX_VALUES, count_values};
use crate::graphql::request_key::RequestKey;
use crate::http::body::{self, ReadLimits, idempotency_key, is_json};
use crate::http::context::client_of;
use crate::http::problem::Problem;

/// A GraphQL request as the client sent it, with the text, hash or id of its document.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GraphqlRequest {
    pub query: Option<String>,
    #[serde(alias = "doc_id")]
    pub document_id: Option<String>,
    pub operation_name: Option<String>,
    #[serde(default)]
    pub variables: Variables,
    #[serde(default)]
    pub extensions: Extensions,
    /// The `Idempotency-Key` header, the default key of its mutations.
    #[serde(skip)]
    pub idempotency_key: Option<RequestKey>,
}

pub(crate) enum RequestBody {
    Single(Box<GraphqlRequest>),
    Batch(Vec<GraphqlRequest>),
}

pub(crate) async fn from_body(
    request: axum::extract::Request,
    limits: ReadLimits,
) -> Result<RequestBody, Problem> {
    if !is_json(request.headers()) {
        let message = "the Content-Type of the body must be application/json, in UTF-8";
        return Err(Problem::unsupported(message));
    }
    let key = idempotency_key(request.headers())?;
    let client = client_of(&request);
    let (body, _memory) = body::read(request.into_body(), &limits, client).await?;
    if count_values(&body) > MAX_VALUES {
        let message = "too many JSON values in the body";
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", message));
    }
    let key_of = |index: usize| key.as_ref().map(|key| RequestKey::new(key, index));
    if body.trim_ascii_start().starts_with(b"[") {
        let mut batch = batch(&body, limits.batch)?;
        for (index, request) in batch.iter_mut().enumerate() {
            request.idempotency_key = key_of(index);
        }
        Ok(RequestBody::Batch(batch))
    } else {
        let mut request: GraphqlRequest =
            serde_json::from_slice(&body).map_err(|_| Problem::malformed())?;
        request.idempotency_key = key_of(0);
        Ok(RequestBody::Single(Box::new(request)))
    }
}

fn batch(body: &[u8], limit: usize) -> Result<Vec<GraphqlRequest>, Problem> {
    let reject =
        |message: String| Problem::new(StatusCode::BAD_REQUEST, "BATCH_TOO_LARGE", message);
    if limit < 2 {
        let message = "batches are disabled; send one request at a time";
        return Err(reject(message.to_owned()));
    }
    let batch: Vec<GraphqlRequest> =
        serde_json::from_slice(body).map_err(|_| Problem::malformed())?;
    match batch.len() {
        0 => Err(Problem::malformed()),
        length if length > limit => {
            Err(reject(format!("batch of {length} requests; the maximum is {limit}")))
        }
        _ => Ok(batch),
    }
}

pub(crate) fn from_url(uri: &Uri) -> Result<GraphqlRequest, Problem> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Parameters {
        query: Option<String>,
        #[serde(alias = "doc_id")]
        document_id: Option<String>,
        operation_name: Option<String>,
        variables: Option<String>,
        extensions: Option<String>,
    }
    // `Query` would replace invalid UTF-8.
    if percent_decode_str(uri.query().unwrap_or_default()).decode_utf8().is_err() {
        return Err(Problem::malformed());
    }
    let Query(parameters) =
        Query::<Parameters>::try_from_uri(uri).map_err(|_| Problem::malformed())?;
    Ok(GraphqlRequest {
        query: parameters.query,
        document_id: parameters.document_id,
        operation_name: parameters.operation_name.filter(|name| !name.is_empty()),
        variables: object(parameters.variables)?,
        extensions: object(parameters.extensions)?,
        // GET runs no mutations.
        idempotency_key: None,
    })
}

/// Parses the JSON of a parameter; a missing or empty parameter yields the default.
fn object<T: DeserializeOwned + Default>(json: Option<String>) -> Result<T, Problem> {
    match json.filter(|json| !json.is_empty()) {
        Some(json) => serde_json::from_str(&json).map_err(|_| Problem::malformed()),
        None => Ok(T::default()),
    }
}
