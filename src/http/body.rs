//! Request bodies: headers, gzip, size limits and memory.

use std::error::Error;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_compression::tokio::bufread::GzipDecoder;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use bytes::BytesMut;
use futures_util::{StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use tokio::time::timeout;
use tokio_util::io::{ReaderStream, StreamReader};

use super::client::ClientKey;
use super::middleware::fair_share::{Exhausted, FairShares, Share};
use super::problem::Problem;
use crate::ingest::claim::check_key;

/// `Retry-After` while the client's other bodies hold its memory.
const MEMORY_RETRY: Duration = Duration::from_secs(1);

/// Limits of request bodies.
#[derive(Clone, Debug)]
pub struct ReadLimits {
    pub body_bytes: usize,
    /// Requests in a batch; 1 disables batches.
    pub batch: usize,
    /// Timeout of the whole body.
    pub timeout: Duration,
    /// Memory of the bodies that are being read, in KiB.
    pub memory: Arc<FairShares>,
}

/// The memory of all bodies that are being read: always enough for one body of the largest size.
pub fn body_memory(total_kib: usize, body_bytes: usize) -> Arc<FairShares> {
    let total = total_kib.max(2 * body_bytes.div_ceil(1024));
    FairShares::new(total, total)
}

/// Reads a body and acquires memory for it. The timeout is for the whole body, so a minimum rate is not
/// needed: a slow body holds a part of its client's share no longer than that.
pub(crate) async fn read(
    mut body: Body,
    limits: &ReadLimits,
    client: ClientKey,
) -> Result<(Bytes, Share), Problem> {
    // Rejects a large Content-Length before the body is sent.
    if body.size_hint().lower() > limits.body_bytes as u64 {
        return Err(Problem::too_large());
    }
    let reading = pin!(async {
        let (mut read, mut memory) = (BytesMut::new(), limits.memory.share(client));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| unreadable(&error))?;
            let Ok(data) = frame.into_data() else { continue };
            let length = read.len() + data.len();
            if length > limits.body_bytes {
                return Err(Problem::too_large());
            }
            memory.resize(length.div_ceil(1024)).map_err(no_memory)?;
            read.extend_from_slice(&data);
        }
        Ok((read.freeze(), memory))
    });
    timeout(limits.timeout, reading).await.unwrap_or_else(|_| {
        let message = "timeout while reading the request body";
        Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", message))
    })
}

/// The response to a body that does not fit in memory.
pub(crate) fn no_memory(exhausted: Exhausted) -> Problem {
    match exhausted {
        Exhausted::Server => Problem::busy(),
        Exhausted::Client => {
            let message = "the request bodies of this token or address use all memory allowed for it; \
                           send fewer at the same time";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", message)
                .retry_after(MEMORY_RETRY)
        }
    }
}

/// The response to a body that cannot be read to its end.
fn unreadable(error: &axum::Error) -> Problem {
    match BodyError::of(error) {
        BodyError::Unreadable => Problem::bad_request(
            "the request body is incomplete, or is not gzip as its Content-Encoding states; send it again",
        ),
        BodyError::TooDense => too_dense(),
    }
}

pub(crate) fn too_dense() -> Problem {
    let message = format!(
        "the compression ratio of the body is above {MAX_RATIO}:1; send it uncompressed or in parts"
    );
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", message)
}

/// Whether the body is JSON in UTF-8.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    is_utf8_of(headers, &["application/json"])
}

/// Whether the body has one of these media types, in UTF-8.
pub(crate) fn is_utf8_of(headers: &HeaderMap, types: &[&str]) -> bool {
    let Some(content_type) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let mut parts = content_type.split(';').map(|part| part.trim().to_ascii_lowercase());
    let known = parts.next().is_some_and(|kind| types.contains(&kind.as_str()));
    known
        && parts
            .filter_map(|part| part.strip_prefix("charset=").map(str::to_owned))
            .all(|charset| matches!(charset.trim_matches('"'), "utf-8" | "utf8"))
}

/// The `Idempotency-Key` header.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all("Idempotency-Key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let bad = |message: String| Problem::new(StatusCode::BAD_REQUEST, "BAD_USER_INPUT", message);
    let text = std::str::from_utf8(value.as_bytes()).ok().filter(|_| values.next().is_none());
    let text = text.ok_or_else(|| bad("send one Idempotency-Key header in UTF-8".into()))?;
    check_key(text).map_err(|error| bad(error.to_string()))?;
    Ok(Some(text.to_owned()))
}

/// Bytes per decompressed part.
const PART_BYTES: usize = 64 << 10;

/// Limit of decompressed bytes per compressed byte. Rows and spans have a ratio of 10 to 40.
pub(crate) const MAX_RATIO: u64 = 100;

/// Decompressed bytes without this limit: a short body of equal rows may have a higher ratio.
const FREE_BYTES: u64 = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Plain,
    Gzip,
}

impl Encoding {
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let name = values.next().map(|value| value.as_bytes().to_ascii_lowercase());
        match (name.as_deref(), values.next()) {
            (None | Some(b"identity"), None) => Ok(Self::Plain),
            (Some(b"gzip" | b"x-gzip"), None) => Ok(Self::Gzip),
            _ => Err(Problem::unsupported("the Content-Encoding may be gzip or identity")),
        }
    }
}

/// The cause of a failed read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// The connection broke, or the body is not gzip.
    #[error("the body is incomplete or not gzip")]
    Unreadable,
    /// The compression ratio is above [`MAX_RATIO`].
    #[error("the body is compressed too much")]
    TooDense,
}

impl BodyError {
    /// Finds the cause of a body's error.
    pub(crate) fn of(error: &axum::Error) -> Self {
        let mut cause = error.source();
        while let Some(error) = cause {
            if let Some(own) = error.downcast_ref() {
                return *own;
            }
            cause = error.source();
        }
        Self::Unreadable
    }
}

/// The decompressed body. It may consist of several gzip members; the ratio applies to all together. Gzip can
/// expand to a thousand times its size, so the ratio is limited.
pub(crate) fn decompress(request: Request, encoding: Encoding) -> Body {
    let body = request.into_body();
    if encoding == Encoding::Plain {
        return body;
    }
    let compressed = Arc::new(AtomicU64::new(0));
    let counted = {
        let compressed = Arc::clone(&compressed);
        body.into_data_stream()
            .inspect_ok(move |part| {
                compressed.fetch_add(part.len() as u64, Ordering::Relaxed);
            })
            .map_err(io::Error::other)
    };
    let mut decoder = GzipDecoder::new(StreamReader::new(counted));
    decoder.multiple_members(true);
    let mut bytes = 0;
    let parts = ReaderStream::with_capacity(decoder, PART_BYTES).map(move |part| {
        let part: Bytes = part.map_err(|_| BodyError::Unreadable)?;
        bytes += part.len() as u64;
        let limit = FREE_BYTES + MAX_RATIO * compressed.load(Ordering::Relaxed);
        if bytes > limit { Err(BodyError::TooDense) } else { Ok(part) }
    });
    Body::from_stream(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_in_utf_8_is_accepted() {
        let json =
            |kind: &str| is_json(&HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().unwrap())]));
        assert!(json("application/json") && json("Application/JSON; charset=UTF-8"));
        assert!(!json("text/plain") && !json("application/json; charset=latin1"));
        assert!(!is_json(&HeaderMap::new()));
    }
}
