//! Bodies that are packed with gzip, unpacked as they are read. A few bytes of gzip can be a thousand
//! times as many rows or blank lines, so that the ratio of the two is bounded.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_compression::tokio::bufread::GzipDecoder;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_ENCODING;
use futures_util::{StreamExt, TryStreamExt};
use tokio_util::io::{ReaderStream, StreamReader};

use crate::http::problem::Problem;

/// What is unpacked at a time.
const PART_BYTES: usize = 64 << 10;

/// Unpacked bytes for each packed one. Rows of calls and exports of spans have 10 to 40.
pub(in crate::http) const MAX_RATIO: u64 = 100;

/// Unpacked bytes to which no ratio applies: a short body of equal rows may be very dense.
const FREE_BYTES: u64 = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Gzip,
}

impl Encoding {
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let name = values.next().map(|value| value.as_bytes().to_ascii_lowercase());
        match (name.as_deref(), values.next()) {
            (None | Some(b"identity"), None) => Ok(Self::Plain),
            (Some(b"gzip" | b"x-gzip"), None) => Ok(Self::Gzip),
            _ => Err(Problem::unsupported("the Content-Encoding may be gzip or identity")),
        }
    }
}

/// Why a body cannot be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::http) enum UnpackError {
    /// The connection broke, or the body is not gzip.
    #[error("the body is incomplete or not gzip")]
    Unreadable,
    /// It unpacks to more than [`MAX_RATIO`] times its bytes.
    #[error("the body is compressed too much")]
    TooDense,
}

impl UnpackError {
    /// What an error of a body means.
    pub(in crate::http) fn of(error: &axum::Error) -> Self {
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

/// The body, unpacked. It may have been packed in parts (members), one after the other; the ratio is
/// that of all parts.
pub(super) fn body(request: Request, encoding: Encoding) -> Body {
    let body = request.into_body();
    if encoding == Encoding::Plain {
        return body;
    }
    let packed = Arc::new(AtomicU64::new(0));
    let counted = {
        let packed = Arc::clone(&packed);
        body.into_data_stream()
            .inspect_ok(move |part| {
                packed.fetch_add(part.len() as u64, Ordering::Relaxed);
            })
            .map_err(io::Error::other)
    };
    let mut unpacked = GzipDecoder::new(StreamReader::new(counted));
    unpacked.multiple_members(true);
    let mut bytes = 0;
    let parts = ReaderStream::with_capacity(unpacked, PART_BYTES).map(move |part| {
        let part: Bytes = part.map_err(|_| UnpackError::Unreadable)?;
        bytes += part.len() as u64;
        let most = FREE_BYTES + MAX_RATIO * packed.load(Ordering::Relaxed);
        if bytes > most { Err(UnpackError::TooDense) } else { Ok(part) }
    });
    Body::from_stream(parts)
}
