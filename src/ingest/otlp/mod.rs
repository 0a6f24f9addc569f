//! Spans of OpenTelemetry as calls: those by which a client of a model tells, in the semantic
//! conventions for GenAI, what it asked. All other spans are left out, and of those that lie within each
//! other all but the innermost.

mod attributes;
mod nesting;
pub mod size;
mod span;

use std::collections::BTreeSet;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

use self::attributes::Attributes;
use self::nesting::Nesting;
use self::span::SpanCall;
use super::claim::{Content, claim, digest};
use super::intake::Intake;
use super::validate;
use crate::domain::access::Caller;
use crate::domain::key_id::is_key_id;
use crate::error::Result;
use crate::store::dialect::Dialect;
use crate::store::key_directory::KeySnapshot;
use crate::store::write::Batch;

/// Different reasons that an answer tells.
const MAX_REASONS: usize = 5;

/// What became of an export.
#[derive(Debug, Default)]
pub struct Taken {
    /// Spans of calls that cannot be kept.
    pub rejected: u64,
    reasons: BTreeSet<String>,
}

impl Taken {
    /// Why spans were not kept, each reason once.
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
    /// Records the calls of an export, all of them at once. An export that is sent again has the same
    /// spans and records nothing; it is known by their ids.
    pub async fn take_spans(
        &self,
        export: ExportTraceServiceRequest,
        caller: &Caller,
        key_attribute: &str,
    ) -> Result<Taken> {
        let (mut taken, mut batch) = (Taken::default(), Batch::default());
        let mut ids = Vec::new();
        let snapshot = KeySnapshot::default();
        for mut call in calls(export, key_attribute, &mut taken) {
            // Also of one that is refused: a second try may find that it can be kept, and is the same.
            ids.extend(call.id);
            if let Some(text) = call.record.key.take_if(|key| is_key_id(key)) {
                match self.resolve(text, &snapshot).await? {
                    Ok(key) => call.record.key = Some(key),
                    Err(reason) => {
                        taken.reject(reason);
                        continue;
                    }
                }
            }
            if let Err(reason) = keep(call, self.db().dialect(), &mut batch) {
                taken.reject(reason);
            }
        }
        if batch.calls.is_empty() {
            return Ok(taken);
        }
        batch.claim = Some(claim(caller, "v1/traces", &digest(&ids), Content::default()));
        self.record(batch).await?;
        Ok(taken)
    }
}

fn calls(
    export: ExportTraceServiceRequest,
    key_attribute: &str,
    taken: &mut Taken,
) -> Vec<SpanCall> {
    let nesting = Nesting::of(&export, key_attribute);
    let mut calls = Vec::new();
    for resource in &export.resource_spans {
        let shared = resource.resource.as_ref().map_or(&[][..], |resource| &resource.attributes);
        for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
            if !span::is_call(span) || nesting.is_around_a_call(span) {
                continue;
            }
            let key = nesting.key(span).or_else(|| Attributes(shared).text(key_attribute));
            match SpanCall::of(span, key) {
                Ok(call) => calls.push(call),
                Err(reason) => taken.reject(reason.to_owned()),
            }
        }
    }
    calls
}

fn keep(call: SpanCall, to: Dialect, batch: &mut Batch) -> Result<(), String> {
    let SpanCall { record, error, .. } = call;
    validate::call(&record)?;
    let error = error.map(|error| error.of(&record)).transpose()?;
    if let Some(error) = &error {
        validate::error(error, to)?;
    }
    batch.errors.extend(error);
    batch.calls.push(record);
    Ok(())
}
