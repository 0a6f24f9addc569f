//! How large an answer may become, counted while its values are built, and how much memory all answers
//! hold together. Code that puts texts or many fields into an answer counts them here first: the columns
//! of rows ([`super::rows`]), the resolvers of texts, lists of groups, and what the loaders read.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::parser::types::{Selection, SelectionSet};
use async_graphql::{ContextBase, ContextSelectionSet, Positioned, ServerError, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::Failure;
use crate::error::{Error, Result};

/// Bytes that a field of an object takes as a value, in addition to its text.
const FIELD_MEMORY: u64 = 128;
/// A text is in a value, and in the JSON, whose buffer grows by doubling.
const TEXT_COPIES: u64 = 3;
/// Memory is taken from what all answers share in steps of so many KiB.
const STEP_KIB: u64 = 64;
/// An answer that takes no more is given even where the others hold everything: large answers do not
/// keep out cheap queries, and a mutation has been carried out.
const SMALL_KIB: u64 = 256;

/// The limits of all answers of a server.
#[derive(Clone, Debug)]
pub struct AnswerLimits {
    max_bytes: u64,
    all_kib: u64,
    /// KiB that all answers may hold together.
    room: Arc<Semaphore>,
}

impl AnswerLimits {
    pub fn new(max_response_bytes: u64, all_kib: usize) -> Self {
        let room = Arc::new(Semaphore::new(all_kib));
        Self { max_bytes: max_response_bytes, all_kib: all_kib as u64, room }
    }

    /// Starts an answer: of a request, a whole batch, or an event.
    pub fn start(&self) -> Arc<AnswerSize> {
        Arc::new(AnswerSize {
            limits: self.clone(),
            bytes: AtomicU64::new(0),
            memory: AtomicU64::new(0),
            is_mutation: AtomicBool::new(false),
            held: Mutex::new(Held::default()),
        })
    }
}

/// One answer. Its memory is free again when this is dropped, which must not be before it is sent.
#[derive(Debug)]
pub struct AnswerSize {
    limits: AnswerLimits,
    /// Of its JSON.
    bytes: AtomicU64,
    /// Bytes that it takes until it is sent, and what was read for it.
    memory: AtomicU64,
    is_mutation: AtomicBool,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    kib: u64,
    permit: Option<OwnedSemaphorePermit>,
    refused: Option<Error>,
}

impl AnswerSize {
    /// Counts so many fields with so many bytes of JSON in all.
    pub fn add(&self, fields: u64, bytes: u64) -> Result<()> {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.check_bytes(before.saturating_add(bytes))?;
        self.hold(
            fields.saturating_mul(FIELD_MEMORY).saturating_add(bytes.saturating_mul(TEXT_COPIES)),
        )
    }

    /// Counts a text.
    pub fn add_text(&self, text: &str) -> Result<()> {
        self.add(0, text.len() as u64)
    }

    /// Refuses texts that were read for the answer, of which each will be in it, where they are too
    /// long together.
    pub fn check_bytes(&self, bytes: u64) -> Result<()> {
        let most = self.limits.max_bytes;
        if bytes <= most { Ok(()) } else { Err(self.refuse(Error::ResponseTooLarge(most))) }
    }

    /// Counts memory that is held in addition to the values.
    pub fn hold(&self, bytes: u64) -> Result<()> {
        let memory = self.memory.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let needed = memory.div_ceil(1024);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if needed <= held.kib {
            return Ok(());
        }
        let kib = needed.next_multiple_of(STEP_KIB);
        let is_mutation = self.is_mutation.load(Ordering::Relaxed);
        let error = if kib > self.limits.all_kib || is_mutation {
            Error::ResponseTooLarge(self.limits.max_bytes)
        } else {
            Error::Busy
        };
        let more = u32::try_from(kib - held.kib).unwrap_or(u32::MAX);
        match self.limits.room.clone().try_acquire_many_owned(more) {
            Ok(permit) => {
                held.kib = kib;
                match &mut held.permit {
                    Some(first) => first.merge(permit),
                    none => *none = Some(permit),
                }
                Ok(())
            }
            Err(_) if needed <= SMALL_KIB => Ok(()),
            Err(_) => {
                held.refused.get_or_insert_with(|| error.clone());
                Err(error)
            }
        }
    }

    /// Holds what a page of `rows` may take while it is read, with texts of so many bytes in each row.
    pub fn read_page(&self, rows: u32, text_bytes: u64) -> Result<Reading<'_>> {
        let bytes = u64::from(rows) * (ROW_BYTES + text_bytes) * READ_COPIES;
        self.hold(bytes)?;
        Ok(Reading { answer: self, bytes })
    }

    fn refuse(&self, error: Error) -> Error {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.refused.get_or_insert(error).clone()
    }

    /// The request is a mutation: its work is done when the answer is built.
    pub fn is_of_mutation(&self) {
        self.is_mutation.store(true, Ordering::Relaxed);
    }

    /// Why the request fails as a whole, if it does: the answer of a query is nothing without a part.
    pub fn refusal(&self) -> Option<Error> {
        if self.is_mutation.load(Ordering::Relaxed) {
            return None;
        }
        self.held.lock().unwrap_or_else(PoisonError::into_inner).refused.clone()
    }

    /// Counts the fields of an object that resolvers returned. Its lists and long texts are counted
    /// where they are made.
    pub fn add_object(&self, object: &Value) -> Result<()> {
        let fields = fields_outside_lists(object);
        self.add(fields, fields.saturating_mul(FIELD_BYTES))
    }

    /// Counts JSON that is stored.
    pub fn add_json(&self, json: &serde_json::Value) -> Result<()> {
        let (fields, bytes) = json_weight(json);
        self.add(fields, bytes)
    }

    /// Counts `items` objects of a list, of which `ctx` has the selection. Texts count apart.
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

/// What is held while a page is read. What was read of it is counted by its reader, and may use the
/// same memory.
pub struct Reading<'a> {
    answer: &'a AnswerSize,
    bytes: u64,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.answer.memory.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Bytes of a row without a text that may be long.
const ROW_BYTES: u64 = 256;
/// What is read is at the same time with the database, as JSON, and in rows.
const READ_COPIES: u64 = 4;

/// Bytes of JSON of a name and a short value, where they are not measured.
const FIELD_BYTES: u64 = 16;

/// The fields of a value, and the bytes of its JSON.
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

/// The fields of a selection, with those of its fragments and of objects within it.
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

/// The error of the value at `ctx`.
pub fn at(ctx: &ContextSelectionSet<'_>, error: Error) -> ServerError {
    let error = async_graphql::Error::from(Failure::from(error));
    ctx.set_error_path(error.into_server_error(ctx.item.pos))
}

#[cfg(test)]
mod tests {
    use async_graphql::value;

    use super::*;

    #[test]
    fn an_answer_has_a_size_and_all_together_too() {
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
        // More than there is in all never fits.
        let most = limits.start();
        assert_eq!(most.hold(5 << 20).unwrap_err().code(), "RESPONSE_TOO_LARGE");
    }

    #[test]
    fn a_mutation_that_was_carried_out_is_answered() {
        let limits = AnswerLimits::new(1 << 20, 64);
        let full = limits.start();
        full.hold(60 << 10).unwrap();
        let mutation = limits.start();
        mutation.is_of_mutation();
        mutation.add(100, 1000).unwrap();
        assert_eq!(mutation.add(10_000, 1000).unwrap_err().code(), "RESPONSE_TOO_LARGE");
        assert!(mutation.refusal().is_none());
    }

    #[test]
    fn values_weigh_their_json() {
        let object = value!({ "name": "four", "list": [1, 2], "none": null });
        let (fields, bytes) = weight(&object);
        assert_eq!(fields, 5);
        assert!(bytes >= serde_json::to_string(&object).unwrap().len() as u64);
    }
}
