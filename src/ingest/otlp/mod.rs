//! Converts OpenTelemetry spans to calls: the client spans of the semantic conventions for GenAI. Other
//! spans are ignored. Of nested spans of one call, only the innermost is recorded.

mod attributes;
mod nesting;
pub mod size;
mod span;

use std::collections::BTreeSet;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

use self::attributes::Attributes;
use self::nesting::Nesting;
use self::span::SpanCall;
use super::chunk::Chunk;
use super::claim::{Content, claim, digest};
use super::intake::Intake;
use crate::domain::access::Caller;
use crate::error::Result;
use crate::store::key_directory::KeySnapshot;

/// Distinct reasons in one response.
const MAX_REASONS: usize = 5;

/// The result of recording one export.
#[derive(Debug, Default)]
pub struct SpanReport {
    /// Spans of calls that cannot be recorded.
    pub rejected: u64,
    reasons: BTreeSet<String>,
}

impl SpanReport {
    /// Why spans were rejected, each reason once.
    pub fn reasons(&self) -> String {
        self.reasons.iter().map(String::as_str).collect::<Vec<_>>().join("; ")
    }

    fn reject(&mut self, reason: String) {
        self.rejected += 1;
        if self.reasons.len() < MAX_REASONS {
            self.reasons.insert(reason);
        }
    }
}

impl Intake {
    /// Records the calls of an export in one batch. A repeated export is recognised by its span ids and
    /// records nothing.
    pub async fn record_spans(
        &self,
        export: ExportTraceServiceRequest,
        caller: &Caller,
        key_attribute: &str,
    ) -> Result<SpanReport> {
        let (mut report, mut chunk) = (SpanReport::default(), Chunk::default());
        let mut ids = Vec::new();
        let snapshot = KeySnapshot::default();
        for SpanCall { id, mut row } in calls(export, key_attribute, &mut report) {
            // A rejected call counts too: a retry may accept it, and must have the same digest.
            ids.extend(id);
            let added = match self.resolve_key(&mut row, &snapshot).await? {
                Ok(()) => chunk.add_valid(row, self.db.dialect()),
                Err(reason) => Err(reason),
            };
            added.unwrap_or_else(|reason| report.reject(reason));
        }
        let mut batch = chunk.batch;
        if batch.calls.is_empty() {
            return Ok(report);
        }
        batch.claim = Some(claim(caller, "v1/traces", &digest(&ids), Content::default()));
        self.recorder.record(batch).await?;
        Ok(report)
    }
}

fn calls(
    export: ExportTraceServiceRequest,
    key_attribute: &str,
    report: &mut SpanReport,
) -> Vec<SpanCall> {
    let nesting = Nesting::of(&export, key_attribute);
    let mut calls = Vec::new();
    for resource in &export.resource_spans {
        let shared = resource.resource.as_ref().map_or(&[][..], |resource| &resource.attributes);
        for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
            if !span::is_call(span) || nesting.encloses_a_call(span) {
                continue;
            }
            let key = nesting.key(span).or_else(|| Attributes(shared).text(key_attribute));
            match SpanCall::of(span, key) {
                Ok(call) => calls.push(call),
                Err(reason) => report.reject(reason.to_owned()),
            }
        }
    }
    calls
}
