//! Content negotiation: the media type of a response.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

/// The media type of a response, which also determines its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MediaType {
    /// `application/json`: 200 if the request was well-formed.
    Json,
    /// `application/graphql-response+json`: 200 only if the response has `data`.
    GraphqlResponse,
}

impl MediaType {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json; charset=utf-8",
            Self::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
        }
    }
}

/// The response type that the client prefers; JSON without an `Accept` header; `None` if it accepts neither.
pub(crate) fn accepted(headers: &HeaderMap) -> Option<MediaType> {
    if !headers.contains_key(ACCEPT) {
        return Some(MediaType::Json);
    }
    let mut best: Option<(f32, u8, MediaType)> = None;
    for (range, quality) in ranges(headers) {
        let (specificity, kind) = match range.as_str() {
            "application/graphql-response+json" => (2, MediaType::GraphqlResponse),
            "application/json" => (2, MediaType::Json),
            "application/*" => (1, MediaType::Json),
            "*/*" => (0, MediaType::Json),
            _ => continue,
        };
        // The first of equals wins.
        let is_better = best.is_none_or(|(q, s, _)| (quality, specificity) > (q, s));
        if quality > 0.0 && is_better {
            best = Some((quality, specificity, kind));
        }
    }
    best.map(|(_, _, kind)| kind)
}

/// Whether the client accepts server-sent events. A missing `Accept` header accepts everything.
pub(crate) fn accepts_events(headers: &HeaderMap) -> bool {
    let matches = |range: &str| matches!(range, "text/event-stream" | "text/*" | "*/*");
    !headers.contains_key(ACCEPT)
        || ranges(headers).any(|(range, quality)| matches(&range) && quality > 0.0)
}

/// The media ranges of `Accept` in lower case, with their quality.
fn ranges(headers: &HeaderMap) -> impl Iterator<Item = (String, f32)> {
    let values = headers.get_all(ACCEPT).iter().map(|accept| accept.to_str().unwrap_or_default());
    values.flat_map(|accept| accept.split(',')).map(|range| {
        let range = range.to_ascii_lowercase();
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_owned();
        let quality = parts.find_map(|part| part.strip_prefix("q="));
        (name, quality.map_or(1.0, |quality| quality.parse().unwrap_or(0.0)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(accept: &str) -> Option<MediaType> {
        accepted(&HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]))
    }

    #[test]
    fn the_preferred_media_type_is_chosen() {
        assert_eq!(accepted(&HeaderMap::new()), Some(MediaType::Json));
        assert_eq!(choice("*/*"), Some(MediaType::Json));
        assert_eq!(choice("application/graphql-response+json"), Some(MediaType::GraphqlResponse));
        assert_eq!(
            choice("application/graphql-response+json, application/json;q=0.9"),
            Some(MediaType::GraphqlResponse)
        );
        assert_eq!(
            choice("application/json, application/graphql-response+json;q=0.5"),
            Some(MediaType::Json)
        );
        assert_eq!(choice("text/html"), None);
        assert_eq!(choice("application/json;q=0"), None);
    }

    #[test]
    fn events_need_a_matching_accept_header() {
        let accepted = |accept: &str| {
            accepts_events(&HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]))
        };
        assert!(accepts_events(&HeaderMap::new()));
        for accept in ["text/event-stream", "application/json, Text/Event-Stream;q=0.1", "*/*"] {
            assert!(accepted(accept), "{accept}");
        }
        for accept in ["application/json", "text/html", "text/event-stream;q=0"] {
            assert!(!accepted(accept), "{accept}");
        }
    }
}
