//! Limits the size of an answer while its values are built, and the memory of all answers together. Code
//! that adds texts or many fields to an answer counts them here first: the columns of rows
//! ([`super::rows`]), resolvers of texts, lists of groups, and loaders.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::parser::types::{Selection, SelectionSet};
use async_graphql::{ContextBase, ContextSelectionSet, Positioned, ServerError, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::Failure;
use crate::diagnoses::Memory;
use crate::error::{Error, Result};

/// Memory of a field of an object in addition to its text, in bytes.
const FIELD_MEMORY: u64 = 128;
/// Copies of a text: one in the value, two in the JSON buffer, which grows by doubling.
const TEXT_COPIES: u64 = 3;
/// Memory is reserved in steps of this size.
const STEP_KIB: u64 = 64;
/// An answer of up to this size never waits for the memory of other answers: large answers do not block
/// cheap queries, and the response of a completed mutation.
const SMALL_KIB: u64 = 256;

/// The limits of all answers of a server.
#[derive(Clone, Debug)]
pub struct AnswerLimits {
    max_bytes: u64,
    all_kib: u64,
    /// The KiB that are free for all answers.
    room: Arc<Semaphore>,
}

impl AnswerLimits {
    pub fn new(max_response_bytes: u64, all_kib: usize) -> Self {
        let room = Arc::new(Semaphore::new(all_kib));
        Self { max_bytes: max_response_bytes, all_kib: all_kib as u64, room }
    }

    /// Starts the count of an answer to a request, a whole batch or an event.
    pub fn start(&self) -> Arc<AnswerSize> {
        Arc::new(AnswerSize {
            limits: self.clone(),
            bytes: AtomicU64::new(0),
            memory: AtomicU64::new(0),
            is_mutation: AtomicBool::new(false),
            reserved: Mutex::new(Reserved::default()),
        })
    }
}

/// The size of one answer. Dropping it frees the memory; keep it until the answer is sent.
#[derive(Debug)]
pub struct AnswerSize {
    limits: AnswerLimits,
    /// The size of the JSON.
    bytes: AtomicU64,
    /// Memory of the values and of the rows that were read for them.
    memory: AtomicU64,
    is_mutation: AtomicBool,
    reserved: Mutex<Reserved>,
}

#[derive(Debug, Default)]
struct Reserved {
    kib: u64,
    permit: Option<OwnedSemaphorePermit>,
    refused: Option<Error>,
}

impl AnswerSize {
    /// Counts fields and the bytes of their JSON.
    pub fn add(&self, fields: u64, bytes: u64) -> Result<()> {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.check_bytes(before.saturating_add(bytes))?;
        self.reserve(
            fields.saturating_mul(FIELD_MEMORY).saturating_add(bytes.saturating_mul(TEXT_COPIES)),
        )
    }

    /// Counts a text.
    pub fn add_text(&self, text: &str) -> Result<()> {
        self.add(0, text.len() as u64)
    }

    /// Returns an error if texts of `bytes` in total do not fit into one answer.
    pub fn check_bytes(&self, bytes: u64) -> Result<()> {
        let most = self.limits.max_bytes;
        if bytes <= most { Ok(()) } else { Err(self.refuse(Error::ResponseTooLarge(most))) }
    }

    /// Reserves memory in addition to that of the values.
    pub fn reserve(&self, bytes: u64) -> Result<()> {
        let memory = self.memory.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let needed = memory.div_ceil(1024);
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        if needed <= reserved.kib {
            return Ok(());
        }
        let kib = needed.next_multiple_of(STEP_KIB);
        let is_mutation = self.is_mutation.load(Ordering::Relaxed);
        let error = if kib > self.limits.all_kib || is_mutation {
            Error::ResponseTooLarge(self.limits.max_bytes)
        } else {
            Error::Busy
        };
        let more = u32::try_from(kib - reserved.kib).unwrap_or(u32::MAX);
        match self.limits.room.clone().try_acquire_many_owned(more) {
            Ok(permit) => {
                reserved.kib = kib;
                match &mut reserved.permit {
                    Some(first) => first.merge(permit),
                    none => *none = Some(permit),
                }
                Ok(())
            }
            Err(_) if needed <= SMALL_KIB => Ok(()),
            Err(_) => {
                reserved.refused.get_or_insert_with(|| error.clone());
                Err(error)
            }
        }
    }

    /// Reserves memory for a page while it is read: `rows` rows with `text_bytes` of text each.
    pub fn read_page(&self, rows: u32, text_bytes: u64) -> Result<ReadReservation<'_>> {
        let bytes = page_bytes(rows, text_bytes);
        self.reserve(bytes)?;
        Ok(ReadReservation { answer: self, bytes })
    }

    fn refuse(&self, error: Error) -> Error {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        reserved.refused.get_or_insert(error).clone()
    }

    /// Marks the request as a mutation: its work is done when the answer is built.
    pub fn set_mutation(&self) {
        self.is_mutation.store(true, Ordering::Relaxed);
    }

    /// The error that replaces the whole answer of a query. A mutation always returns its partial answer.
    pub fn refusal(&self) -> Option<Error> {
        if self.is_mutation.load(Ordering::Relaxed) {
            return None;
        }
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner).refused.clone()
    }

    /// Counts the fields of an object that resolvers returned. Lists and long texts are counted where
    /// they are built.
    pub fn add_object(&self, object: &Value) -> Result<()> {
        let fields = fields_outside_lists(object);
        self.add(fields, fields.saturating_mul(FIELD_BYTES))
    }

    /// Counts a stored JSON value.
    pub fn add_json(&self, json: &serde_json::Value) -> Result<()> {
        let (fields, bytes) = json_weight(json);
        self.add(fields, bytes)
    }

    /// Counts `items` objects with the selection `set`. Texts are counted separately.
    pub fn add_list<T>(
        &self,
        ctx: &ContextBase<'_, T>,
        set: &SelectionSet,
        items: usize,
    ) -> Result<()> {
        let fields = fields_of(ctx, set).saturating_mul(items as u64);
        self.add(fields, fields.saturating_mul(FIELD_BYTES))
    }
}

