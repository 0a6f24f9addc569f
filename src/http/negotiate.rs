//! The media types of GraphQL over HTTP.

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};

/// The media type of a response, which decides on its status too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MediaType {
    /// `application/json`: 200 whenever the request was well formed.
    Json,
    /// `application/graphql-response+json`: 200 only where there is `data`.
    GraphqlResponse,
}

impl MediaType {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json; charset=utf-8",
            Self::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
        }
    }
}

/// The response type that the client likes best; JSON where it does not say; nothing where it takes
/// neither.
pub(super) fn accepted(headers: &HeaderMap) -> Option<MediaType> {
    let mut best: Option<(f32, u8, MediaType)> = None;
    let mut named = false;
    for accept in headers.get_all(ACCEPT) {
        named = true;
        for range in accept.to_str().unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let (kind, exactness) = match parts.next().map(str::to_ascii_lowercase).as_deref() {
                Some("application/graphql-response+json") => (MediaType::GraphqlResponse, 2),
                Some("application/json") => (MediaType::Json, 2),
                Some("application/*") => (MediaType::Json, 1),
                Some("*/*") => (MediaType::Json, 0),
                _ => continue,
            };
            let quality = parts
                .find_map(|part| part.strip_prefix("q="))
                .map_or(1.0, |quality| quality.parse().unwrap_or(0.0));
            let better = best.is_none_or(|(most, exact, _)| (quality, exactness) > (most, exact));
            if quality > 0.0 && better {
                best = Some((quality, exactness, kind));
            }
        }
    }
    if named { best.map(|(_, _, kind)| kind) } else { Some(MediaType::Json) }
}

/// Whether the client takes server-sent events; also where it does not say.
pub(super) fn accepts_events(headers: &HeaderMap) -> bool {
    let mut ranges = headers.get_all(ACCEPT).iter().peekable();
    let taken = |range: &str| {
        let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
        let fits = matches!(parts.next().as_deref(), Some("text/event-stream" | "text/*" | "*/*"));
        let quality = parts.find_map(|part| part.strip_prefix("q=").map(str::to_owned));
        fits && quality
            .is_none_or(|quality| quality.parse().is_ok_and(|quality: f32| quality > 0.0))
    };
    ranges.peek().is_none()
        || ranges.any(|accept| accept.to_str().unwrap_or_default().split(',').any(taken))
}

/// Whether a body is JSON in UTF-8.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    is_utf8_of(headers, &["application/json"])
}

/// Whether a body is of one of these types, in UTF-8.
pub(super) fn is_utf8_of(headers: &HeaderMap, types: &[&str]) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(accept: &str) -> Option<MediaType> {
        accepted(&HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]))
    }

    #[test]
    fn the_client_chooses() {
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
    fn events_are_sent_to_those_who_take_them() {
        let taken = |accept: &str| {
            accepts_events(&HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]))
        };
        assert!(accepts_events(&HeaderMap::new()));
        for accept in ["text/event-stream", "application/json, Text/Event-Stream;q=0.1", "*/*"] {
            assert!(taken(accept), "{accept}");
        }
        for accept in ["application/json", "text/html", "text/event-stream;q=0"] {
            assert!(!taken(accept), "{accept}");
        }
    }

    #[test]
    fn only_json_in_utf_8_is_read() {
        let json =
            |kind: &str| is_json(&HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().unwrap())]));
        assert!(json("application/json") && json("Application/JSON; charset=UTF-8"));
        assert!(!json("text/plain") && !json("application/json; charset=latin1"));
        assert!(!is_json(&HeaderMap::new()));
    }
}
