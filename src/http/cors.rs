//! Which web pages of other origins may use the API: those that are listed, none otherwise.

use std::time::Duration;

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderName, HeaderValue, Method};
use tower_http::cors::{AllowCredentials, AllowHeaders, AllowOrigin, CorsLayer};

/// How long a browser may remember what it was told.
const MAX_AGE: Duration = Duration::from_secs(600);

/// Origins are compared as they stand. A listed one may send any header, and cookies; all others get
/// an answer without permission, on which their browser acts.
pub(super) fn layer(origins: &[String]) -> Option<CorsLayer> {
    let origins: Vec<HeaderValue> =
        origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    if origins.is_empty() {
        return None;
    }
    let listed = origins.clone();
    let credentials = AllowCredentials::predicate(move |origin, _| listed.contains(origin));
    Some(
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins))
            .allow_credentials(credentials)
            // DELETE signs out of `/session`.
            .allow_methods([Method::GET, Method::POST, Method::DELETE])
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers([RETRY_AFTER, HeaderName::from_static("x-request-id")])
            .max_age(MAX_AGE),
    )
}
