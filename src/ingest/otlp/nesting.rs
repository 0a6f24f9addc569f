//! Calls within calls. A framework tells of a call to a model, and so does the client library by which it
//! makes it: one call, whose innermost span tells most of it. A call that was tried twice within a span
//! is two.

use std::collections::{HashMap, HashSet};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use super::attributes::Attributes;
use super::span::{are_of_a_kind, is_call};

/// How many spans around a call are looked at, should they go round in a circle.
const MOST_AROUND: usize = 64;

/// Of the trace and of the span.
type Id<'a> = (&'a [u8], &'a [u8]);

/// How the spans of one export lie within each other.
pub(super) struct Nesting<'a> {
    spans: HashMap<Id<'a>, &'a Span>,
    /// Calls with another one within.
    around: HashSet<Id<'a>>,
    key_attribute: &'a str,
}

impl<'a> Nesting<'a> {
    pub fn of(export: &'a ExportTraceServiceRequest, key_attribute: &'a str) -> Self {
        let scopes = export.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        let all = scopes.flat_map(|scope| &scope.spans);
        let spans = all.map(|span| (id(span), span)).collect();
        let mut nesting = Self { spans, around: HashSet::new(), key_attribute };
        let calls = nesting.spans.values().filter(|span| is_call(span));
        nesting.around = calls.flat_map(|call| nesting.told_around(call)).map(id).collect();
        nesting
    }

    /// Whether a call has another one within, which is the call itself.
    pub fn is_around_a_call(&self, call: &Span) -> bool {
        self.around.contains(&id(call))
    }

    /// The key of a call: by its own attribute, or by that of a span that tells of the same call.
    pub fn key(&self, call: &'a Span) -> Option<String> {
        let key = |span: &Span| Attributes(&span.attributes).text(self.key_attribute);
        key(call).or_else(|| self.told_around(call).find_map(key))
    }

    /// The spans around a call that tell of the same one, from within outwards.
    fn told_around(&self, call: &'a Span) -> impl Iterator<Item = &'a Span> {
        let parent = |span: &&'a Span| {
            // The parent of a root is told by zeros, if at all.
            let named = span.parent_span_id.iter().any(|byte| *byte != 0);
            let id = named.then_some((&span.trace_id[..], &span.parent_span_id[..]))?;
            // What a server does for a call is not that call.
            let served = |span: &Span| matches!(span.kind(), SpanKind::Server | SpanKind::Consumer);
            self.spans.get(&id).copied().filter(|span| !served(span))
        };
        let around = std::iter::successors(parent(&call), parent).take(MOST_AROUND);
        around
            .filter(move |span| is_call(span) && are_of_a_kind(call, span) && id(span) != id(call))
    }
}

fn id(span: &Span) -> Id<'_> {
    (&span.trace_id, &span.span_id)
}
