//! Counts the messages of a protobuf export before it is decoded: an empty span is 2 bytes on the wire
//! and more than 200 in memory.

use bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// Maximum of spans in one export. Exporters send 512 at a time, collectors a few thousand.
pub const MAX_SPANS: usize = 20_000;

/// Maximum nesting of messages, the same as in prost.
const MAX_DEPTH: u32 = 100;

/// The message counts of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportSize {
    pub spans: usize,
    /// Spans, attributes and all other values that allocate memory.
    pub messages: usize,
}

/// The nested message types of an `ExportTraceServiceRequest`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Export,
    ResourceSpans,
    Resource,
    ScopeSpans,
    Scope,
    Span,
    Event,
    Link,
    KeyValue,
    AnyValue,
    ArrayValue,
    KeyValueList,
    EntityRef,
    /// A message or text without nested messages.
    Leaf,
}

impl Kind {
    /// The message type of a field; `None` for scalar and unknown fields.
    fn field(self, number: u32) -> Option<Self> {
        Some(match (self, number) {
            (Self::Export, 1) => Self::ResourceSpans,
            (Self::ResourceSpans, 1) => Self::Resource,
            (Self::ResourceSpans, 2) => Self::ScopeSpans,
            (Self::Resource, 1) => Self::KeyValue,
            (Self::Resource, 3) => Self::EntityRef,
            (Self::EntityRef, 3 | 4) => Self::Leaf,
            (Self::ScopeSpans, 1) => Self::Scope,
            (Self::ScopeSpans, 2) => Self::Span,
            (Self::Scope, 3) => Self::KeyValue,
            (Self::Span, 9) => Self::KeyValue,
            (Self::Span, 11) => Self::Event,
            (Self::Span, 13) => Self::Link,
            (Self::Event, 3) | (Self::Link, 4) => Self::KeyValue,
            (Self::KeyValue, 2) => Self::AnyValue,
            (Self::AnyValue, 5) => Self::ArrayValue,
            (Self::AnyValue, 6) => Self::KeyValueList,
            (Self::ArrayValue, 1) => Self::AnyValue,
            (Self::KeyValueList, 1) => Self::KeyValue,
            _ => return None,
        })
    }
}

impl ExportSize {
    /// `None` if `body` is not valid protobuf.
    pub fn of_protobuf(body: &[u8]) -> Option<Self> {
        let mut size = Self::default();
        size.add(Kind::Export, body, MAX_DEPTH)?;
        Some(size)
    }

    fn add(&mut self, kind: Kind, mut message: &[u8], depth: u32) -> Option<()> {
        self.messages += 1;
        self.spans += usize::from(kind == Kind::Span);
        if kind == Kind::Leaf {
            return Some(());
        }
        let depth = depth.checked_sub(1)?;
        while message.has_remaining() {
            let (number, wire) = decode_key(&mut message).ok()?;
            match kind.field(number) {
                Some(inner) if wire == WireType::LengthDelimited => {
                    let length = usize::try_from(decode_varint(&mut message).ok()?).ok()?;
                    let (part, rest) = message.split_at_checked(length)?;
                    self.add(inner, part, depth)?;
                    message = rest;
                }
                _ => skip_field(wire, number, &mut message, DecodeContext::default()).ok()?,
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use prost::Message;
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_are_counted() {
        let value = json!({ "arrayValue": { "values": [{ "intValue": "1" }, { "kvlistValue": {
            "values": [{ "key": "k", "value": { "stringValue": "v" } }] } }] } });
        let attribute = json!({ "key": "a", "value": value });
        let span = json!({
            "traceId": "", "spanId": "", "name": "s", "attributes": [attribute],
            "events": [{ "name": "e", "attributes": [attribute] }],
        });
        let export: ExportTraceServiceRequest = serde_json::from_value(json!({ "resourceSpans": [
            { "resource": { "attributes": [attribute] }, "scopeSpans": [{ "spans": [span, span] }] }
        ] }))
        .unwrap();
        // Per attribute: itself, its value, the array, two values, the list, an entry, its value.
        let (attribute, spans) = (8, 2);
        let of_span = 1 + attribute + 1 + attribute;
        let expected = ExportSize { spans, messages: 4 + attribute + spans * of_span };
        assert_eq!(ExportSize::of_protobuf(&export.encode_to_vec()), Some(expected));
    }

    #[test]
    fn empty_spans_are_two_bytes_each() {
        // resource_spans { scope_spans { spans {} … } }
        let spans = [0x12, 0].repeat(60);
        let body = [&[0x0a, 122, 0x12, 120][..], &spans].concat();
        assert_eq!(ExportSize::of_protobuf(&body), Some(ExportSize { spans: 60, messages: 63 }));
        assert!(ExportTraceServiceRequest::decode(&body[..]).is_ok());
    }

    #[test]
    fn invalid_protobuf_is_none() {
        for body in [&[0xff; 10][..], &[0x0a, 9], &[0x0a, 2, 0x12], &[0x0b]] {
            assert_eq!(ExportSize::of_protobuf(body), None, "{body:?}");
            assert!(ExportTraceServiceRequest::decode(body).is_err(), "{body:?}");
        }
    }
}
