//! Compresses answers of more than 1 KB, as the client accepts it.
//!
//! What compresses to less tells what it is like: who can have a browser ask for a secret beside a
//! text of their own choice, and sees how long the answer is, finds the secret letter by letter
//! (BREACH). No other site can have a request sent (`csrf`), so the first half is missing here; still,
//! an answer that shows a key in full gains nothing from it, and is sent as it is.

use axum::http::{Extensions, HeaderMap, StatusCode, Version};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};

/// Less would hardly save a packet.
const MIN_BYTES: u64 = 1024;
/// Of all three. It makes a ninth of 1,000 calls (190 KB) in 0.2 ms (zstd) to 0.6 ms (brotli); the next
/// level is 5 % smaller and takes up to five times as long.
const LEVEL: i32 = 3;

/// Stands in the extensions of a response that may show a secret.
#[derive(Clone, Copy)]
pub(super) struct Secretive;

/// zstd, brotli or gzip, in this order where the client has no preference.
pub(super) fn layer() -> CompressionLayer<impl Predicate> {
    let plain = |_: StatusCode, _: Version, _: &HeaderMap, extensions: &Extensions| {
        extensions.get::<Secretive>().is_none()
    };
    let worthwhile = SizeAbove::new(MIN_BYTES)
        // Events must not wait in the compressor.
        .and(NotForContentType::SSE)
        .and(NotForContentType::IMAGES)
        .and(plain);
    CompressionLayer::new().quality(CompressionLevel::Precise(LEVEL)).compress_when(worthwhile)
}