impl Memory for AnswerSize {
    fn reserve(&self, bytes: u64) -> Result<()> {
        Self::reserve(self, bytes)
    }

    /// For what this answer reserves next.
    fn free(&self, bytes: u64) {
        self.memory.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn page_bytes(&self, rows: u32, text_bytes: u64) -> u64 {
        page_bytes(rows, text_bytes)
    }
}

/// Memory that is reserved while a page is read. The reader counts the rows separately.
pub struct ReadReservation<'a> {
    answer: &'a AnswerSize,
    bytes: u64,
}

impl Drop for ReadReservation<'_> {
    fn drop(&mut self) {
        Memory::free(self.answer, self.bytes);
    }
}

/// The memory of a page while it is read: `rows` rows with `text_bytes` of text each.
fn page_bytes(rows: u32, text_bytes: u64) -> u64 {
    u64::from(rows) * (ROW_BYTES + text_bytes) * READ_COPIES
}

/// Bytes of a row without its long texts.
const ROW_BYTES: u64 = 256;
/// Copies of a row while it is read: in the driver, as JSON, and as a struct.
const READ_COPIES: u64 = 4;

/// Estimated JSON bytes of a name and a short value.
const FIELD_BYTES: u64 = 16;

/// The number of fields of a value and the bytes of its JSON.
pub fn weight(value: &Value) -> (u64, u64) {
    match value {
        Value::String(text) => (0, text.len() as u64 + 2),
        Value::Enum(name) => (0, name.len() as u64 + 2),
        Value::List(items) => items.iter().fold((items.len() as u64, 2), |sum, item| {
            let (fields, bytes) = weight(item);
            (sum.0 + fields, sum.1 + bytes + 1)
        }),
        Value::Object(fields) => fields.iter().fold((0, 2), |sum, (name, value)| {
            let (fields, bytes) = weight(value);
            (sum.0 + fields + 1, sum.1 + bytes + name.len() as u64 + 4)
        }),
        _ => (0, 8),
    }
}

