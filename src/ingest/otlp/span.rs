//! Converts one span to a call, by the semantic conventions for GenAI. Reads current and deprecated
//! attribute names.

use chrono::{DateTime, Utc};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::Value;

use super::attributes::Attributes;
use crate::domain::record::{CallRecord, Record, request_text};
use crate::ingest::row::{CallError, Row};

/// Operations that call a model.
const CALLS: [&str; 4] = ["chat", "generate_content", "text_completion", "embeddings"];

/// Operations that enclose calls; the calls have separate spans.
const ENCLOSING: [&str; 6] =
    ["create_agent", "invoke_agent", "invoke_workflow", "execute_tool", "retrieval", "plan"];

/// The length of the column `error_type`.
const ERROR_TYPE_CHARACTERS: usize = 50;

/// A span that is a call.
#[derive(Debug)]
pub(super) struct SpanCall {
    /// Trace id and span id.
    pub id: [u8; 24],
    pub row: Row,
}

/// Whether two spans may report the same call: a chat and an embedding are different calls.
pub(super) fn is_same_operation(one: &Span, other: &Span) -> bool {
    let embeds = |span: &Span| {
        Attributes(&span.attributes).str("gen_ai.operation.name") == Some("embeddings")
    };
    embeds(one) == embeds(other)
}

/// Whether a span is a client-side call to a model. Server spans do not count: a gateway that traces both
/// sides would record each call twice.
pub(super) fn is_call(span: &Span) -> bool {
    let is_client =
        !matches!(span.kind(), SpanKind::Server | SpanKind::Consumer | SpanKind::Producer);
    let attributes = Attributes(&span.attributes);
    is_client
        && match attributes.str("gen_ai.operation.name") {
            Some(name) if CALLS.contains(&name) => true,
            Some(name) if ENCLOSING.contains(&name) => false,
            // A custom operation name.
            Some(_) => attributes.has("gen_ai.request.model"),
            None => attributes.has("gen_ai.request.model") || attributes.has("gen_ai.system"),
        }
}

impl SpanCall {
    /// The call, or why it cannot be recorded.
    pub fn of(span: &Span, key: Option<String>) -> Result<Self, &'static str> {
        let attributes = Attributes(&span.attributes);
        let error_type = attributes.text("error.type");
        let failed = span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error)
            || error_type.is_some();
        let timestamp = instant(span.start_time_unix_nano).ok_or("a span has no start")?;
        let record = CallRecord {
            timestamp,
            key,
            // The requested model if present: failed calls have only that, and one model must not be two.
            model: attributes
                .text("gen_ai.request.model")
                .or_else(|| attributes.text("gen_ai.response.model")),
            status_code: status_code(attributes, failed),
            latency_ms: latency_ms(span),
        };
        // An error status that the client did not treat as a failure gets no error log.
        let error = failed.then(|| CallError {
            error_type: error_type
                .or_else(|| of_exception(span, "exception.type"))
                .map(|text| text.chars().take(ERROR_TYPE_CHARACTERS).collect()),
            error_code: None,
            message: message(span),
            request: request(span).as_ref().and_then(request_text),
        });
        let id = id(span).ok_or("a span has no valid ids")?;
        let record = Record::Call(record);
        Ok(Self { id, row: Row { record, error, timed: true, key_may_be_id: true } })
    }
}

fn id(span: &Span) -> Option<[u8; 24]> {
    let mut id = [0; 24];
    let (trace, own) = id.split_at_mut(16);
    for (place, given) in [(trace, &span.trace_id), (own, &span.span_id)] {
        if given.len() != place.len() || given.iter().all(|byte| *byte == 0) {
            return None;
        }
        place.copy_from_slice(given);
    }
    Some(id)
}

fn instant(nanos: u64) -> Option<DateTime<Utc>> {
    let micros = i64::try_from(nanos / 1000).ok().filter(|micros| *micros > 0)?;
    DateTime::from_timestamp_micros(micros)
}

fn latency_ms(span: &Span) -> Option<i32> {
    let nanos = span.end_time_unix_nano.checked_sub(span.start_time_unix_nano)?;
    i32::try_from(nanos / 1_000_000).ok()
}

/// The HTTP status, or an error type that is a number. A call that failed after a successful response
/// started has none.
fn status_code(attributes: Attributes<'_>, failed: bool) -> Option<i32> {
    let status = ["http.response.status_code", "http.status_code", "error.type"]
        .iter()
        .find_map(|name| attributes.whole(name));
    match (status, failed) {
        (None, false) => Some(200),
        (Some(200..=299), true) => None,
        (status, _) => status,
    }
}

fn message(span: &Span) -> Option<String> {
    let status = span.status.as_ref().map(|status| status.message.clone());
    status.filter(|text| !text.is_empty()).or_else(|| of_exception(span, "exception.message"))
}

fn of_exception(span: &Span, name: &str) -> Option<String> {
    let mut exceptions = span.events.iter().filter(|event| event.name == "exception");
    // The last exception ended the call.
    exceptions.next_back().and_then(|event| Attributes(&event.attributes).text(name))
}

