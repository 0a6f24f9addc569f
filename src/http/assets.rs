//! The page: its files as `web/dist` has them, compressed by brotli and part of the binary. They know
//! nothing of who asks, and are served to everybody who may reach the server.

use std::io::Cursor;

use axum::Router;
use axum::extract::Path;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::problem::Problem;

/// A path below `web/build`, a hash of what stands there, and that itself, compressed.
type Asset = (&'static str, &'static str, &'static [u8]);

/// `scripts/web` makes the list together with the files.
const ASSETS: &[Asset] = &include!("../../web/dist/files.in");

/// The views of the page: its script tells them apart by the address.
const VIEWS: [&str; 5] = ["/", "/calls", "/keys", "/keys/{id}", "/errors"];

/// Nothing but files of this server: no inline script or style, no frame, no form elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; font-src 'self'; base-uri 'none'; form-action 'self'; \
                      frame-ancestors 'none'";
/// GraphiQL's editor writes styles as it goes, and has workers.
const GRAPHIQL_POLICY: &str = "default-src 'none'; script-src 'self'; worker-src 'self'; \
                               style-src 'self' 'unsafe-inline'; connect-src 'self'; \
                               img-src 'self' data:; font-src 'self' data:; base-uri 'none'; \
                               form-action 'self'; frame-ancestors 'none'";

/// Their names have a hash of what is in them.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// A browser asks each time, and is mostly told that it has the newest.
const ASK_AGAIN: &str = "no-cache";

const OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let views = VIEWS.iter().fold(Router::new(), |routes, view| routes.route(view, get(page)));
    views.route("/assets/{name}", get(file))
}

async fn page(headers: HeaderMap) -> Response {
    answer("index.html", ASK_AGAIN, &headers)
}

/// GraphiQL, which explores the schema; it is asked for as the page is.
pub(super) fn graphiql(headers: &HeaderMap) -> Response {
    answer("graphiql.html", ASK_AGAIN, headers)
}

async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    answer(&format!("assets/{name}"), FOR_EVER, &headers)
}

fn answer(path: &str, caching: &'static str, headers: &HeaderMap) -> Response {
    let Some((path, hash, brotli)) = ASSETS.iter().find(|(of, ..)| *of == path) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let policy = if *path == "graphiql.html" { GRAPHIQL_POLICY } else { POLICY };
    // Weak, since it stands for the compressed bytes and for the others.
    let etag = format!("W/\"{hash}\"");
    let about = [
        (ETAG, etag.as_str()),
        (CACHE_CONTROL, caching),
        (VARY, "accept-encoding"),
        (CONTENT_SECURITY_POLICY, policy),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (OPENER, "same-origin"),
    ];
    if has(headers, &etag) {
        return (StatusCode::NOT_MODIFIED, about).into_response();
    }
    let kind = [(CONTENT_TYPE, content_type(path))];
    if takes_brotli(headers) {
        return (about, kind, [(CONTENT_ENCODING, "br")], *brotli).into_response();
    }
    let mut plain = Vec::new();
    match brotli_decompressor::BrotliDecompress(&mut Cursor::new(brotli), &mut plain) {
        Ok(()) => (about, kind, plain).into_response(),
        Err(_) => Problem::internal().into_response(),
    }
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("ttf") => "font/ttf",
        _ => "application/octet-stream",
    }
}

/// Whether the client has what `etag` stands for. Weak and strong are the same here.
fn has(headers: &HeaderMap, etag: &str) -> bool {
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(','));
    tags.any(|tag| tag.trim() == "*" || bare(tag) == bare(etag))
}

fn takes_brotli(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut codings = values.flat_map(|value| value.split(','));
    codings.any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("br") && weight != Some(0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_of_a_known_kind_and_whole() {
        for (path, _, brotli) in ASSETS {
            assert_ne!(content_type(path), "application/octet-stream", "{path}");
            let mut plain = Vec::new();
            brotli_decompressor::BrotliDecompress(&mut Cursor::new(brotli), &mut plain).unwrap();
            assert!(!plain.is_empty(), "{path}");
        }
    }

    #[test]
    fn brotli_is_sent_to_those_who_take_it() {
        let takes = |value: &'static str| {
            takes_brotli(&HeaderMap::from_iter([(ACCEPT_ENCODING, value.parse().unwrap())]))
        };
        for value in ["br", "gzip, deflate, br, zstd", "gzip, BR;q=0.5"] {
            assert!(takes(value), "{value}");
        }
        for value in ["gzip", "br;q=0", "gzip, br; q=0.0", "brx", "*"] {
            assert!(!takes(value), "{value}");
        }
        assert!(!takes_brotli(&HeaderMap::new()));
    }
}
