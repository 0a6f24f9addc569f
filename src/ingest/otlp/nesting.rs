//! Nested spans of one call. A framework and the client library that it uses both report the same call;
//! the innermost span has the most detail. Two attempts within one span are two calls.

use std::collections::{HashMap, HashSet};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use super::attributes::Attributes;
use super::span::{is_call, is_same_operation};

/// Limit of ancestors per call, in case parents form a cycle.
const MAX_ANCESTORS: usize = 64;

/// Trace id and span id.
type Id<'a> = (&'a [u8], &'a [u8]);

/// The spans of one export by id, and which calls enclose another.
pub(super) struct Nesting<'a> {
    spans: HashMap<Id<'a>, &'a Span>,
    /// Calls that enclose another span of the same call.
    enclosing: HashSet<Id<'a>>,
    key_attribute: &'a str,
}

impl<'a> Nesting<'a> {
    pub fn of(export: &'a ExportTraceServiceRequest, key_attribute: &'a str) -> Self {
        let scopes = export.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        let all = scopes.flat_map(|scope| &scope.spans);
        let spans = all.map(|span| (id(span), span)).collect();
        let mut nesting = Self { spans, enclosing: HashSet::new(), key_attribute };
        let calls = nesting.spans.values().filter(|span| is_call(span));
        nesting.enclosing = calls.flat_map(|call| nesting.enclosing_calls(call)).map(id).collect();
        nesting
    }

    /// Whether another span within this one reports the same call.
    pub fn encloses_a_call(&self, call: &Span) -> bool {
        self.enclosing.contains(&id(call))
    }

    /// The key of a call, from its own attributes or those of an enclosing span of the same call.
    pub fn key(&self, call: &'a Span) -> Option<String> {
        let key = |span: &Span| Attributes(&span.attributes).text(self.key_attribute);
        key(call).or_else(|| self.enclosing_calls(call).find_map(key))
    }

    /// The enclosing spans of the same call, innermost first.
    fn enclosing_calls(&self, call: &'a Span) -> impl Iterator<Item = &'a Span> {
        let parent = |span: &&'a Span| {
            // A root span has no parent id, or one of zeros.
            let named = span.parent_span_id.iter().any(|byte| *byte != 0);
            let id = named.then_some((&span.trace_id[..], &span.parent_span_id[..]))?;
            // A server span around the call is not the call.
            let served = |span: &Span| matches!(span.kind(), SpanKind::Server | SpanKind::Consumer);
            self.spans.get(&id).copied().filter(|span| !served(span))
        };
        let ancestors = std::iter::successors(parent(&call), parent).take(MAX_ANCESTORS);
        ancestors.filter(move |span| {
            is_call(span) && is_same_operation(call, span) && id(span) != id(call)
        })
    }
}

fn id(span: &Span) -> Id<'_> {
    (&span.trace_id, &span.span_id)
}
