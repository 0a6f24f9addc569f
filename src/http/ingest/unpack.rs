//! Bodies that are packed with gzip, unpacked as they are read.

use std::io;

use async_compression::tokio::bufread::GzipDecoder;
use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_ENCODING;
use futures_util::TryStreamExt;
use tokio_util::io::{ReaderStream, StreamReader};

use crate::http::problem::Problem;

/// What is unpacked at a time.
const PART_BYTES: usize = 64 << 10;

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

/// The body, unpacked. It may have been packed in parts, one after the other.
pub(super) fn body(request: Request, encoding: Encoding) -> Body {
    let body = request.into_body();
    if encoding == Encoding::Plain {
        return body;
    }
    let packed = body.into_data_stream().map_err(io::Error::other);
    let mut unpacked = GzipDecoder::new(StreamReader::new(packed));
    unpacked.multiple_members(true);
    Body::from_stream(ReaderStream::with_capacity(unpacked, PART_BYTES))
}
