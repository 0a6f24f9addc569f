//! Reads GraphQL requests from a body or a URL. async-graphql has functions of its own, of which the
//! one for URLs overlooks `operationName`, and the one for bodies answers 413 as text and takes
//! batches of any length.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::{Extensions, Variables};
use axum::body::{Bytes, HttpBody};
use axum::extract::Query;
use axum::http::{StatusCode, Uri};
use bytes::BytesMut;
use http_body_util::BodyExt;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::context;
use super::idempotency::idempotency_key;
use super::negotiate::is_json;
use super::problem::Problem;
use super::rate::Sender;
use super::share::{Exhausted, Share, Shares};
use crate::domain::json::{MAX_VALUES, count_values};
use crate::graphql::request_key::RequestKey;
use crate::within::{Late, within};

/// When other bodies may have been read.
const ROOM_RETRY: Duration = Duration::from_secs(1);

/// How much is read.
#[derive(Clone, Debug)]
pub struct ReadLimits {
    pub body_bytes: usize,
    /// Requests in a batch; with one, there are no batches.
    pub batch: usize,
    /// How long a body may take to come.
    pub timeout: Duration,
    /// The memory of the bodies that are being read, in KiB.
    pub room: Arc<Shares>,
}

/// One request as it was sent: with the text of its document, or with what names it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Asked {
    pub query: Option<String>,
    #[serde(alias = "doc_id")]
    pub document_id: Option<String>,
    pub operation_name: Option<String>,
    #[serde(default)]
    pub variables: Variables,
    #[serde(default)]
    pub extensions: Extensions,
    /// Under which its mutations record, where they do not say otherwise.
    #[serde(skip)]
    pub idempotency_key: Option<RequestKey>,
}

/// What a body asks for.
pub(super) enum Body {
    One(Box<Asked>),
    Batch(Vec<Asked>),
}

pub(super) async fn from_body(
    request: axum::extract::Request,
    limits: ReadLimits,
) -> Result<Body, Problem> {
    if !is_json(request.headers()) {
        let message = "the body must have the Content-Type application/json, in UTF-8";
        return Err(Problem::unsupported(message));
    }
    let key = idempotency_key(request.headers())?;
    let sender = context::sender_of(&request);
    let (body, _held) = bytes(request.into_body(), &limits, sender).await?;
    if count_values(&body) > MAX_VALUES {
        let message = "the JSON of the body has too many values";
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", message));
    }
    let of_request = |index: usize| key.as_ref().map(|key| RequestKey::new(key, index));
    if body.trim_ascii_start().starts_with(b"[") {
        let mut batch = batch(&body, limits.batch)?;
        for (index, asked) in batch.iter_mut().enumerate() {
            asked.idempotency_key = of_request(index);
        }
        Ok(Body::Batch(batch))
    } else {
        let mut asked: Asked = serde_json::from_slice(&body).map_err(|_| Problem::malformed())?;
        asked.idempotency_key = of_request(0);
        Ok(Body::One(Box::new(asked)))
    }
}

/// The memory of all bodies that are being read. One body of the largest size fits in any case.
pub fn body_room(total_kib: usize, body_bytes: usize) -> Arc<Shares> {
    let total = total_kib.max(2 * body_bytes.div_ceil(1024));
    Shares::new(total, total)
}

/// The bytes of a body, and the memory that they hold. The whole body has one timeout, so that a slow
/// body needs no minimal rate: it holds a part of its sender's share for that long at most.
pub(super) async fn bytes(
    mut body: axum::body::Body,
    limits: &ReadLimits,
    sender: Sender,
) -> Result<(Bytes, Share), Problem> {
    // A length that is announced is refused before the body is sent.
    if body.size_hint().lower() > limits.body_bytes as u64 {
        return Err(Problem::too_large());
    }
    let reading = pin!(async {
        let (mut read, mut held) = (BytesMut::new(), limits.room.share(sender));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Problem::of_body(&error))?;
            let Ok(data) = frame.into_data() else { continue };
            let length = read.len() + data.len();
            if length > limits.body_bytes {
                return Err(Problem::too_large());
            }
            // All chunks of a body together are rounded up once.
            held.resize(length.div_ceil(1024)).map_err(no_room)?;
            read.extend_from_slice(&data);
        }
        Ok((read.freeze(), held))
    });
    within(Instant::now() + limits.timeout, reading).await.unwrap_or_else(|Late| {
        let message = "the body of the request did not come in time";
        Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", message))
    })
}

/// The answer to a body for which there is no memory.
pub(super) fn no_room(exhausted: Exhausted) -> Problem {
    match exhausted {
        Exhausted::Server => Problem::busy(),
        Exhausted::Sender => {
            let message = "the request bodies of this token or address hold all the memory that it \
                           may use; send fewer at the same time";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", message)
                .retry_after(ROOM_RETRY)
        }
    }
}

fn batch(body: &[u8], limit: usize) -> Result<Vec<Asked>, Problem> {
    let refuse =
        |message: String| Problem::new(StatusCode::BAD_REQUEST, "BATCH_TOO_LARGE", message);
    if limit < 2 {
        let message = "this server takes no batches; send one request at a time";
        return Err(refuse(message.to_owned()));
    }
    let batch: Vec<Asked> = serde_json::from_slice(body).map_err(|_| Problem::malformed())?;
    match batch.len() {
        0 => Err(Problem::malformed()),
        length if length > limit => {
            Err(refuse(format!("a batch of {length} requests; this server takes up to {limit}")))
        }
        _ => Ok(batch),
    }
}

/// What a URL asks for.
pub(super) fn from_url(uri: &Uri) -> Result<Asked, Problem> {
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
    // What is no UTF-8 would otherwise be read as something else.
    if percent_decode_str(uri.query().unwrap_or_default()).decode_utf8().is_err() {
        return Err(Problem::malformed());
    }
    let Query(found) = Query::<Parameters>::try_from_uri(uri).map_err(|_| Problem::malformed())?;
    Ok(Asked {
        query: found.query,
        document_id: found.document_id,
        operation_name: found.operation_name.filter(|name| !name.is_empty()),
        variables: object(found.variables)?,
        extensions: object(found.extensions)?,
        // What comes by a URL records nothing.
        idempotency_key: None,
    })
}

/// The JSON of a parameter; nothing where it is not given, or empty.
fn object<T: DeserializeOwned + Default>(json: Option<String>) -> Result<T, Problem> {
    match json.filter(|json| !json.is_empty()) {
        Some(json) => serde_json::from_str(&json).map_err(|_| Problem::malformed()),
        None => Ok(T::default()),
    }
}