/// The request messages: an attribute of the span or of one of its events.
fn request(span: &Span) -> Option<Value> {
    let of = |attributes: Attributes<'_>| {
        attributes.json("gen_ai.input.messages").or_else(|| attributes.json("gen_ai.prompt"))
    };
    of(Attributes(&span.attributes))
        .or_else(|| span.events.iter().find_map(|event| of(Attributes(&event.attributes))))
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
    use opentelemetry_proto::tonic::trace::v1::{Status, span::Event};

    use super::*;

    fn attributes(pairs: &[(&str, Attribute)]) -> Vec<KeyValue> {
        let of = |(key, value): &(&str, Attribute)| KeyValue {
            key: (*key).to_owned(),
            value: Some(AnyValue { value: Some(value.clone()) }),
            ..KeyValue::default()
        };
        pairs.iter().map(of).collect()
    }

    fn text(text: &str) -> Attribute {
        Attribute::StringValue(text.to_owned())
    }

    fn span(pairs: &[(&str, Attribute)]) -> Span {
        Span {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            start_time_unix_nano: 1_772_366_400_000_000_000,
            end_time_unix_nano: 1_772_366_400_012_900_000,
            attributes: attributes(pairs),
            ..Span::default()
        }
    }

    fn call(span: &Span, key: Option<String>) -> CallRecord {
        match SpanCall::of(span, key).unwrap().row.record {
            Record::Call(call) => call,
            Record::Error(_) => panic!("not a call"),
        }
    }

    fn failed(pairs: &[(&str, Attribute)]) -> Span {
        let status = Status { code: StatusCode::Error.into(), message: String::new() };
        Span { status: Some(status), ..span(pairs) }
    }

    #[test]
    fn only_calls_of_models_are_calls() {
        let (name, model) = ("gen_ai.operation.name", "gen_ai.request.model");
        for (pairs, is) in [
            (vec![(name, text("chat"))], true),
            (vec![(name, text("embeddings"))], true),
            (vec![(name, text("execute_tool")), (model, text("m"))], false),
            (vec![(name, text("invoke_agent")), (model, text("m"))], false),
            (vec![(name, text("own")), (model, text("m"))], true),
            (vec![(name, text("own")), ("gen_ai.system", text("openai"))], false),
            (vec![(model, text("m"))], true),
            (vec![("gen_ai.system", text("openai"))], true),
            (vec![("http.request.method", text("POST"))], false),
        ] {
            assert_eq!(is_call(&span(&pairs)), is, "{pairs:?}");
            let served = Span { kind: SpanKind::Server.into(), ..span(&pairs) };
            assert!(!is_call(&served));
        }
    }

    #[test]
    fn the_status_is_that_of_http_or_follows_from_the_error() {
        let code = |span: Span| call(&span, None).status_code;
        let (new, old) = ("http.response.status_code", "http.status_code");
        assert_eq!(code(span(&[])), Some(200));
        assert_eq!(code(span(&[(new, Attribute::IntValue(204))])), Some(204));
        assert_eq!(code(span(&[(old, text("404"))])), Some(404));
        assert_eq!(code(span(&[("error.type", text("429"))])), Some(429));
        assert_eq!(code(span(&[("error.type", text("TimeoutError"))])), None);
        assert_eq!(code(failed(&[])), None);
        assert_eq!(code(failed(&[(new, Attribute::IntValue(503))])), Some(503));
        // Failed while streaming.
        assert_eq!(code(failed(&[(new, Attribute::IntValue(200))])), None);
    }

    #[test]
    fn a_failed_call_has_an_error() {
        let messages = text(r#"[{"role":"user"}]"#);
        let mut span = failed(&[("gen_ai.input.messages", messages)]);
        span.events = vec![Event {
            name: "exception".into(),
            attributes: attributes(&[
                ("exception.type", text(&"é".repeat(60))),
                ("exception.message", text("quota")),
            ]),
            ..Event::default()
        }];
        let error = SpanCall::of(&span, None).unwrap().row.error.unwrap();
        assert_eq!(error.error_type, Some("é".repeat(50)));
        assert_eq!(error.message.as_deref(), Some("quota"));
        assert_eq!(error.request.as_deref(), Some(r#"[{"role":"user"}]"#));
    }

    #[test]
    fn a_call_has_its_time_and_the_requested_model() {
        let (asked, got) = ("gen_ai.request.model", "gen_ai.response.model");
        let both = span(&[(got, text("m-2026")), (asked, text("m"))]);
        let record = call(&both, Some("k".into()));
        assert_eq!(record.model.as_deref(), Some("m"));
        assert_eq!(record.timestamp.to_rfc3339(), "2026-03-01T12:00:00+00:00");
        assert_eq!(record.latency_ms, Some(12));
        assert!(SpanCall::of(&both, None).unwrap().row.error.is_none());
        let other = call(&span(&[(got, text("m-2026"))]), None);
        assert_eq!(other.model.as_deref(), Some("m-2026"));
    }

    #[test]
    fn a_span_without_ids_or_start_is_refused() {
        let without = Span { span_id: vec![0; 8], ..span(&[]) };
        assert!(SpanCall::of(&without, None).is_err());
        let without = Span { start_time_unix_nano: 0, ..span(&[]) };
        assert!(SpanCall::of(&without, None).is_err());
        let running = Span { end_time_unix_nano: 0, ..span(&[]) };
        assert_eq!(call(&running, None).latency_ms, None);
    }
}