fn fields_outside_lists(value: &Value) -> u64 {
    match value {
        Value::Object(fields) => fields.values().map(|value| 1 + fields_outside_lists(value)).sum(),
        _ => 0,
    }
}

fn json_weight(json: &serde_json::Value) -> (u64, u64) {
    use serde_json::Value;
    match json {
        Value::String(text) => (0, text.len() as u64 + 2),
        Value::Array(items) => items.iter().fold((items.len() as u64, 2), |sum, item| {
            let (fields, bytes) = json_weight(item);
            (sum.0 + fields, sum.1 + bytes + 1)
        }),
        Value::Object(fields) => fields.iter().fold((0, 2), |sum, (name, value)| {
            let (fields, bytes) = json_weight(value);
            (sum.0 + fields + 1, sum.1 + bytes + name.len() as u64 + 4)
        }),
        _ => (0, 8),
    }
}

/// The number of fields of a selection, including fragments and nested objects.
fn fields_of<T>(ctx: &ContextBase<'_, T>, set: &SelectionSet) -> u64 {
    let count = |selection: &Positioned<Selection>| match &selection.node {
        Selection::Field(field) => 1 + fields_of(ctx, &field.node.selection_set.node),
        Selection::InlineFragment(inline) => fields_of(ctx, &inline.node.selection_set.node),
        Selection::FragmentSpread(spread) => {
            let fragment = ctx.query_env.fragments.get(&spread.node.fragment_name.node);
            fragment.map_or(0, |fragment| fields_of(ctx, &fragment.node.selection_set.node))
        }
    };
    set.items.iter().map(count).sum()
}

/// The error with the path and position of `ctx`.
pub fn at(ctx: &ContextSelectionSet<'_>, error: Error) -> ServerError {
    let error = async_graphql::Error::from(Failure::from(error));
    ctx.set_error_path(error.into_server_error(ctx.item.pos))
}

#[cfg(test)]
mod tests {
    use async_graphql::value;

    use super::*;

    #[test]
    fn the_size_of_one_answer_and_of_all_answers_is_limited() {
        let limits = AnswerLimits::new(1 << 20, 4096);
        let one = limits.start();
        one.add(10, 1 << 19).unwrap();
        let other = limits.start();
        other.add(10, 1 << 19).unwrap();
        let third = limits.start();
        assert_eq!(third.add(10, 1 << 19).unwrap_err().code(), "SERVER_BUSY");
        assert_eq!(third.refusal().unwrap().code(), "SERVER_BUSY");
        drop(other);
        limits.start().add(10, 1 << 19).unwrap();
        assert_eq!(one.add(10, (1 << 19) + 1).unwrap_err().code(), "RESPONSE_TOO_LARGE");
        // An answer larger than the whole memory never fits.
        let most = limits.start();
        assert_eq!(most.reserve(5 << 20).unwrap_err().code(), "RESPONSE_TOO_LARGE");
    }

    #[test]
    fn a_completed_mutation_is_answered() {
        let limits = AnswerLimits::new(1 << 20, 64);
        let full = limits.start();
        full.reserve(60 << 10).unwrap();
        let mutation = limits.start();
        mutation.set_mutation();
        mutation.add(100, 1000).unwrap();
        assert_eq!(mutation.add(10_000, 1000).unwrap_err().code(), "RESPONSE_TOO_LARGE");
        assert!(mutation.refusal().is_none());
    }

    #[test]
    fn the_weight_of_a_value_is_the_size_of_its_json() {
        let object = value!({ "name": "four", "list": [1, 2], "none": null });
        let (fields, bytes) = weight(&object);
        assert_eq!(fields, 5);
        assert!(bytes >= serde_json::to_string(&object).unwrap().len() as u64);
    }
}
